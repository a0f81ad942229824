//! Fence records: one per lease that was fenced or is being fenced; kept after the lease has ended, bounded in number.

use serde::Serialize;

use crate::ids::{ContainerId, HostId, LeaseId, NodeId, Revision, Time, Token};
use crate::noun::lease::Evidence;

/// So many fence records are kept; older ones are in the event log only.
pub const MAX_FENCES: usize = 1_024;
/// So many tries are kept with a fence; older ones are in the event log only.
pub const MAX_TRIES: usize = 8;
/// What a try may leave of its output.
pub const MAX_OUTPUT_BYTES: usize = 2_048;

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fence {
    pub token: Token,
    pub lease: LeaseId,
    pub host: HostId,
    pub container: ContainerId,
    /// The action asked for (L15); `None`: evidence came without one.
    pub method: Option<FenceMethod>,
    pub started: Revision,
    pub started_time: Time,
    pub done: Option<FenceDone>,
    /// The newest tries, oldest first.
    pub tries: Vec<FenceTry>,
    /// All tries that failed, those no longer listed included.
    pub failed: u64,
}

impl Fence {
    /// An action by this method was done, and its success is in the log.
    #[must_use]
    pub fn acknowledged(&self, method: FenceMethod) -> bool {
        self.tries.iter().any(|tried| tried.ok && tried.method == method)
    }
}

/// A fence action that has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FenceTry {
    pub attempt: Revision,
    pub method: FenceMethod,
    pub agent: String,
    pub node: NodeId,
    pub ok: bool,
    /// What it printed, shortened.
    pub output: String,
    pub at: Revision,
    pub time: Time,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FenceDone {
    pub evidence: Evidence,
    pub at: Revision,
    pub time: Time,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FenceMethod {
    StorageCut,
    PowerOff,
}

/// How it is known that a fenced holder is gone (L15: proof of death).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum GoneProof {
    /// Its executor says so: instance dead, volumes cut or flushed, and unmounted.
    Reported,
    /// A later boot of its host.
    Rebooted,
    OperatorConfirmed {
        name: String,
        reason: String,
    },
}
