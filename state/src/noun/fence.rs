//! Fence records: one per lease that was fenced or is being fenced; kept after the lease has ended, bounded in number.

use serde::Serialize;

use crate::ids::{ContainerId, HostId, LeaseId, Revision, Time, Token};
use crate::noun::lease::Evidence;

/// So many fence records are kept; older ones are in the event log only.
pub const MAX_FENCES: usize = 1_024;

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
