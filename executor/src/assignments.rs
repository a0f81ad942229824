//! Assignments (L4): what this host is to run. Pure. A [`Follower`] turns the messages of one stream into whole sets; the [`AssignmentBook`] takes the
//! newest set and never goes back in (incarnation, revision) (I17). They carry tokens but give no right: only an answered keepalive does.

use std::collections::BTreeMap;

use berth_state::ids::{Incarnation, LeaseId, Revision, SessionId, Token};
use berth_state::noun::host::FencedHolder;
use berth_state::noun::lease::Lease;

/// How new a set is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    pub incarnation: Incarnation,
    pub revision: Revision,
}

/// One message of an assignment stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssignmentUpdate {
    pub position: Position,
    /// `leases` is the whole set; else those that are new or changed, and `gone` those that are no more.
    pub full: bool,
    pub leases: Vec<Lease>,
    pub gone: Vec<Token>,
    /// Always whole: what was fenced here and is not yet known to be gone.
    pub fenced: Vec<FencedHolder>,
}

/// A whole set, as of one position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssignedSet {
    pub position: Position,
    pub leases: BTreeMap<Token, Lease>,
    pub fenced: Vec<FencedHolder>,
}

/// The stream cannot be followed: open another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamBroken {
    #[error("an assignment stream began with a delta")]
    NoFullSet,
    #[error("an assignment stream went back from {from:?} to {to:?}")]
    WentBack { from: Position, to: Position },
}

/// Follows one stream. A delta is relative to what the same stream sent before, never to another's: a lease that came and went between two streams
/// is in neither's deltas.
#[derive(Debug, Default)]
pub struct Follower {
    set: Option<AssignedSet>,
}

impl Follower {
    /// # Errors
    /// [`StreamBroken`].
    pub fn apply(&mut self, update: AssignmentUpdate) -> Result<AssignedSet, StreamBroken> {
        let former = self.set.take();
        if let Some(former) = &former
            && update.position < former.position
        {
            return Err(StreamBroken::WentBack { from: former.position, to: update.position });
        }
        let mut leases = match (update.full, former) {
            (true, _) => BTreeMap::new(),
            (false, Some(former)) => former.leases,
            (false, None) => return Err(StreamBroken::NoFullSet),
        };
        leases.extend(update.leases.into_iter().map(|lease| (lease.token, lease)));
        for token in &update.gone {
            leases.remove(token);
        }
        let set = AssignedSet { position: update.position, leases, fenced: update.fenced };
        self.set = Some(set.clone());
        Ok(set)
    }
}

/// The newest set known, over all streams and sessions of this process.
#[derive(Debug, Default)]
pub struct AssignmentBook {
    position: Position,
    session: SessionId,
    leases: BTreeMap<Token, Lease>,
    fenced: Vec<FencedHolder>,
    /// Whether a set was taken since the session began.
    any: bool,
}

impl AssignmentBook {
    /// `position`: the newest that an earlier process had taken, by its ledger.
    #[must_use]
    pub fn new(position: Position) -> Self {
        Self { position, session: SessionId(0), leases: BTreeMap::new(), fenced: Vec::new(), any: false }
    }

    /// The sets of a new session follow; those of a former one say nothing any more (its leases moved over, so it lacks them).
    pub fn begin_session(&mut self, session: SessionId) {
        self.session = session;
        self.any = false;
    }

    /// Takes the set unless it is of another session or older than what is known. `false`: ignored.
    pub fn offer(&mut self, session: SessionId, set: AssignedSet) -> bool {
        if session != self.session || set.position < self.position {
            return false;
        }
        self.position = set.position;
        self.leases = set.leases;
        self.fenced = set.fenced;
        self.any = true;
        true
    }

    /// Holders fenced on this host that the control plane does not know to be gone, by the newest set of this session.
    #[must_use]
    pub fn fenced(&self) -> &[FencedHolder] {
        if self.any { &self.fenced } else { &[] }
    }

    #[must_use]
    pub fn position(&self) -> Position {
        self.position
    }

    pub fn leases(&self) -> impl Iterator<Item = &Lease> {
        self.leases.values()
    }

    #[must_use]
    pub fn get(&self, token: Token) -> Option<&Lease> {
        self.leases.get(&token)
    }

