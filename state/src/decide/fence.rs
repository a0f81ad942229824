//! Decisions on fencing: which evidence ends which lease (L12, L15). Called only by `decide`.

use crate::command::{FenceLease, StartFence};
use crate::decide::Decision;
use crate::decide::lease::wrong_phase;
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
        Phase::Active | Phase::Closing | Phase::Expired => {}
        Phase::Granted => return Err(wrong_phase(lease, "fence", "active, closing or expired; withdraw it")),
    }
    if cmd.method == FenceMethod::StorageCut && !lease.volumes.iter().all(|v| v.spec.driver.can_fence()) {
        let why = "the storage of its volumes cannot cut a client off".to_owned();
        return Err(Rejection::EvidenceRefused { lease: lease.id, token: lease.token, evidence: "StorageCut".to_owned(), why });
    }
    Ok(Decision::one(Fact::FenceStarted { lease: lease.id, token: lease.token, method: cmd.method }))
}

/// Ends the lease if the evidence is of a kind that its volumes' takeover rule accepts.
pub(super) fn fence(state: &ClusterState, cmd: &FenceLease) -> Result<Decision, Rejection> {
    let lease = state.need_lease(cmd.lease, cmd.token)?;
    let verdict = match &cmd.evidence {
        Evidence::RanOut { expired_at } => ran_out(lease, *expired_at),
        Evidence::StorageCut => acted(state, lease, FenceMethod::StorageCut),
        Evidence::PoweredOff => acted(state, lease, FenceMethod::PowerOff),
        Evidence::OperatorConfirmed { name, reason } => operator(name, reason),
    };
    verdict.map_err(|why| Rejection::EvidenceRefused {
        lease: lease.id,
        token: lease.token,
        evidence: cmd.evidence.label().to_owned(),
        why,
    })?;
    Ok(Decision::one(Fact::LeaseFenced { lease: lease.id, token: lease.token, evidence: cmd.evidence.clone() }))
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

/// L15: only the acknowledgement of an action that was committed first.
fn acted(state: &ClusterState, lease: &Lease, method: FenceMethod) -> Result<(), String> {
    match state.fences.get(&lease.token) {
        Some(fence) if fence.method == Some(method) => Ok(()),
        Some(_) | None => Err("no such fence action was started".to_owned()),
    }
}

fn operator(name: &str, reason: &str) -> Result<(), String> {
    if name.trim().is_empty() || reason.trim().is_empty() {
        return Err("an operator's word needs a name and a reason".to_owned());
    }
    if name.len() > 128 || reason.len() > 1_024 {
        return Err("name: at most 128 bytes, reason: at most 1024".to_owned());
    }
    Ok(())
}
