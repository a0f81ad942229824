//! Folds events of sessions, and records renewals: the one replicated change that is not an event (L6). Called by `evolve`, and
//! [`renew`] by `apply` with what `decide` found of a keepalive batch.

use crate::decide::keepalive::Heard;
use crate::event::SessionEnd;
use crate::evolve::registry::change_host;
use crate::ids::{HostId, Nonce, Revision, Seq, SessionId};
use crate::noun::host::Health;
use crate::noun::session::{Pulse, Renewal, Session};
use crate::state::{ClusterState, ObjectKey};

pub(super) fn opened(state: &mut ClusterState, at: Revision, session: &Session, predecessor: Option<SessionId>) {
    let ttl_ms = state.settings().ttl_ms;
    let pulse = Pulse { seq: Seq(0), nonce: Nonce(0), renewed: at, ttl_ms };
    state.sessions.insert(session.id, session.clone());
    state.pulses.insert(session.id, pulse);
    state.touch(ObjectKey::Session(session.id));
    state.touch(ObjectKey::Pulse(session.id));
    change_host(state, &session.host, |h| {
        h.session = Some(session.id);
        h.health = Health::Live;
    });
    let Some(predecessor) = predecessor else { return };
    // Same boot, same ledger: the leases of the former session move over (L17).
    let moved: Vec<_> = state.leases_of_host(&session.host).filter(|l| l.session == predecessor).map(|l| l.id).collect();
    for id in moved {
        let lease = state.leases.get_mut(&id).expect("listed just now");
        lease.session = session.id;
        state.touch(ObjectKey::Lease(id));
    }
}

pub(super) fn closed(state: &mut ClusterState, id: SessionId, host: &HostId, why: SessionEnd) {
    state.sessions.remove(&id);
    state.pulses.remove(&id);
    state.touch(ObjectKey::Session(id));
    state.touch(ObjectKey::Pulse(id));
    // A replaced session's host goes on under the new one, which the next event brings.
    if why != SessionEnd::Replaced {
        change_host(state, host, |h| {
            h.session = None;
            h.health = Health::Down;
        });
    }
}

/// Records an accepted keepalive of entry `at`: session and claimed leases were heard of, for T as in force at this entry (L18).
pub(crate) fn renew(state: &mut ClusterState, at: Revision, heard: &Heard) {
    let ttl_ms = state.settings().ttl_ms;
    state.pulses.insert(heard.session, Pulse { seq: heard.seq, nonce: heard.nonce, renewed: at, ttl_ms });
    state.touch(ObjectKey::Pulse(heard.session));
    for token in &heard.renewed {
        state.renewals.insert(*token, Renewal { renewed: at, ttl_ms });
        state.touch(ObjectKey::Renewal(*token));
    }
}
