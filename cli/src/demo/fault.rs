//! What the demo did to its cluster, and when, by the clocks it is compared with later: the event log's and the writers'.

use std::fmt;

use berth_raft::clock::{Clock, SystemClock};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    HostKilled { host: String },
    LeaderKilled { node: u64 },
    HostStarted { host: String },
    NodeStarted { node: u64 },
}

impl Deed {
    /// In one word, as events have their kind.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::HostKilled { .. } | Self::LeaderKilled { .. } => "× kill",
            Self::HostStarted { .. } | Self::NodeStarted { .. } => "× start",
        }
    }
}

impl fmt::Display for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HostKilled { host } => write!(f, "everything on host {host} is killed"),
            Self::LeaderKilled { node } => write!(f, "node {node}, the leader, is killed"),
            Self::HostStarted { host } => write!(f, "host {host} is started again"),
            Self::NodeStarted { node } => write!(f, "node {node} is started again"),
        }
    }
}

/// A deed and its time, read before it was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub deed: Deed,
    /// Unix time, as in the event log.
    pub time_ms: u64,
    /// The machine's unslewed clock, as in the writers' acknowledgements.
    pub at_ns: u64,
}

impl Fault {
    #[must_use]
    pub fn now(deed: Deed) -> Self {
        let clock = SystemClock::new();
        Self { deed, time_ms: clock.unix_ms(), at_ns: clock.raw_now().0 }
    }
}
