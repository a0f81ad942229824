//! Notes (L10): for each fact that a time rule counts from, the log index of that fact and this node's own clock when it saw it applied.
//! Kept on every node, never replicated. A note is used only while its index is still the fact's; it may be later than the commit, never
//! earlier, and later only delays an expiry.

use std::collections::{BTreeMap, BTreeSet};

use berth_state::ClusterState;
use berth_state::ids::{LeaseId, Revision, SessionId, Token};
use berth_state::noun::lease::Phase;
use berth_state::state::ObjectKey;

use crate::clock::RawTime;

/// What a note is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Noted {
    /// Granted, not activated yet: counts towards Withdraw (L13).
    Granted(LeaseId),
    /// The last renewal: counts towards Expire (L11).
    Renewed(Token),
    /// Revoked: the drain time counts from here (L14).
    Revoked(LeaseId),
    /// Expired: the lock delay counts from here (L12).
    Expired(LeaseId),
    /// The session's last keepalive (L17).
    Heard(SessionId),
    /// The newest fence action that ended for this token: the back-off counts from here.
    Tried(Token),
    /// An open fence attempt, by the entry that began it: another node gives it up when its time is over (L21).
    Attempted(Revision),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Note {
    pub index: Revision,
    pub at: RawTime,
}

#[derive(Debug, Default)]
pub struct Notes {
    notes: BTreeMap<Noted, Note>,
}

impl Notes {
    /// Brings the notes of the changed objects up to date, at `now`. Idempotent for facts that did not change.
    pub fn refresh(&mut self, state: &ClusterState, changed: &BTreeSet<ObjectKey>, now: RawTime) {
        for key in changed {
            match key {
                ObjectKey::Lease(id) => {
                    for noted in [Noted::Granted(*id), Noted::Revoked(*id), Noted::Expired(*id)] {
                        self.set(state, noted, now);
                    }
                }
                ObjectKey::Renewal(token) => self.set(state, Noted::Renewed(*token), now),
                ObjectKey::Pulse(session) => self.set(state, Noted::Heard(*session), now),
                ObjectKey::Fence(token) => self.set(state, Noted::Tried(*token), now),
                ObjectKey::Host(id) => {
                    if let Some(open) = state.host(id).and_then(|host| host.attempt.as_ref()) {
                        self.set(state, Noted::Attempted(open.id), now);
                    }
                    self.notes.retain(|noted, _| !matches!(noted, Noted::Attempted(_)) || fact(state, *noted).is_some());
                }
                ObjectKey::Cluster
                | ObjectKey::Clock
                | ObjectKey::Volume(_)
                | ObjectKey::Container(_)
                | ObjectKey::Session(_)
                | ObjectKey::Request(_) => {}
            }
        }
    }

    fn set(&mut self, state: &ClusterState, noted: Noted, now: RawTime) {
        match fact(state, noted) {
            Some(index) => {
                let note = self.notes.entry(noted).or_insert(Note { index, at: now });
                if note.index != index {
                    *note = Note { index, at: now };
                }
            }
            None => {
                self.notes.remove(&noted);
            }
        }
    }

    /// The note, only while it is of the fact as it is now.
    #[must_use]
    pub fn get(&self, state: &ClusterState, noted: Noted) -> Option<Note> {
        self.notes.get(&noted).copied().filter(|note| fact(state, noted) == Some(note.index))
    }

    pub fn iter(&self) -> impl Iterator<Item = (Noted, Note)> {
        self.notes.iter().map(|(noted, note)| (*noted, *note))
    }
}

/// The log index of the fact as the state has it; `None`: there is no such fact now.
fn fact(state: &ClusterState, noted: Noted) -> Option<Revision> {
    match noted {
        Noted::Granted(id) => state.lease(id).filter(|l| l.phase == Phase::Granted).map(|l| l.granted),
        Noted::Renewed(token) => state.renewal(token).map(|r| r.renewed),
        Noted::Revoked(id) => state.lease(id).and_then(|l| l.revoked.as_ref()).map(|r| r.at),
        Noted::Expired(id) => state.lease(id).and_then(|l| l.expired),
        Noted::Heard(id) => state.pulse(id).map(|p| p.renewed),
        Noted::Tried(token) => state.fence(token).and_then(|fence| fence.tries.last()).map(|tried| tried.at),
        Noted::Attempted(id) => state.hosts().any(|host| host.attempt.as_ref().is_some_and(|open| open.id == id)).then_some(id),
    }
}
