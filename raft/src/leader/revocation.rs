//! Leases that should stop: their container is to be stopped, restarted or moved, or their host is draining (L14). Pure; asked by the driver
//! after every change. A drain or move asks for the stop only when another host fits, so that it never trades a running database for none.

use berth_state::ClusterState;
use berth_state::command::{Order, RevokeLease, WithdrawLease};
use berth_state::noun::container::{Container, Desired, Relocation, RuntimeKind};
use berth_state::noun::host::Scheduling;
use berth_state::noun::lease::{Lease, Phase, RevokeReason, WithdrawReason};
use berth_state::placement;

/// Every revoke or withdraw that is due.
#[must_use]
pub fn due(state: &ClusterState) -> Vec<Order> {
    state.leases().filter_map(|lease| order(state, lease)).collect()
}

fn order(state: &ClusterState, lease: &Lease) -> Option<Order> {
    if lease.revoked.is_some() {
        return None;
    }
    let container = state.container(&lease.container)?;
    let reason = reason(state, lease, container)?;
    match lease.phase {
        // Never activated: nothing runs, so nothing needs to stop softly (L13).
        Phase::Granted => {
            let why = WithdrawReason::NoLongerWanted;
            Some(Order::WithdrawLease(WithdrawLease { lease: lease.id, token: lease.token, why }))
        }
        Phase::Active => Some(Order::RevokeLease(RevokeLease { lease: lease.id, token: lease.token, reason })),
        Phase::Closing | Phase::Expired => None,
    }
}

fn reason(state: &ClusterState, lease: &Lease, container: &Container) -> Option<RevokeReason> {
    if container.desired == Desired::Stopped {
        return Some(RevokeReason::Stop);
    }
    let draining = state.host(&lease.host).is_some_and(|h| h.scheduling == Scheduling::Draining);
    match &container.relocation {
        Some(Relocation::Restart) => return Some(RevokeReason::Restart),
        Some(Relocation::Move { .. }) if elsewhere(state, container) => return Some(RevokeReason::Move),
        Some(Relocation::Move { .. }) | None => {}
    }
    if draining && elsewhere(state, container) { Some(RevokeReason::Drain) } else { None }
}

/// Another host can take it, and the one that was asked for if one was. What somebody else started goes nowhere by our doing.
fn elsewhere(state: &ClusterState, container: &Container) -> bool {
    if container.spec.runtime == RuntimeKind::External {
        return false;
    }
    state.hosts().any(|host| placement::relocatable(state, container, host).is_ok())
}
