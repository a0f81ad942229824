//! Fence actions on a control node (L15, L21): what is done outside the log, after its entry. Started by the leader's driver; decides nothing.
//!
//! - [`metadata`]: whether an agent is here and has its options, asked before a host is registered.
//! - [`program`]: a bounded, killable child process. [`agent`]: power fencing through the ClusterLabs agent interface.
//! - [`storage`]: cuts and lifts at the storage; `cephfs`: one that takes more than an order. [`run`]: one attempt, whole.

pub mod agent;
mod cephfs;
pub mod metadata;
pub mod program;
pub mod run;
pub mod storage;
