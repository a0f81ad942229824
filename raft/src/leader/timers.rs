//! What is over, by this node's notes: which orders are due now, and when the next one will be. Pure; asked by the driver of a leader that has
//! applied the first entry of its own term (L11). Every order is a compare-and-set on the fact that its note was of.

use berth_state::ClusterState;
use berth_state::command::{CloseLease, ExpireLease, ExpireSession, FenceLease, Order, SetHealth, WithdrawLease};
use berth_state::ids::{LeaseId, SessionId, Token};
use berth_state::noun::cluster::wait_ms;
use berth_state::noun::host::Health;
use berth_state::noun::lease::{Evidence, Phase, WithdrawReason};
use berth_state::noun::session::Guard;
use berth_state::noun::volume::Takeover;

use crate::clock::RawTime;
use crate::leader::notes::{Note, Noted, Notes};

/// Orders that are due, and the time of the next one that is not yet.
#[derive(Debug, Default)]
pub struct Due {
    pub orders: Vec<Order>,
    pub next: Option<RawTime>,
}

impl Due {
    /// Takes the order if its time has come, else remembers when that is.
    pub(super) fn at(&mut self, time: RawTime, now: RawTime, order: impl FnOnce() -> Option<Order>) {
        if now >= time {
            self.orders.extend(order());
        } else {
            self.next = Some(self.next.map_or(time, |next| next.min(time)));
        }
    }
}

#[must_use]
pub fn due(state: &ClusterState, notes: &Notes, now: RawTime) -> Due {
    let mut due = Due::default();
    for (noted, _) in notes.iter() {
        // Only a note of the fact as it is now counts.
        let Some(note) = notes.get(state, noted) else { continue };
        match noted {
            Noted::Granted(lease) => granted(&mut due, state, lease, note, now),
            Noted::Renewed(token) => renewed(&mut due, state, token, note, now),
            Noted::Revoked(lease) => revoked(&mut due, state, lease, note, now),
            Noted::Expired(lease) => expired(&mut due, state, lease, note, now),
            Noted::Heard(session) => heard(&mut due, state, session, note, now),
            // The fence file's.
            Noted::Tried(_) | Noted::Attempted(_) => {}
        }
    }
    due
}

/// L13: a grant that is not activated in time is withdrawn and placed elsewhere.
fn granted(due: &mut Due, state: &ClusterState, id: LeaseId, note: Note, now: RawTime) {
    let Some(lease) = state.lease(id) else { return };
    let time = note.at.plus_ms(state.settings().activation_ms);
    due.at(time, now, || Some(Order::WithdrawLease(WithdrawLease { lease: id, token: lease.token, why: WithdrawReason::NotActivated })));
}

/// L11: a full wait(T of that renewal) after this node's own note of it.
fn renewed(due: &mut Due, state: &ClusterState, token: Token, note: Note, now: RawTime) {
    let (Some(lease), Some(renewal)) = (state.lease_by_token(token), state.renewal(token)) else { return };
    if !matches!(lease.phase, Phase::Active | Phase::Closing) || !lease.expires_by_silence() {
        return;
    }
    let time = note.at.plus_ms(wait_ms(renewal.ttl_ms));
    due.at(time, now, || Some(Order::ExpireLease(ExpireLease { lease: lease.id, token, renewed: note.index })));
}

/// L14: the drain time is over, so renewal ends.
fn revoked(due: &mut Due, state: &ClusterState, id: LeaseId, note: Note, now: RawTime) {
    let Some(lease) = state.lease(id).filter(|l| l.phase == Phase::Active) else { return };
    let Some(revoked) = &lease.revoked else { return };
    let time = note.at.plus_ms(revoked.drain_ms);
    due.at(time, now, || Some(Order::CloseLease(CloseLease { lease: id, token: lease.token })));
}

/// L12: the lock delay is over; where the rule and the recorded guard allow it, that is the evidence.
fn expired(due: &mut Due, state: &ClusterState, id: LeaseId, note: Note, now: RawTime) {
    let Some(lease) = state.lease(id) else { return };
    if lease.takeover() != Takeover::AfterExpiry || lease.guard == Guard::None {
        return;
    }
    let time = note.at.plus_ms(lease.lock_delay_ms());
    let evidence = Evidence::RanOut { expired_at: note.index };
    due.at(time, now, || Some(Order::FenceLease(FenceLease { lease: id, token: lease.token, evidence })));
}

/// L17, and the host's health: suspect when two keepalives in a row are missing, down after wait(T); then, once no lease of it
/// can still be renewed, the session is closed.
fn heard(due: &mut Due, state: &ClusterState, id: SessionId, note: Note, now: RawTime) {
    let (Some(session), Some(pulse)) = (state.session(id), state.pulse(id)) else { return };
    let Some(host) = state.host(&session.host) else { return };
    let mark = |health| Some(Order::SetHealth(SetHealth { session: id, renewed: note.index, health }));
    let over = note.at.plus_ms(wait_ms(pulse.ttl_ms));
    match host.health {
        Health::Live => due.at(note.at.plus_ms(suspect_ms(pulse.ttl_ms)), now, || mark(Health::Suspect)),
        Health::Suspect => due.at(over, now, || mark(Health::Down)),
        Health::Down => {}
    }
    if !renewable(state, id) {
        due.at(over, now, || Some(Order::ExpireSession(ExpireSession { session: id, renewed: note.index })));
    }
}

/// Keepalives come every T/3: two are missing, and a little.
#[must_use]
pub fn suspect_ms(ttl_ms: u64) -> u64 {
    ttl_ms * 7 / 10
}

/// Whether a lease of the session stands in the way of closing it: it must expire or be withdrawn first.
fn renewable(state: &ClusterState, id: SessionId) -> bool {
    let Some(session) = state.session(id) else { return false };
    state.leases_of_host(&session.host).filter(|l| l.session == id).any(|l| match l.phase {
        Phase::Granted | Phase::Active | Phase::Closing => l.expires_by_silence(),
        Phase::Expired => false,
    })
}
