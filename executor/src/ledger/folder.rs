//! The ledger's folder: one executor at a time, and one file that is replaced as a whole. A crash at any point leaves the former file or the new one.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::LedgerError;

const FILE: &str = "ledger";
const TEMPORARY: &str = "ledger.tmp";
const LOCK: &str = "lock";

pub(super) struct Folder {
    path: PathBuf,
    /// Held as long as this process lives; the kernel lets go of it however the process ends.
    _lock: File,
}

impl Folder {
    pub(super) fn take(path: &Path) -> Result<Self, LedgerError> {
        let failed = |action| move |source| LedgerError::Io { action, path: path.to_owned(), source };
        fs::create_dir_all(path).map_err(failed("make folder"))?;
        let lock = File::options().create(true).truncate(false).write(true).open(path.join(LOCK)).map_err(failed("lock"))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(LedgerError::InUse { path: path.to_owned() }),
            Err(error) => return Err(failed("lock")(error.into())),
        }
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    pub(super) fn file(&self) -> PathBuf {
        self.path.join(FILE)
    }

    /// `None`: there is none yet.
    pub(super) fn read(&self) -> Result<Option<Vec<u8>>, LedgerError> {
        match fs::read(self.file()) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(LedgerError::Io { action: "read", path: self.file(), source }),
        }
    }

    /// Durable when this returns: contents before name, name before answer.
    pub(super) fn replace(&self, bytes: &[u8]) -> Result<(), LedgerError> {
        replace_file(&self.path, FILE, TEMPORARY, bytes).map_err(|source| LedgerError::Io { action: "write", path: self.file(), source })
    }
}

/// Writes `name` in `folder` so that a crash leaves the former contents or these, and these once it has returned.
pub(crate) fn replace_file(folder: &Path, name: &str, temporary: &str, bytes: &[u8]) -> io::Result<()> {
    let temporary = folder.join(temporary);
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, folder.join(name))?;
    File::open(folder)?.sync_all()
}
