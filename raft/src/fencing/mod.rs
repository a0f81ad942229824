//! Fence actions on a control node (L15, L21): what is done outside the log, after its entry. Started by the leader's driver; decides nothing.
//!
//! - [`program`]: a bounded, killable child process. [`agent`]: power fencing through the ClusterLabs agent interface.
//! - [`storage`]: cuts and lifts at the storage. [`run`]: one attempt, whole.

pub mod agent;
pub mod program;
pub mod run;
pub mod storage;