    /// Whether the newest set proves that the lease has ended: it lacks it, and is not older than the lease's grant (whose log index is the lease's id)
    /// nor than the session that its holder speaks for.
    #[must_use]
    pub fn says_ended(&self, lease: LeaseId, token: Token) -> bool {
        let revision = self.position.revision.0;
        self.any && !self.leases.contains_key(&token) && revision >= lease.0 && revision >= self.session.0
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test")]
mod tests {
    use super::*;
    use crate::testing::lease;

    const S: SessionId = SessionId(20);

    fn at(revision: u64) -> Position {
        Position { incarnation: Incarnation(1), revision: Revision(revision) }
    }

    fn set(revision: u64, tokens: &[u64]) -> AssignedSet {
        AssignedSet { position: at(revision), leases: tokens.iter().map(|t| (Token(*t), lease(*t))).collect(), fenced: vec![] }
    }

    fn full(revision: u64, tokens: &[u64]) -> AssignmentUpdate {
        AssignmentUpdate {
            position: at(revision),
            full: true,
            leases: tokens.iter().map(|t| lease(*t)).collect(),
            gone: vec![],
            fenced: vec![],
        }
    }

    fn delta(revision: u64, tokens: &[u64], gone: &[u64]) -> AssignmentUpdate {
        let leases = tokens.iter().map(|t| lease(*t)).collect();
        AssignmentUpdate { position: at(revision), full: false, leases, gone: gone.iter().map(|t| Token(*t)).collect(), fenced: vec![] }
    }

    fn book() -> AssignmentBook {
        let mut book = AssignmentBook::new(Position::default());
        book.begin_session(S);
        book
    }

    #[test]
    fn deltas_change_the_full_set_of_their_stream() {
        let mut follower = Follower::default();
        assert_eq!(follower.apply(full(30, &[25])), Ok(set(30, &[25])));
        assert_eq!(follower.apply(delta(31, &[31], &[25])), Ok(set(31, &[31])));
    }

    #[test]
    fn a_stream_that_begins_with_a_delta_or_goes_back_is_left() {
        assert_eq!(Follower::default().apply(delta(31, &[31], &[])), Err(StreamBroken::NoFullSet));
        let mut follower = Follower::default();
        follower.apply(full(30, &[25])).unwrap();
        assert_eq!(follower.apply(full(29, &[])), Err(StreamBroken::WentBack { from: at(30), to: at(29) }));
    }

    #[test]
    fn an_older_set_is_ignored() {
        let mut book = book();
        assert!(book.offer(S, set(30, &[25])));
        assert!(!book.offer(S, set(29, &[])));
        assert!(book.get(Token(25)).is_some());
        assert_eq!(book.position(), at(30));
    }

    #[test]
    fn an_older_incarnation_is_ignored_whatever_its_revision() {
        let mut book = book();
        let newer = AssignedSet { position: Position { incarnation: Incarnation(2), revision: Revision(5) }, ..set(5, &[3]) };
        assert!(book.offer(S, newer));
        assert!(!book.offer(S, set(900, &[])));
    }

    #[test]
    fn a_set_taken_by_an_earlier_process_bounds_this_one() {
        let mut book = AssignmentBook::new(at(50));
        book.begin_session(S);
        assert!(!book.offer(S, set(49, &[])));
        assert!(book.offer(S, set(50, &[])));
    }

    #[test]
    fn a_set_of_a_former_session_is_ignored() {
        let mut book = book();
        assert!(book.offer(S, set(30, &[25])));
        book.begin_session(SessionId(35));
        assert!(!book.offer(S, set(36, &[])), "its leases moved to the new session, so it lacks them");
        assert!(!book.says_ended(LeaseId(25), Token(25)));
    }

    #[test]
    fn absence_proves_an_end_only_in_a_set_newer_than_grant_and_session() {
        let mut book = book();
        assert!(!book.says_ended(LeaseId(25), Token(25)), "no set at all");
        book.offer(S, set(24, &[]));
        assert!(!book.says_ended(LeaseId(25), Token(25)), "older than the grant");
        book.offer(S, set(25, &[]));
        assert!(book.says_ended(LeaseId(25), Token(25)));
        let mut old = book_of(SessionId(40));
        old.offer(SessionId(40), set(39, &[]));
        assert!(!old.says_ended(LeaseId(25), Token(25)), "older than the session");
    }

    fn book_of(session: SessionId) -> AssignmentBook {
        let mut book = AssignmentBook::new(Position::default());
        book.begin_session(session);
        book
    }
}
