//! Decisions on volumes. Called only by `decide`.

use crate::command::{AddVolume, RemoveVolume, UpdateVolume};
use crate::decide::{Decision, check};
use crate::event::Fact;
use crate::ids::{Version, VolumeId};
use crate::noun::volume::{Volume, VolumeSpec};
use crate::outcome::Made;
use crate::rejection::Rejection;
use crate::state::ClusterState;
use crate::storage::StorageOptions;

pub(super) fn add(state: &ClusterState, cmd: &AddVolume) -> Result<Decision, Rejection> {
    if state.volume(&cmd.volume).is_some() {
        return Err(Rejection::VolumeExists { volume: cmd.volume.clone() });
    }
    check::limit("volumes", state.volumes.len(), check::MAX_VOLUMES)?;
    check::volume(&cmd.spec)?;
    not_shared(state, &cmd.volume, &cmd.spec)?;
    let fact = Fact::VolumeAdded { volume: cmd.volume.clone(), spec: cmd.spec.clone() };
    Ok(Decision::Change { facts: vec![fact], made: Made::Version(Version(1)) })
}

/// A held volume keeps its spec: the takeover rule of a lease must not change under it.
pub(super) fn update(state: &ClusterState, cmd: &UpdateVolume) -> Result<Decision, Rejection> {
    let volume = state.need_volume(&cmd.volume)?;
    let version = check::next_version("volume", volume.id.as_str(), cmd.version, volume.version)?;
    check::volume(&cmd.spec)?;
    not_held(state, &cmd.volume)?;
    if (volume.spec.driver, &volume.spec.options) != (cmd.spec.driver, &cmd.spec.options) {
        not_barred(volume)?;
    }
    not_shared(state, &cmd.volume, &cmd.spec)?;
    let fact = Fact::VolumeUpdated { volume: cmd.volume.clone(), version, spec: cmd.spec.clone() };
    Ok(Decision::Change { facts: vec![fact], made: Made::Version(version) })
}

pub(super) fn remove(state: &ClusterState, cmd: &RemoveVolume) -> Result<Decision, Rejection> {
    let volume = state.need_volume(&cmd.volume)?;
    not_held(state, &volume.id)?;
    not_barred(volume)?;
    let user = state.containers().find(|c| c.spec.volumes.iter().any(|m| m.volume == volume.id));
    if let Some(container) = user {
        return Err(Rejection::VolumeUsed { volume: volume.id.clone(), container: container.id.clone() });
    }
    Ok(Decision::one(Fact::VolumeRemoved { volume: cmd.volume.clone() }))
}

/// A bar is lifted by the options under which it was made.
fn not_barred(volume: &Volume) -> Result<(), Rejection> {
    match volume.bars.first() {
        Some(bar) => Err(Rejection::VolumeBarred { volume: volume.id.clone(), host: bar.host.clone() }),
        None => Ok(()),
    }
}

/// L1: free iff no un-ended lease names it.
pub(super) fn not_held(state: &ClusterState, id: &VolumeId) -> Result<(), Rejection> {
    match state.lease_of_volume(id) {
        // An expired holder still counts: silence does not prove that it stopped writing.
        Some(held) => Err(Rejection::VolumeHeld {
            volume: id.clone(),
            lease: held.id,
            token: held.token,
            container: held.container.clone(),
            host: held.host.clone(),
            phase: held.phase,
        }),
        None => Ok(()),
    }
}

/// Two volumes over the same data would be one dataset with two writers, each under a lease of its own.
fn not_shared(state: &ClusterState, id: &VolumeId, spec: &VolumeSpec) -> Result<(), Rejection> {
    let Ok(options) = StorageOptions::parse(spec.driver, &spec.options) else { return Ok(()) };
    let place = options.place();
    for other in state.volumes().filter(|v| v.id != *id) {
        let Ok(theirs) = StorageOptions::parse(other.spec.driver, &other.spec.options) else { continue };
        if place.overlaps(&theirs.place()) {
            let reason = format!("{place} overlaps {} of volume {}: {}", theirs.place(), other.id, options.apart());
            return Err(Rejection::Invalid { field: "options".to_owned(), reason });
        }
    }
    Ok(())
}
