//! Apply: one committed log entry through `decide` and `evolve`. The one path by which a control node changes its state; the same on
//! every node, leader or not.

use std::collections::BTreeSet;

use crate::command::{Command, Order};
use crate::decide::{Decision, decide};
use crate::event::{Event, Fact};
use crate::evolve::registry::keep_secrets;
use crate::evolve::session::renew;
use crate::ids::{RequestId, Revision, Time};
use crate::invariants;
use crate::outcome::{Accepted, Outcome};
use crate::rejection::Rejection;
use crate::state::{Answered, ClusterState, MAX_REQUESTS, ObjectKey};

/// What one entry did.
#[derive(Clone, Debug)]
pub struct Applied {
    pub outcome: Outcome,
    pub events: Vec<Event>,
    /// Objects to be stored again, or deleted where the state no longer has them.
    pub changed: BTreeSet<ObjectKey>,
}

impl ClusterState {
    /// Applies the command of log entry `at`. Never fails: a refusal is an outcome.
    ///
    /// # Panics
    /// In debug builds, when an invariant is broken by it.
    pub fn apply(&mut self, at: Revision, command: &Command) -> Applied {
        let request = command.request.map(|id| (id, digest(&command.order)));
        if let Some(outcome) = self.answered(request) {
            return Applied { outcome, events: Vec::new(), changed: BTreeSet::new() };
        }
        let before = invariants::Before::of(self);
        let (outcome, events) = match decide(self, at, &command.order) {
            Ok(decision) => self.carry_out(at, command, decision),
            Err(rejection) => (Outcome::Rejected(rejection), Vec::new()),
        };
        if cfg!(debug_assertions) {
            let broken = invariants::check(&before, &events, self);
            assert!(broken.is_empty(), "entry {at} broke {broken:?}: {command:?}");
        }
        if let Some((id, digest)) = request {
            self.remember(id, Answered { at, digest, outcome: outcome.clone() });
        }
        Applied { outcome, events, changed: std::mem::take(&mut self.changed) }
    }

    fn carry_out(&mut self, at: Revision, command: &Command, decision: Decision) -> (Outcome, Vec<Event>) {
        let accepted = |made| Outcome::Accepted(Accepted { revision: at, made });
        match decision {
            Decision::Change { facts, made } => (accepted(made), self.happen(at, command, facts)),
            Decision::Host { facts, made, host, secrets } => {
                let events = self.happen(at, command, facts);
                keep_secrets(self, &host, secrets);
                (accepted(made), events)
            }
            Decision::Keepalives { facts, heard, answers } => {
                let events = self.happen(at, command, facts);
                for heard in &heard {
                    renew(self, at, heard);
                }
                (Outcome::Keepalives(answers), events)
            }
        }
    }

    fn happen(&mut self, at: Revision, command: &Command, facts: Vec<Fact>) -> Vec<Event> {
        let time = self.clamped(command.time);
        let events: Vec<Event> = facts.into_iter().map(|fact| event(at, time, &command.actor, fact)).collect();
        for event in &events {
            self.evolve(event);
        }
        events
    }

    /// Time for people never goes back, whatever a new leader's clock shows.
    fn clamped(&self, time: Time) -> Time {
        time.max(self.clock)
    }

    /// The first answer to a request that was answered before.
    fn answered(&self, request: Option<(RequestId, u64)>) -> Option<Outcome> {
        let (id, digest) = request?;
        let known = self.requests.get(&id)?;
        if known.digest == digest { Some(known.outcome.clone()) } else { Some(Outcome::Rejected(Rejection::RequestReused)) }
    }

    fn remember(&mut self, request: RequestId, answered: Answered) {
        self.index.request_order.insert((answered.at, request));
        self.requests.insert(request, answered);
        self.touch(ObjectKey::Request(request));
        while self.requests.len() > MAX_REQUESTS {
            let Some((_, oldest)) = self.index.request_order.pop_first() else { break };
            self.requests.remove(&oldest);
            self.touch(ObjectKey::Request(oldest));
        }
    }
}

fn event(revision: Revision, time: Time, actor: &str, fact: Fact) -> Event {
    let end = actor.char_indices().map(|(i, c)| i + c.len_utf8()).take_while(|end| *end <= 128).last().unwrap_or(0);
    Event { revision, time, actor: actor[..end].to_owned(), fact }
}

/// FNV-1a over the order's encoded form. Not a secret: it only notices a request id used for two commands.
fn digest(order: &Order) -> u64 {
    let command = Command { time: Time(0), request: None, actor: String::new(), order: order.clone() };
    crate::codec::encode_command(&command)
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
