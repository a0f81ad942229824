//! What can go wrong with a volume on its host. Shown to people through the lease's message, so each says what to do where that is known.

use std::io;
use std::path::{Path, PathBuf};

use berth_state::ids::{Token, VolumeId};
use berth_state::noun::volume::Driver;

use super::cut::CutError;
use super::program::ProgramError;

#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    #[error("volume {volume}: driver {driver:?} cannot {operation}")]
    Unsupported { volume: VolumeId, driver: Driver, operation: &'static str },
    #[error("volume {volume}: the right to it ended before it was mounted")]
    NoRight { volume: VolumeId },
    #[error("volume {volume}: {path} is not there: is the shared storage mounted on this host?")]
    NotThere { volume: VolumeId, path: PathBuf },
    #[error("volume {volume}: {why}")]
    Invalid { volume: VolumeId, why: String },
    #[error("driver {driver:?} needs {what} on this host: {remedy}")]
    Needs { driver: Driver, what: String, remedy: String },
    #[error(
        "volume {volume} carries the fence of a newer token {found} (held by {holder}); this lease has token {token}, so it must not start"
    )]
    NewerToken { volume: VolumeId, token: Token, found: Token, holder: String },
    #[error("volume {volume}: {path}: {why}; see who wrote it before you remove it")]
    FenceUnreadable { volume: VolumeId, path: PathBuf, why: String },
    #[error("volume {volume}: {file} is attached to {device} on this host already: {why}")]
    AttachedTwice { volume: VolumeId, file: PathBuf, device: PathBuf, why: String },
    #[error("volume {volume}: {what} is still in use after its unmount; held by {holders}")]
    NotReleased { volume: VolumeId, what: String, holders: String },
    #[error("volume {volume}: {what} took longer than {seconds} s")]
    TooSlow { volume: VolumeId, what: &'static str, seconds: u64 },
    #[error("volume {volume}: cannot {action} {path}")]
    Io {
        volume: VolumeId,
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("volume {volume}: cannot {action}")]
    Program {
        volume: VolumeId,
        action: &'static str,
        #[source]
        source: ProgramError,
    },
    #[error("volume {volume}")]
    Cut {
        volume: VolumeId,
        #[source]
        source: CutError,
    },
}

impl VolumeError {
    pub(crate) fn io(volume: &VolumeId, action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { volume: volume.clone(), action, path: path.to_owned(), source }
    }

    pub(crate) fn invalid(volume: &VolumeId, why: impl Into<String>) -> Self {
        Self::Invalid { volume: volume.clone(), why: why.into() }
    }

    /// Whether the same call may succeed on this host later. `false`: the lease is better given back at once.
    #[must_use]
    pub fn may_succeed_later(&self) -> bool {
        match self {
            Self::Needs { .. } => false,
            Self::Unsupported { .. }
            | Self::NoRight { .. }
            | Self::NotThere { .. }
            | Self::Invalid { .. }
            | Self::NewerToken { .. }
            | Self::FenceUnreadable { .. }
            | Self::AttachedTwice { .. }
            | Self::NotReleased { .. }
            | Self::TooSlow { .. }
            | Self::Io { .. }
            | Self::Program { .. }
            | Self::Cut { .. } => true,
        }
    }
}
