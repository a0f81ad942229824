//! Decisions on sessions (L17). Called only by `decide`.

use crate::command::{CloseSession, ExpireSession, OpenSession};
use crate::decide::{Decision, check, gone};
use crate::event::{CloseReason, Fact, SessionEnd};
use crate::ids::{Revision, SessionId};
use crate::noun::lease::{Lease, Phase};
use crate::noun::session::Session;
use crate::outcome::Made;
use crate::rejection::Rejection;
use crate::state::ClusterState;

/// Same boot, same ledger and the predecessor named: replaced in this entry, leases move over. Anything else waits until the current session
/// is closed. So a reboot, or a host name used twice, by itself ends no lease.
pub(super) fn open(state: &ClusterState, at: Revision, cmd: &OpenSession) -> Result<Decision, Rejection> {
    let host = state.need_host(&cmd.host)?;
    check::declaration(&cmd.declared)?;
    let id = SessionId(at.0);
    let session = Session { id, host: host.id.clone(), boot: cmd.boot, ledger: cmd.ledger, declared: cmd.declared.clone() };
    let mut facts = Vec::new();
    let mut predecessor = None;
    if let Some(current) = host.session.and_then(|id| state.session(id)) {
        succeeds(current, cmd)?;
        predecessor = Some(current.id);
        facts.push(Fact::SessionClosed { session: current.id, host: host.id.clone(), why: SessionEnd::Replaced });
    }
    facts.push(Fact::SessionOpened { session, predecessor });
    facts.extend(gone::rebooted(host, cmd.boot));
    Ok(Decision::Change { facts, made: Made::Session(id) })
}

fn succeeds(current: &Session, cmd: &OpenSession) -> Result<(), Rejection> {
    let because = if current.boot != cmd.boot {
        "another boot of this host"
    } else if current.ledger != cmd.ledger {
        "another ledger (another executor under the same host name?)"
    } else if cmd.predecessor != Some(current.id) {
        "an executor that this one's ledger does not know"
    } else {
        return Ok(());
    };
    Err(Rejection::SessionConflict { host: cmd.host.clone(), current: current.id, boot: current.boot, because: because.to_owned() })
}

/// A clean goodbye, once every lease has ended.
pub(super) fn close(state: &ClusterState, cmd: &CloseSession) -> Result<Decision, Rejection> {
    let (session, _) = state.need_session(cmd.session)?;
    if let Some(lease) = state.leases_of_session(session.id).next() {
        return Err(holds(session.id, lease));
    }
    Ok(Decision::one(Fact::SessionClosed { session: session.id, host: session.host.clone(), why: SessionEnd::Closed }))
}

/// Closes a silent session by compare-and-set on its last renewal. Its after-expiry and manual leases must have expired first;
/// its after-fence leases go to Closing in this entry.
pub(super) fn expire(state: &ClusterState, cmd: &ExpireSession) -> Result<Decision, Rejection> {
    let (session, pulse) = state.need_session(cmd.session)?;
    if pulse.renewed != cmd.renewed {
        return Err(Rejection::RenewedSince { object: format!("session {}", session.id), named: cmd.renewed, actual: pulse.renewed });
    }
    let mut facts = Vec::new();
    for lease in state.leases_of_session(session.id) {
        match lease.phase {
            Phase::Granted | Phase::Active if !lease.expires_by_silence() => {
                facts.push(Fact::LeaseClosed { lease: lease.id, token: lease.token, why: CloseReason::SessionSilent });
            }
            Phase::Closing if !lease.expires_by_silence() => {}
            Phase::Granted | Phase::Active | Phase::Closing => return Err(holds(session.id, lease)),
            Phase::Expired => {}
        }
    }
    facts.push(Fact::SessionClosed { session: session.id, host: session.host.clone(), why: SessionEnd::Silent });
    Ok(Decision::Change { facts, made: Made::Done })
}

fn holds(session: SessionId, lease: &Lease) -> Rejection {
    Rejection::SessionHoldsLease { session, lease: lease.id, token: lease.token, phase: lease.phase }
}
