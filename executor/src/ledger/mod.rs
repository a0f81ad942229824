//! The ledger (L9): what a successor of this process must know to be safe, durable before anything is attached. One file in a folder that one
//! executor holds by flock. A failed write ends the process: nothing may run that a successor would not know of.
//!
//! A restart sees each deadline as last written. That is never later than the one in memory, because a deadline is written after it was set, and the
//! book never lowers one: so a restart makes no deadline later (I12). It may see an earlier one and kill a healthy instance; hence every renewal is
//! written too, all tokens in one write, off the path of the keepalives.
//!
//! - [`record`]: what is kept. `format`: its bytes. `folder`: lock, read, replace.

pub(crate) mod folder;
mod format;
pub mod record;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use berth_state::ids::{BootId, LedgerId};

use crate::random::Random;
use folder::Folder;
pub use record::{LedgerState, MountedVolume, PendingRelease, Record};

#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    #[error("{path}: another executor on this machine uses this folder; stop it, or give this one a data folder of its own")]
    InUse { path: PathBuf },
    #[error(
        "{path}: {why}; nothing was touched. Stop what Berth runs on this host, then move the file away: the executor starts with a new ledger"
    )]
    Damaged { path: PathBuf, why: String },
    #[error("{path} is the ledger of host {actual}, not {expected}: give this executor a data folder of its own")]
    OtherHost { path: PathBuf, expected: String, actual: String },
    #[error("cannot {action} {path}")]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

/// Shared by the session, the steps and the saver.
#[derive(Clone)]
pub struct Ledger {
    inner: Arc<Inner>,
}

struct Inner {
    folder: Folder,
    /// Held over a write, so that writes happen in the order of their changes.
    writer: tokio::sync::Mutex<()>,
    /// As on disk.
    state: Mutex<LedgerState>,
}

impl Ledger {
    /// Takes the folder for this process and reads what an earlier one left; makes both if there are none.
    ///
    /// # Errors
    /// [`LedgerError`]: also when another executor runs on it, or the file is damaged or another host's.
    pub fn open(path: &Path, host: &str, random: &dyn Random) -> Result<Self, LedgerError> {
        let folder = Folder::take(path)?;
        let state = match folder.read()? {
            Some(bytes) => format::decode(&bytes).map_err(|why| LedgerError::Damaged { path: folder.file(), why })?,
            None => {
                let mut id = [0; 16];
                random.fill(&mut id);
                let fresh = LedgerState { ledger: LedgerId(id), host: host.to_owned(), ..LedgerState::default() };
                // Durable before reply: the id is what a later boot proves itself by.
                folder.replace(&format::encode(&fresh))?;
                fresh
            }
        };
        if state.host != host {
            return Err(LedgerError::OtherHost { path: folder.file(), expected: host.to_owned(), actual: state.host });
        }
        Ok(Self { inner: Arc::new(Inner { folder, writer: tokio::sync::Mutex::new(()), state: Mutex::new(state) }) })
    }

    /// As it is on disk.
    #[must_use]
    pub fn state(&self) -> LedgerState {
        self.lock().clone()
    }

    /// Reads one thing without a copy of all.
    pub fn read<R>(&self, look: impl FnOnce(&LedgerState) -> R) -> R {
        look(&self.lock())
    }

    /// Changes it; durable when this returns. No change, no write.
    ///
    /// # Errors
    /// [`LedgerError::Io`]: fatal.
    pub async fn change(&self, edit: impl FnOnce(&mut LedgerState)) -> Result<(), LedgerError> {
        let _turn = self.inner.writer.lock().await;
        let former = self.state();
        let mut next = former.clone();
        edit(&mut next);
        if next == former {
            return Ok(());
        }
        let bytes = format::encode(&next);
        let inner = Arc::clone(&self.inner);
        let written = tokio::task::spawn_blocking(move || {
            // Durable before reply.
            let result = inner.folder.replace(&bytes);
            if result.is_ok() {
                *inner.state.lock().unwrap_or_else(PoisonError::into_inner) = next;
            }
            result
        });
        written.await.unwrap_or_else(|join| {
            Err(LedgerError::Io { action: "write", path: self.inner.folder.file(), source: std::io::Error::other(join) })
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, LedgerState> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The id of this boot of the kernel.
///
/// # Errors
/// [`LedgerError::Io`] or [`LedgerError::Damaged`] when the kernel does not say it.
pub fn boot_id() -> Result<BootId, LedgerError> {
    let path = PathBuf::from("/proc/sys/kernel/random/boot_id");
    let text = std::fs::read_to_string(&path).map_err(|source| LedgerError::Io { action: "read", path: path.clone(), source })?;
    text.trim().parse().map_err(|error| LedgerError::Damaged { path, why: format!("{error}") })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test")]
#[path = "tests.rs"]
mod tests;
