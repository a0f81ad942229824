//! Why an engine could not be opened, read or written. Texts name the folder and say what to do.

use std::error::Error;
use std::path::PathBuf;

/// The cause below an engine error.
pub type Cause = Box<dyn Error + Send + Sync>;

#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error(
        "{path} is open in another process: is a `berth server` already running on it? Stop that one, or give this one its own data folder"
    )]
    InUse {
        path: PathBuf,
        #[source]
        source: Cause,
    },
    #[error(
        "{path} is damaged ({source}): do not delete single files in it. Keep a copy, and bring this node back empty under a new node id, as \
         a learner; a group that still has a majority has all data"
    )]
    Damaged {
        path: PathBuf,
        #[source]
        source: Cause,
    },
    #[error("cannot open {path}: check that the folder exists, that its file system is mounted, has space left and belongs to this user")]
    Open {
        path: PathBuf,
        #[source]
        source: Cause,
    },
    #[error("cannot read {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: Cause,
    },
    #[error("cannot write to {path}: check the disk and the space left on it, then restart the node")]
    Write {
        path: PathBuf,
        #[source]
        source: Cause,
    },
    #[error("cannot sync {path} to disk: check the disk, then restart the node")]
    Sync {
        path: PathBuf,
        #[source]
        source: Cause,
    },
}
