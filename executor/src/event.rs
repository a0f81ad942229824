//! Facts that the manager takes in, and what it publishes. Sent by session, observer, steps, health and leftovers; the manager alone acts on them.

use std::collections::BTreeMap;

use berth_state::ids::{LeaseId, SessionId, Token};
use berth_state::noun::container::RuntimeKind;
use berth_state::noun::lease::{InstanceHealth, InstanceStatus};

use crate::assignments::AssignedSet;
use crate::context::Current;
use crate::runtime::{InstanceKey, Observed};
use crate::step_done::StepDone;

/// Facts that wait for the manager; their senders wait beyond it. The manager handles one in microseconds.
pub const EVENTS: usize = 256;

/// A fact.
pub enum Event {
    Opened(Current),
    Assigned {
        session: SessionId,
        set: AssignedSet,
    },
    /// What a runtime has, as of the step counter read before it was asked.
    Observed {
        kind: RuntimeKind,
        at: u64,
        instances: Vec<Observed>,
    },
    StepEnded {
        token: Token,
        starts: u64,
        done: StepDone,
    },
    /// A leftover instance is dead and removed.
    LeftoverGone(InstanceKey),
    /// A fenced token could not be reported as gone.
    GoneUnanswered(Token),
    Health {
        key: InstanceKey,
        health: InstanceHealth,
    },
}

/// Where the logs of a token are.
pub type LogSources = BTreeMap<Token, (RuntimeKind, InstanceKey)>;
/// What is to be reported.
pub type Statuses = BTreeMap<(LeaseId, Token), InstanceStatus>;
