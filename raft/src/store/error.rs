//! Why a store refuses to open, and what it cannot go on after. Texts say what to do; [`StoreError::to_io`] is how openraft gets them.

use std::io;
use std::path::PathBuf;

use berth_state::ids::ClusterId;

use super::snapshot::SnapshotError;
use crate::engine::EngineError;

/// What to do about a node whose data cannot be trusted.
const REPLACE: &str = "keep a copy of the folder, then bring this node back with an empty data folder under a new node id, as a learner; never under its old id";

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error("{path}: {action} failed: check that the folder is there, belongs to this user and has space left")]
    File {
        path: PathBuf,
        action: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("{path} is in use: another `berth server` runs on this data folder. Stop that one, or give this one its own folder")]
    InUse { path: PathBuf },
    #[error(
        "{path} belongs to cluster {found}, this node is configured for cluster {wanted}: fix the cluster id, or use another data folder. Data of \
         two clusters cannot be joined"
    )]
    ForeignCluster { path: PathBuf, found: ClusterId, wanted: ClusterId },
    #[error(
        "{path} belongs to node {found}, this node is configured as node {wanted}: fix the node id, or use the data folder of node {wanted}"
    )]
    OtherNode { path: PathBuf, found: u64, wanted: u64 },
    #[error(
        "{path} was written in disk format {found}, this program reads up to {known}: start the newer program again; there is no way back"
    )]
    NewerFormat { path: PathBuf, found: u32, known: u32 },
    #[error("{path} is damaged ({detail}): restore that file from a copy of this very node; if there is none, {REPLACE}")]
    DamagedIdentity { path: PathBuf, detail: String },
    #[error("{path} is missing, but there is data beside it: restore that file from a copy of this very node; if there is none, {REPLACE}")]
    MissingIdentity { path: PathBuf },
    #[error("{path} is missing: half of this node's data is gone. Is a file system not mounted? If it is lost, {REPLACE}")]
    MissingHalf { path: PathBuf },
    #[error(
        "{path} does not belong to the store it lies in ({detail}): folders of two stores were mixed. Put the right folder back, or {REPLACE}"
    )]
    MixedHalves { path: PathBuf, detail: String },
    #[error("the Raft log in {path} is damaged ({detail}): {REPLACE}")]
    DamagedLog { path: PathBuf, detail: String },
    #[error("the applied state in {path} is damaged ({detail}): {REPLACE}")]
    DamagedState { path: PathBuf, detail: String },
    #[error("the event log is damaged at event {index}.{seq} ({detail}): {REPLACE}")]
    DamagedEvents { index: u64, seq: u32, detail: String },
    #[error(
        "event {index}.{seq} differs between this node and the node that sent a snapshot: one of the two has history that the group never \
         agreed on. Compare `berth events` of all nodes before anything else; the node that stands alone is wrong: {REPLACE}"
    )]
    Diverged { index: u64, seq: u32 },
    #[error("a snapshot up to event {wanted} came without the events after {have}: fetch it again, together with its events")]
    EventsMissing { have: String, wanted: String },
    #[error("a snapshot up to index {found} cannot replace state at index {applied}: state never goes back")]
    SnapshotTooOld { found: u64, applied: u64 },
    #[error("the log asked to purge up to {index}, but durable state stands at {applied:?}")]
    NotApplied { index: u64, applied: Option<u64> },
    #[error("a write out of order: {detail}")]
    OutOfOrder { detail: String },
    #[error("a record cannot be read: {detail}")]
    Undecodable { detail: String },
    #[error("the store stopped after a failed write")]
    Stopped,
}

impl StoreError {
    /// As openraft takes errors: it treats each of them as the end of this Raft node.
    #[must_use]
    pub fn to_io(self) -> io::Error {
        io::Error::other(self)
    }
}

impl From<StoreError> for io::Error {
    fn from(error: StoreError) -> Self {
        error.to_io()
    }
}
