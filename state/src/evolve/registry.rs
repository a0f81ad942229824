//! Folds events of the registry: cluster, hosts, volumes, containers. Called only by `evolve`.

use crate::event::{Event, Fact};
use crate::ids::{ClusterId, ContainerId, HostId, Incarnation, Revision, Token, Version, VolumeId};
use crate::noun::cluster::{Cluster, Settings};
use crate::noun::container::{Container, ContainerSpec, Desired, Relocation};
use crate::noun::host::{Health, Host, HostSpec, Scheduling};
use crate::noun::volume::{Volume, VolumeSpec};
use crate::state::{ClusterState, ObjectKey};

pub(super) fn evolve(state: &mut ClusterState, event: &Event) {
    let at = event.revision;
    match &event.fact {
        Fact::ClusterInitialized { cluster, format, settings } => initialized(state, *cluster, *format, *settings),
        Fact::SettingsChanged { settings } => change_cluster(state, |c| c.settings = *settings),
        Fact::FormatRaised { format } => change_cluster(state, |c| c.format = *format),
        Fact::HostAdded { host, spec } => host_added(state, at, host, spec),
        Fact::HostUpdated { host, version, spec } => change_host(state, host, |h| {
            h.version = *version;
            h.spec = spec.clone();
        }),
        Fact::HostRemoved { host } => host_removed(state, host),
        Fact::HostSchedulingChanged { host, scheduling } => change_host(state, host, |h| h.scheduling = *scheduling),
        Fact::HostHealthChanged { host, health } => change_host(state, host, |h| h.health = *health),
        Fact::VolumeAdded { volume, spec } => volume_added(state, at, volume, spec),
        Fact::VolumeUpdated { volume, version, spec } => change_volume(state, volume, |v| {
            v.version = *version;
            v.spec = spec.clone();
        }),
        Fact::VolumeRemoved { volume } => {
            state.volumes.remove(volume);
            state.touch(ObjectKey::Volume(volume.clone()));
        }
        Fact::ContainerAdded { container, spec, desired } => container_added(state, at, container, spec, *desired),
        Fact::ContainerUpdated { container, version, spec } => change_container(state, container, |c| {
            c.version = *version;
            c.spec = spec.clone();
            c.finished = None;
        }),
        Fact::ContainerRemoved { container } => {
            state.containers.remove(container);
            state.touch(ObjectKey::Container(container.clone()));
        }
        Fact::ContainerDesiredChanged { container, desired } => change_container(state, container, |c| desire(c, *desired)),
        Fact::ContainerRelocationRequested { container, relocation } => change_container(state, container, |c| relocate(c, relocation)),
        Fact::LeaseGranted { .. }
        | Fact::LeaseActivated { .. }
        | Fact::LeaseWithdrawn { .. }
        | Fact::LeaseRevoked { .. }
        | Fact::LeaseClosed { .. }
        | Fact::LeaseExpired { .. }
        | Fact::FenceStarted { .. }
        | Fact::LeaseFenced { .. }
        | Fact::LeaseReleased { .. }
        | Fact::SessionOpened { .. }
        | Fact::SessionClosed { .. }
        | Fact::SessionCloned { .. }
        | Fact::InstanceObserved { .. } => unreachable!("not an event of the registry"),
    }
}

fn initialized(state: &mut ClusterState, id: ClusterId, format: u32, settings: Settings) {
    state.cluster = Some(Cluster { id, format, incarnation: Incarnation(1), floor: 0, max_token: Token(0), settings });
    state.touch(ObjectKey::Cluster);
}

pub(super) fn change_cluster(state: &mut ClusterState, change: impl FnOnce(&mut Cluster)) {
    change(state.cluster.as_mut().expect("only ClusterInitialized comes before a cluster exists"));
    state.touch(ObjectKey::Cluster);
}

fn host_added(state: &mut ClusterState, at: Revision, id: &HostId, spec: &HostSpec) {
    let host = Host {
        id: id.clone(),
        spec: spec.clone(),
        version: Version(1),
        scheduling: Scheduling::Open,
        health: Health::Down,
        session: None,
        created: at,
    };
    assert!(state.hosts.insert(id.clone(), host).is_none(), "host {id} added twice");
    state.touch(ObjectKey::Host(id.clone()));
}

/// A move that waits for the removed host waits for nothing any more.
fn host_removed(state: &mut ClusterState, id: &HostId) {
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

fn volume_added(state: &mut ClusterState, at: Revision, id: &VolumeId, spec: &VolumeSpec) {
    let volume = Volume { id: id.clone(), spec: spec.clone(), version: Version(1), created: at, last_token: Token(0) };
    assert!(state.volumes.insert(id.clone(), volume).is_none(), "volume {id} added twice");
    state.touch(ObjectKey::Volume(id.clone()));
}

pub(super) fn change_volume(state: &mut ClusterState, id: &VolumeId, change: impl FnOnce(&mut Volume)) {
    change(state.volumes.get_mut(id).expect("decide named an existing volume"));
    state.touch(ObjectKey::Volume(id.clone()));
}

fn container_added(state: &mut ClusterState, at: Revision, id: &ContainerId, spec: &ContainerSpec, desired: Desired) {
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

fn desire(container: &mut Container, desired: Desired) {
    container.desired = desired;
    container.finished = None;
    if desired == Desired::Stopped {
        container.relocation = None;
    }
}

fn relocate(container: &mut Container, relocation: &Relocation) {
    container.finished = None;
    container.relocation = Some(relocation.clone());
}
