//! Why a snapshot could not be built, read or received.

use std::io;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("{path}: {action} failed: check the disk and the space left on it")]
    File {
        path: PathBuf,
        action: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("snapshot {path} is damaged ({detail}): it is not used; the leader will send or build another one")]
    Damaged { path: PathBuf, detail: String },
    #[error("snapshot {path} is in format {found}, this program reads {known}: upgrade this node before its leader")]
    UnknownFormat { path: PathBuf, found: u32, known: u32 },
    #[error("snapshot {path} is of another cluster ({found}, not {wanted}): check the addresses of the group's nodes")]
    ForeignCluster { path: PathBuf, found: String, wanted: String },
    #[error("chunk at byte {offset} of a snapshot does not follow byte {expected}: start the transfer again")]
    ChunkOutOfOrder { offset: u64, expected: u64 },
    #[error("event {index}.{seq} of a snapshot transfer does not follow the event before it: start the transfer again")]
    EventOutOfOrder { index: u64, seq: u32 },
}
