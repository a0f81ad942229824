//! Folds events of the registry: cluster, hosts, volumes, containers. Called only by `evolve`.

use crate::ids::{ClusterId, ContainerId, HostId, Incarnation, Revision, Token, Version, VolumeId};
use crate::noun::cluster::{Cluster, Settings};
use crate::noun::container::{Container, ContainerSpec, Desired, Relocation};
use crate::noun::host::{Health, Host, HostSpec, Scheduling};
use crate::noun::secrets::Secrets;
use crate::noun::volume::{Volume, VolumeSpec};
use crate::state::{ClusterState, ObjectKey};

pub(super) fn initialized(state: &mut ClusterState, id: ClusterId, format: u32, settings: Settings) {
    state.cluster = Some(Cluster { id, format, incarnation: Incarnation(1), floor: 0, max_token: Token(0), settings });
    state.touch(ObjectKey::Cluster);
}

pub(super) fn change_cluster(state: &mut ClusterState, change: impl FnOnce(&mut Cluster)) {
    change(state.cluster.as_mut().expect("only ClusterInitialized comes before a cluster exists"));
    state.touch(ObjectKey::Cluster);
}

pub(super) fn host_added(state: &mut ClusterState, at: Revision, id: &HostId, spec: &HostSpec) {
    let host = Host {
        id: id.clone(),
        spec: spec.clone(),
        version: Version(1),
        scheduling: Scheduling::Open,
        health: Health::Down,
        session: None,
        created: at,
        fenced: Vec::new(),
        attempt: None,
    };
    assert!(state.hosts.insert(id.clone(), host).is_none(), "host {id} added twice");
    state.touch(ObjectKey::Host(id.clone()));
}

/// A move that waits for the removed host waits for nothing any more.
pub(super) fn host_removed(state: &mut ClusterState, id: &HostId) {
    state.hosts.remove(id);
    state.touch(ObjectKey::Host(id.clone()));
    let target = Some(Relocation::Move { to: Some(id.clone()) });
    let waiting: Vec<_> = state.containers.values().filter(|c| c.relocation == target).map(|c| c.id.clone()).collect();
    for container in waiting {
        change_container(state, &container, |c| c.relocation = None);
    }
}

pub(super) fn change_host(state: &mut ClusterState, id: &HostId, change: impl FnOnce(&mut Host)) {
    change(state.hosts.get_mut(id).expect("decide named an existing host"));
    state.touch(ObjectKey::Host(id.clone()));
}

pub(super) fn volume_added(state: &mut ClusterState, at: Revision, id: &VolumeId, spec: &VolumeSpec) {
    let volume = Volume {
        id: id.clone(),
        spec: spec.clone(),
        version: Version(1),
        created: at,
        last_token: Token(0),
        bars: Vec::new(),
        suspicion: None,
    };
    assert!(state.volumes.insert(id.clone(), volume).is_none(), "volume {id} added twice");
    state.touch(ObjectKey::Volume(id.clone()));
}

pub(super) fn change_volume(state: &mut ClusterState, id: &VolumeId, change: impl FnOnce(&mut Volume)) {
    change(state.volumes.get_mut(id).expect("decide named an existing volume"));
    state.touch(ObjectKey::Volume(id.clone()));
}

pub(super) fn container_added(state: &mut ClusterState, at: Revision, id: &ContainerId, spec: &ContainerSpec, desired: Desired) {
    let container = Container {
        id: id.clone(),
        spec: spec.clone(),
        version: Version(1),
        created: at,
        desired,
        finished: None,
        relocation: None,
        last_lease: None,
    };
    assert!(state.containers.insert(id.clone(), container).is_none(), "container {id} added twice");
    state.touch(ObjectKey::Container(id.clone()));
}

pub(super) fn change_container(state: &mut ClusterState, id: &ContainerId, change: impl FnOnce(&mut Container)) {
    change(state.containers.get_mut(id).expect("decide named an existing container"));
    state.touch(ObjectKey::Container(id.clone()));
}

pub(super) fn host_updated(state: &mut ClusterState, id: &HostId, version: Version, spec: &HostSpec) {
    change_host(state, id, |h| {
        h.version = version;
        h.spec = spec.with_secrets_of(&h.spec);
    });
}

/// Secrets are replicated, but no event: what `decide` was given beside the fact. A replay of the events alone has their names.
pub(crate) fn keep_secrets(state: &mut ClusterState, id: &HostId, secrets: Vec<Secrets>) {
    change_host(state, id, |h| {
        for (agent, given) in h.spec.fence_agents.iter_mut().zip(secrets) {
            agent.secrets = given;
        }
    });
}

pub(super) fn volume_updated(state: &mut ClusterState, id: &VolumeId, version: Version, spec: &VolumeSpec) {
    change_volume(state, id, |v| {
        v.version = version;
        v.spec = spec.clone();
    });
}

pub(super) fn volume_removed(state: &mut ClusterState, id: &VolumeId) {
    state.volumes.remove(id);
    state.touch(ObjectKey::Volume(id.clone()));
}

/// A changed spec is a new chance for a container that had ended for good.
pub(super) fn container_updated(state: &mut ClusterState, id: &ContainerId, version: Version, spec: &ContainerSpec) {
    change_container(state, id, |c| {
        c.version = version;
        c.spec = spec.clone();
        c.finished = None;
    });
}

pub(super) fn container_removed(state: &mut ClusterState, id: &ContainerId) {
    state.containers.remove(id);
    state.touch(ObjectKey::Container(id.clone()));
}

pub(super) fn desire(state: &mut ClusterState, id: &ContainerId, desired: Desired) {
    change_container(state, id, |c| {
        c.desired = desired;
        c.finished = None;
        if desired == Desired::Stopped {
            c.relocation = None;
        }
    });
}

pub(super) fn relocate(state: &mut ClusterState, id: &ContainerId, relocation: &Relocation) {
    change_container(state, id, |c| {
        c.finished = None;
        c.relocation = Some(relocation.clone());
    });
}
