//! One pass over a history: hash chain, replay, book. Takes one record after the other, so that a history of any length fits.

use berth_state::Fact;
use berth_state::codec::decode_event;
use berth_state::ids::{Revision, VolumeId};
use serde::Serialize;

use super::book::{Book, Finding, Holding};
use super::chain::{Chain, Head, Record};
use super::replay::Replay;

/// What a proof came to.
#[derive(Clone, Debug, Serialize)]
pub struct Proof {
    pub volume: VolumeId,
    pub holds: bool,
    pub events: u64,
    /// The last event that was read; a later proof can be asked to find it again (`--expect`).
    pub head: Option<Head>,
    pub leases: Vec<Holding>,
    pub findings: Vec<Finding>,
}

#[derive(Default)]
pub struct Prover {
    chain: Chain,
    replay: Replay,
    book: Book,
    events: u64,
    /// After this nothing that follows can be judged.
    broken: bool,
    expected: Vec<(Head, &'static str)>,
}

impl Prover {
    /// One that must meet this event on its way; `whose` says who knew it.
    pub fn expect(&mut self, head: Head, whose: &'static str) {
        self.expected.push((head, whose));
    }

    fn break_off(&mut self, revision: Option<u64>, rule: &'static str, what: String) {
        self.broken = true;
        self.note(revision, rule, what);
    }

    /// Something that is wrong with the history as it was given.
    pub fn note(&mut self, revision: Option<u64>, rule: &'static str, what: String) {
        self.book.add(Finding { revision: revision.map(Revision), rule, what, volumes: Vec::new() });
    }

    /// Something after which the rest cannot be read.
    pub fn unreadable(&mut self, what: String) {
        self.break_off(None, "hash-chain", what);
    }

    pub fn record(&mut self, record: &Record) {
        if self.broken {
            return;
        }
        if let Err(why) = self.chain.follow(record) {
            return self.break_off(Some(record.revision), "hash-chain", why);
        }
        self.events += 1;
        self.meet(record.head());
        let event = match decode_event(&record.event) {
            Ok(event) => event,
            Err(why) => return self.break_off(Some(record.revision), "replay", format!("the event cannot be read: {why}")),
        };
        if event.revision.0 != record.revision {
            return self.break_off(Some(record.revision), "hash-chain", format!("the event itself says revision {}", event.revision));
        }
        let begins = matches!(event.fact, Fact::ClusterInitialized { .. });
        if begins != (self.events == 1) {
            let why = if begins { "the cluster begins a second time" } else { "the history does not begin with the first event" };
            return self.break_off(Some(record.revision), "replay", why.to_owned());
        }
        self.book.before(self.replay.state(), &event);
        if let Err(why) = self.replay.evolve(&event) {
            return self.break_off(Some(record.revision), "replay", why);
        }
        self.book.after(self.replay.state(), &event);
    }

    fn meet(&mut self, head: Head) {
        let mut wrong = Vec::new();
        self.expected.retain(|(expected, whose)| {
            let here = (expected.revision, expected.seq) == (head.revision, head.seq);
            if here && expected.hash != head.hash {
                wrong.push(format!("event {}.{} is another one than {whose} has", head.revision, head.seq));
            }
            !here
        });
        for what in wrong {
            self.note(Some(head.revision), "hash-chain", what);
        }
    }

    #[must_use]
    pub fn head(&self) -> Option<Head> {
        self.chain.head()
    }

    #[must_use]
    pub fn events(&self) -> u64 {
        self.events
    }

    /// The verdict for one volume. `None`: the history never names it, and nothing else is wrong.
    #[must_use]
    pub fn finish(mut self, volume: &VolumeId) -> Option<Proof> {
        for (expected, whose) in std::mem::take(&mut self.expected) {
            if !self.broken {
                let at = self.head().map_or_else(|| "nothing".to_owned(), |head| format!("event {}.{}", head.revision, head.seq));
                let what =
                    format!("the history ends with {at}: event {}.{}, which {whose} has, is missing", expected.revision, expected.seq);
                self.note(None, "hash-chain", what);
            }
        }
        let (head, events) = (self.chain.head(), self.events);
        let known = self.replay.state().volume(volume).is_some();
        let (leases, findings) = self.book.close(volume);
        if !known && leases.is_empty() && findings.is_empty() {
            return None;
        }
        Some(Proof { volume: volume.clone(), holds: findings.is_empty(), events, head, leases, findings })
    }
}
