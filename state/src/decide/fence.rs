//! Decisions on fencing: which evidence ends which lease (L12, L15). Called only by `decide`.

use crate::command::{FenceLease, StartFence};
use crate::decide::lease::{ended_by, wrong_phase};
use crate::decide::{Decision, check};
use crate::event::Fact;
use crate::noun::fence::FenceMethod;
use crate::noun::lease::{Evidence, Lease, Phase};
use crate::noun::session::Guard;
use crate::noun::volume::Takeover;
use crate::rejection::Rejection;
use crate::state::ClusterState;

/// L15: the entry comes before the action. From here on the lease is not renewed.
pub(super) fn start(state: &ClusterState, cmd: &StartFence) -> Result<Decision, Rejection> {
    let lease = state.need_lease(cmd.lease, cmd.token)?;
    if let Some(fence) = state.fences.get(&lease.token)
        && fence.method == Some(cmd.method)
    {
        return Ok(Decision::unchanged());
    }
    match lease.phase {
        Phase::Active => silent(state, lease, cmd)?,
        Phase::Closing | Phase::Expired => {}
        Phase::Granted => return Err(wrong_phase(lease, "fence", "active, closing or expired; withdraw it")),
    }
    possible(state, lease, cmd.method)?;
    Ok(Decision::one(Fact::FenceStarted { lease: lease.id, token: lease.token, method: cmd.method }))
}

/// Whoever was heard of since is not fenced for silence.
fn silent(state: &ClusterState, lease: &Lease, cmd: &StartFence) -> Result<(), Rejection> {
    let (Some(named), Some(pulse)) = (cmd.heard, state.pulse(lease.session)) else { return Ok(()) };
    if pulse.renewed != named {
        return Err(Rejection::RenewedSince { object: format!("session {}", lease.session), named, actual: pulse.renewed });
    }
    Ok(())
}

fn possible(state: &ClusterState, lease: &Lease, method: FenceMethod) -> Result<(), Rejection> {
    let refuse = |evidence: &str, why: &str| {
        let (evidence, why) = (evidence.to_owned(), why.to_owned());
        Err(Rejection::EvidenceRefused { lease: lease.id, token: lease.token, evidence, why })
    };
    match method {
        FenceMethod::StorageCut if lease.volumes.is_empty() => refuse("StorageCut", "it has no volumes"),
        FenceMethod::StorageCut if !lease.volumes.iter().all(|v| v.spec.can_fence()) => {
            refuse("StorageCut", "the storage of its volumes cannot cut a client off")
        }
        FenceMethod::PowerOff if state.need_host(&lease.host)?.spec.fence_agents.is_empty() => {
            refuse("PoweredOff", "its host has no fence agent: `berth host update --fence-agent`")
        }
        FenceMethod::StorageCut | FenceMethod::PowerOff => Ok(()),
    }
}

/// Ends the lease if the evidence is of a kind that its volumes' takeover rule accepts.
pub(super) fn fence(state: &ClusterState, cmd: &FenceLease) -> Result<Decision, Rejection> {
    let lease = state.need_lease(cmd.lease, cmd.token)?;
    let verdict = match &cmd.evidence {
        Evidence::RanOut { expired_at } => ran_out(lease, *expired_at),
        Evidence::StorageCut => acted(state, lease, FenceMethod::StorageCut),
        Evidence::PoweredOff => acted(state, lease, FenceMethod::PowerOff),
        Evidence::OperatorConfirmed { name, reason } => check::word_of(name, reason),
    };
    verdict.map_err(|why| Rejection::EvidenceRefused {
        lease: lease.id,
        token: lease.token,
        evidence: cmd.evidence.label().to_owned(),
        why,
    })?;
    Ok(ended_by(lease, Fact::LeaseFenced { lease: lease.id, token: lease.token, evidence: cmd.evidence.clone() }))
}

/// L12.
fn ran_out(lease: &Lease, expired_at: crate::ids::Revision) -> Result<(), String> {
    if lease.phase != Phase::Expired || lease.expired != Some(expired_at) {
        return Err("the lease is not expired by that entry".to_owned());
    }
    match lease.takeover() {
        Takeover::AfterExpiry => {}
        Takeover::AfterFence => return Err("its volume is after-fence: the fence action must succeed first".to_owned()),
        Takeover::Manual => return Err("its volume is manual: `berth fence confirm` says that the holder is dead".to_owned()),
    }
    if lease.guard == Guard::None {
        return Err("the host had declared no guard when the lease was granted".to_owned());
    }
    Ok(())
}

/// L15: only the acknowledgement, itself in the log, of an action that was committed first.
fn acted(state: &ClusterState, lease: &Lease, method: FenceMethod) -> Result<(), String> {
    match state.fences.get(&lease.token) {
        Some(fence) if fence.acknowledged(method) => Ok(()),
        Some(fence) if fence.method == Some(method) => Err("no try of that fence action has succeeded".to_owned()),
        Some(_) | None => Err("no such fence action was started".to_owned()),
    }
}
