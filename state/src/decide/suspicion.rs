//! Decisions on suspected split brains: a holder saw another token's heartbeat advance on its volume. The volume gets no new lease until an operator has
//! looked at its data. Called only by `decide`.

use crate::command::{ClearSuspicion, SuspectSplitBrain};
use crate::decide::{Decision, check};
use crate::event::Fact;
use crate::rejection::Rejection;
use crate::state::ClusterState;

pub(super) fn suspect(state: &ClusterState, cmd: &SuspectSplitBrain) -> Result<Decision, Rejection> {
    let (session, _) = state.need_session(cmd.session)?;
    let lease = state.need_lease(cmd.lease, cmd.token)?;
    if lease.session != session.id {
        return Err(Rejection::SessionReplaced { session: session.id });
    }
    let volume = state.need_volume(&cmd.volume)?;
    if !lease.volumes.iter().any(|held| held.volume == volume.id) {
        return Err(Rejection::VolumeNotFound { volume: volume.id.clone() });
    }
    if volume.suspicion.is_some_and(|known| (known.token, known.other) == (cmd.token, cmd.other)) {
        return Ok(Decision::unchanged());
    }
    let (token, other) = (cmd.token, cmd.other);
    Ok(Decision::one(Fact::SplitBrainSuspected { volume: volume.id.clone(), token, other, host: lease.host.clone() }))
}

pub(super) fn clear(state: &ClusterState, cmd: &ClearSuspicion) -> Result<Decision, Rejection> {
    let volume = state.need_volume(&cmd.volume)?;
    check::word_of(&cmd.name, &cmd.reason).map_err(|reason| Rejection::Invalid { field: "reason".to_owned(), reason })?;
    if volume.suspicion.is_none() {
        return Err(Rejection::NothingToClear { object: format!("volume {}", volume.id), what: "suspicion".to_owned() });
    }
    Ok(Decision::one(Fact::SuspicionCleared { volume: volume.id.clone(), name: cmd.name.clone(), reason: cmd.reason.clone() }))
}
