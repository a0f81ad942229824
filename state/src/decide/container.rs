//! Decisions on containers. Called only by `decide`.

use crate::command::{AddContainer, MoveContainer, RemoveContainer, RestartContainer, SetDesired, UpdateContainer};
use crate::decide::{Decision, check};
use crate::event::Fact;
use crate::ids::{ContainerId, Version};
use crate::noun::container::{ContainerSpec, Desired, Relocation, RuntimeKind};
use crate::noun::volume::Takeover;
use crate::outcome::Made;
use crate::rejection::Rejection;
use crate::state::ClusterState;

pub(super) fn add(state: &ClusterState, cmd: &AddContainer) -> Result<Decision, Rejection> {
    if state.container(&cmd.container).is_some() {
        return Err(Rejection::ContainerExists { container: cmd.container.clone() });
    }
    check::limit("containers", state.containers.len(), check::MAX_CONTAINERS)?;
    check::container(&cmd.spec)?;
    not_external(&cmd.spec)?;
    volumes_exist(state, &cmd.spec)?;
    not_privileged(state, &cmd.spec)?;
    let fact = Fact::ContainerAdded { container: cmd.container.clone(), spec: cmd.spec.clone(), desired: cmd.desired };
    Ok(Decision::Change { facts: vec![fact], made: Made::Version(Version(1)) })
}

/// Takes effect with the next lease: the running one keeps the spec it was granted with.
pub(super) fn update(state: &ClusterState, cmd: &UpdateContainer) -> Result<Decision, Rejection> {
    let container = state.need_container(&cmd.container)?;
    let version = check::next_version("container", container.id.as_str(), cmd.version, container.version)?;
    check::container(&cmd.spec)?;
    not_external(&container.spec)?;
    not_external(&cmd.spec)?;
    volumes_exist(state, &cmd.spec)?;
    not_privileged(state, &cmd.spec)?;
    let fact = Fact::ContainerUpdated { container: cmd.container.clone(), version, spec: cmd.spec.clone() };
    Ok(Decision::Change { facts: vec![fact], made: Made::Version(version) })
}

/// One that somebody else starts exists only under its claim, and only there where it was started.
fn not_external(spec: &ContainerSpec) -> Result<(), Rejection> {
    match spec.runtime {
        RuntimeKind::Docker | RuntimeKind::Process => Ok(()),
        RuntimeKind::External => {
            let reason = "made and moved only by `docker run` with the volume driver or by `berth lease run`".to_owned();
            Err(Rejection::Invalid { field: "runtime".to_owned(), reason })
        }
    }
}

/// A privileged instance can undo what its host enforces, and after-expiry rests on just that.
pub(super) fn not_privileged(state: &ClusterState, spec: &ContainerSpec) -> Result<(), Rejection> {
    if !spec.privileged || spec.privileged_insisted {
        return Ok(());
    }
    for mount in &spec.volumes {
        if state.need_volume(&mount.volume)?.spec.takeover == Takeover::AfterExpiry {
            return Err(Rejection::Privileged { volume: mount.volume.clone() });
        }
    }
    Ok(())
}

/// Several containers may name one volume; the grant rule lets one at a time have it.
pub(super) fn volumes_exist(state: &ClusterState, spec: &ContainerSpec) -> Result<(), Rejection> {
    spec.volumes.iter().try_for_each(|mount| state.need_volume(&mount.volume).map(|_| ()))
}

pub(super) fn remove(state: &ClusterState, cmd: &RemoveContainer) -> Result<Decision, Rejection> {
    state.need_container(&cmd.container)?;
    not_held(state, &cmd.container)?;
    Ok(Decision::one(Fact::ContainerRemoved { container: cmd.container.clone() }))
}

/// L1: free iff no un-ended lease names it.
pub(super) fn not_held(state: &ClusterState, id: &ContainerId) -> Result<(), Rejection> {
    match state.lease_of_container(id) {
        Some(held) => Err(Rejection::ContainerHeld {
            container: id.clone(),
            lease: held.id,
            token: held.token,
            host: held.host.clone(),
            phase: held.phase,
        }),
        None => Ok(()),
    }
}

pub(super) fn set_desired(state: &ClusterState, cmd: &SetDesired) -> Result<Decision, Rejection> {
    let container = state.need_container(&cmd.container)?;
    if container.desired == cmd.desired && container.finished.is_none() {
        return Ok(Decision::unchanged());
    }
    Ok(Decision::one(Fact::ContainerDesiredChanged { container: cmd.container.clone(), desired: cmd.desired }))
}

pub(super) fn restart(state: &ClusterState, cmd: &RestartContainer) -> Result<Decision, Rejection> {
    relocation(state, &cmd.container, Relocation::Restart)
}

pub(super) fn relocate(state: &ClusterState, cmd: &MoveContainer) -> Result<Decision, Rejection> {
    let current = state.lease_of_container(&cmd.container);
    if let Some(to) = &cmd.to {
        state.need_host(to)?;
        if current.is_some_and(|lease| lease.host == *to) {
            return Ok(Decision::unchanged());
        }
    }
    relocation(state, &cmd.container, Relocation::Move { to: cmd.to.clone() })
}

fn relocation(state: &ClusterState, id: &ContainerId, relocation: Relocation) -> Result<Decision, Rejection> {
    let container = state.need_container(id)?;
    not_external(&container.spec)?;
    if container.desired == Desired::Stopped {
        return Err(Rejection::NotWanted { container: id.clone(), why: "it is stopped: `berth container start` it instead".to_owned() });
    }
    Ok(Decision::one(Fact::ContainerRelocationRequested { container: id.clone(), relocation }))
}
