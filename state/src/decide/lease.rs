//! Decisions on leases that exist: withdraw, revoke, close, expire, release, observe (L11, L13, L14, L16). Called only by `decide`.

use crate::command::{CloseLease, ExpireLease, RecordObservation, ReleaseLease, RevokeLease, WithdrawLease};
use crate::decide::{Decision, gone};
use crate::event::{CloseReason, Fact};
use crate::ids::SessionId;
use crate::noun::container::RuntimeKind;
use crate::noun::lease::{Lease, Phase};
use crate::outcome::Made;
use crate::rejection::Rejection;
use crate::state::ClusterState;

pub(super) fn wrong_phase(lease: &Lease, action: &str, needs: &str) -> Rejection {
    Rejection::WrongPhase { lease: lease.id, token: lease.token, phase: lease.phase, action: action.to_owned(), needs: needs.to_owned() }
}

/// The end of a lease. A claimed one ends together with its container, which nobody else can start.
pub(super) fn ended_by(lease: &Lease, cause: Fact) -> Decision {
    let mut facts = vec![cause];
    match lease.spec.runtime {
        RuntimeKind::External => facts.push(Fact::ContainerRemoved { container: lease.container.clone() }),
        RuntimeKind::Docker | RuntimeKind::Process => {}
    }
    Decision::Change { facts, made: Made::Done }
}

/// L13: only while never activated. The log order of this entry and the first keepalive decides; the loser gets Gone.
pub(super) fn withdraw(state: &ClusterState, cmd: &WithdrawLease) -> Result<Decision, Rejection> {
    let lease = state.need_lease(cmd.lease, cmd.token)?;
    if lease.phase != Phase::Granted {
        return Err(wrong_phase(lease, "withdraw", "granted (never activated); use revoke"));
    }
    Ok(ended_by(lease, Fact::LeaseWithdrawn { lease: lease.id, token: lease.token, why: cmd.why }))
}

/// L14: asks for a soft stop. The lease stays renewable, because a database may need longer than T to shut down.
pub(super) fn revoke(state: &ClusterState, cmd: &RevokeLease) -> Result<Decision, Rejection> {
    let lease = state.need_lease(cmd.lease, cmd.token)?;
    if lease.revoked.is_some() {
        return Ok(Decision::unchanged());
    }
    match lease.phase {
        Phase::Granted | Phase::Active => {}
        Phase::Closing | Phase::Expired => return Err(wrong_phase(lease, "revoke", "granted or active")),
    }
    let drain_ms = lease.spec.drain_ms();
    Ok(Decision::one(Fact::LeaseRevoked { lease: lease.id, token: lease.token, reason: cmd.reason, drain_ms }))
}

/// L14: ends renewal. Only of a revoked lease: whoever closes must have asked for the soft stop first.
pub(super) fn close(state: &ClusterState, cmd: &CloseLease) -> Result<Decision, Rejection> {
    let lease = state.need_lease(cmd.lease, cmd.token)?;
    if lease.phase == Phase::Closing {
        return Ok(Decision::unchanged());
    }
    if lease.phase != Phase::Active || lease.revoked.is_none() {
        return Err(wrong_phase(lease, "close", "active and revoked"));
    }
    Ok(Decision::one(Fact::LeaseClosed { lease: lease.id, token: lease.token, why: CloseReason::DrainOver }))
}

/// L11: a compare-and-set on the last renewal, a fact that cannot become false. So delay, duplication, a change of leader, a lost
/// reply and an in-flight renewal are all harmless.
pub(super) fn expire(state: &ClusterState, cmd: &ExpireLease) -> Result<Decision, Rejection> {
    let lease = state.need_lease(cmd.lease, cmd.token)?;
    match lease.phase {
        Phase::Active | Phase::Closing => {}
        Phase::Granted => return Err(wrong_phase(lease, "expire", "active or closing; withdraw it")),
        Phase::Expired => return Err(wrong_phase(lease, "expire", "active or closing")),
    }
    if !lease.expires_by_silence() {
        return Err(wrong_phase(lease, "expire", "a volume that is not after-fence: silence proves nothing there"));
    }
    let Some(renewal) = state.renewal(lease.token) else {
        return Err(wrong_phase(lease, "expire", "a renewal"));
    };
    if renewal.renewed != cmd.renewed {
        return Err(Rejection::RenewedSince { object: format!("lease {}", lease.id), named: cmd.renewed, actual: renewal.renewed });
    }
    Ok(Decision::one(Fact::LeaseExpired { lease: lease.id, token: lease.token, renewed: cmd.renewed }))
}

/// L16: the holder says: instance dead, volumes flushed and unmounted. Idempotent: an ended lease stays ended, and if it was fenced this is the
/// proof that its holder is gone.
pub(super) fn release(state: &ClusterState, cmd: &ReleaseLease) -> Result<Decision, Rejection> {
    let Some(lease) = state.lease(cmd.lease) else {
        let issued = state.need_cluster()?.max_token;
        if cmd.token <= issued {
            return Ok(gone::reported(state, cmd.token, cmd.session));
        }
        return Err(Rejection::LeaseNotFound { lease: cmd.lease });
    };
    let lease = state.need_lease(lease.id, cmd.token)?;
    may_release(state, lease, cmd.session)?;
    let (session, exit) = (cmd.session, cmd.exit.clone());
    Ok(ended_by(lease, Fact::LeaseReleased { lease: lease.id, token: lease.token, session, exit, finished: cmd.finished }))
}

/// The session that holds it (leases move to a same-boot successor when that opens), in any phase; or, for one that is Expired or
/// Closing, a session of a later boot over the same ledger: a reboot killed the instance, and the ledger remembers the token.
fn may_release(state: &ClusterState, lease: &Lease, session: SessionId) -> Result<(), Rejection> {
    if lease.session == session && state.session(session).is_some() {
        return Ok(());
    }
    let refuse = |why: &str| Err(Rejection::ReleaseRefused { session, lease: lease.id, token: lease.token, why: why.to_owned() });
    let (releaser, _) = state.need_session(session)?;
    if releaser.host != lease.host || releaser.ledger != lease.ledger {
        return refuse("another host, or another ledger on this host, holds it");
    }
    // A session id rises with each opening, so a larger one on the same host is a later one.
    if session < lease.session {
        return refuse("an earlier session of that host");
    }
    match lease.phase {
        Phase::Expired | Phase::Closing => Ok(()),
        Phase::Granted | Phase::Active => refuse("it is not closed or expired yet and its session was another"),
    }
}

/// Facts come back only as proposals: what an executor saw of its instances. Only changes become events.
pub(super) fn observe(state: &ClusterState, cmd: &RecordObservation) -> Result<Decision, Rejection> {
    state.need_session(cmd.session)?;
    let mut facts = Vec::new();
    for seen in &cmd.instances {
        // One that has ended meanwhile, or is another's, is no news: the rest of the report still counts.
        let Ok(lease) = state.need_lease(seen.lease, seen.token) else { continue };
        if lease.session != cmd.session || lease.instance.as_ref() == Some(&seen.status) {
            continue;
        }
        facts.push(Fact::InstanceObserved { lease: lease.id, token: lease.token, status: seen.status.clone() });
    }
    if facts.is_empty() { Ok(Decision::unchanged()) } else { Ok(Decision::Change { facts, made: Made::Done }) }
}
