//! A snapshot that is there, whole and verified. What openraft passes around; never the bytes. The file stays readable as long as a handle
//! is held, also when a newer snapshot has taken its place in the folder.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::error::SnapshotError;
use super::file;
use super::manifest::Manifest;
use super::transfer::EventsFile;

/// See the module.
#[derive(Clone, Debug)]
pub struct SnapshotHandle {
    pub(in crate::store) path: PathBuf,
    pub(in crate::store) file: Arc<File>,
    len: u64,
    manifest: Arc<Manifest>,
    /// Events that came with it, if it was received.
    pub(in crate::store) events: Option<Arc<EventsFile>>,
}

impl SnapshotHandle {
    /// Opens and verifies a file.
    pub(in crate::store) fn open(path: &Path) -> Result<Self, SnapshotError> {
        let failed = |source| SnapshotError::File { path: path.to_owned(), action: "opening a snapshot", source };
        let file = Arc::new(File::open(path).map_err(failed)?);
        let len = file.metadata().map_err(failed)?.len();
        let manifest = Arc::new(file::verify(path, &file, len)?);
        Ok(Self { path: path.to_owned(), file, len, manifest, events: None })
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    #[must_use]
    pub fn len_bytes(&self) -> u64 {
        self.len
    }

    /// The bytes at an offset, at most `max`; empty at the end. Blocks for a disk read.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read_chunk(&self, offset: u64, max: usize) -> io::Result<Bytes> {
        let left = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut chunk = vec![0; max.min(left)];
        self.file.read_exact_at(&mut chunk, offset)?;
        Ok(Bytes::from(chunk))
    }

    /// The objects in key order.
    pub(in crate::store) fn objects(&self) -> Result<file::Objects, SnapshotError> {
        file::Objects::open(&self.file, self.len, self.manifest.objects)
            .map_err(|e| SnapshotError::Damaged { path: self.path.clone(), detail: e.to_string() })
    }
}
