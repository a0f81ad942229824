//! That there is one guard for a run folder, and whether an executor is there for it. Both by flock: the kernel lets go when a process ends, whatever it
//! ended of.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::folder::open_lock;

/// Held until dropped.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Lock {
    /// `None` while another process has it.
    ///
    /// # Errors
    /// The file cannot be opened or locked.
    pub fn sole(path: &Path) -> io::Result<Option<Self>> {
        let file = open_lock(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self { file })),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether `path` names another file by now: then somebody else may hold a lock of that name.
    #[must_use]
    pub fn is_replaced(&self, path: &Path) -> bool {
        let same = |found: &Metadata, ours: &Metadata| (found.dev(), found.ino()) == (ours.dev(), ours.ino());
        matches!((std::fs::metadata(path), self.file.metadata()), (Ok(found), Ok(ours)) if !same(&found, &ours))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test")]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_and_free_again_when_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let first = Lock::sole(&path).unwrap().unwrap();
        assert!(Lock::sole(&path).unwrap().is_none());
        drop(first);
        let last = Lock::sole(&path).unwrap().unwrap();
        assert!(!last.is_replaced(&path));
        std::fs::remove_file(&path).unwrap();
        assert!(!last.is_replaced(&path), "nobody can hold what is not there");
        let other = Lock::sole(&path).unwrap();
        assert!(other.is_some() && last.is_replaced(&path));
    }
}
