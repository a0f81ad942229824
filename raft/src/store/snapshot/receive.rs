//! A snapshot that is arriving from another node, in files of its own that no one else sees until they are whole and verified. Driven by the
//! peer network. Its calls block for disk writes; [`SnapshotReceiver::finish`] also syncs and reads all back.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use super::error::SnapshotError;
use super::folder::Snapshots;
use super::handle::SnapshotHandle;
use super::transfer::EventsWriter;
use crate::store::events::{EventHead, StoredEvent, chain};

/// See the module. Dropped unfinished, it removes its files.
pub struct SnapshotReceiver {
    snapshots: Snapshots,
    path: PathBuf,
    file: File,
    received: u64,
    events: Option<EventsWriter>,
    events_path: PathBuf,
    last_event: Option<EventHead>,
    finished: bool,
}

impl SnapshotReceiver {
    pub(super) fn create(snapshots: Snapshots) -> Result<Self, SnapshotError> {
        let path = snapshots.temporary("received");
        let events_path = path.with_extension("events");
        let failed = |source| SnapshotError::File { path: path.clone(), action: "creating a file for a snapshot", source };
        let file = File::create(&path).map_err(failed)?;
        let events = Some(EventsWriter::create(&events_path).map_err(failed)?);
        Ok(Self { snapshots, path, file, received: 0, events, events_path, last_event: None, finished: false })
    }

    /// Bytes of the snapshot file received so far.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Takes the next chunk of the snapshot file.
    ///
    /// # Errors
    /// A gap, or the disk.
    pub fn write_chunk(&mut self, offset: u64, chunk: &[u8]) -> Result<(), SnapshotError> {
        if offset != self.received {
            return Err(SnapshotError::ChunkOutOfOrder { offset, expected: self.received });
        }
        let failed = |source| SnapshotError::File { path: self.path.clone(), action: "writing a received snapshot", source };
        self.file.write_all(chunk).map_err(failed)?;
        self.received += chunk.len() as u64;
        Ok(())
    }

    /// Takes the next events, in order. The first must follow this node's last event; that is checked at install, where nothing else moves.
    ///
    /// # Errors
    /// An event that does not follow the one before it, or the disk.
    pub fn write_events(&mut self, events: &[StoredEvent]) -> Result<(), SnapshotError> {
        for event in events {
            let at = event.position;
            if let Some(last) = &self.last_event
                && (at <= last.position() || chain(Some(last), at, event.payload.clone()).hash != event.hash)
            {
                return Err(SnapshotError::EventOutOfOrder { index: at.index, seq: at.seq });
            }
            let failed = |source| SnapshotError::File { path: self.events_path.clone(), action: "writing received events", source };
            if let Some(writer) = &mut self.events {
                writer.push(event).map_err(failed)?;
            }
            self.last_event = Some(event.head());
        }
        Ok(())
    }

    /// Syncs and verifies what was received. The handle can then be given to openraft.
    ///
    /// # Errors
    /// Damaged, of another cluster, or the disk. The files are gone then.
    pub fn finish(mut self) -> Result<SnapshotHandle, SnapshotError> {
        let failed = |source| SnapshotError::File { path: self.path.clone(), action: "syncing a received snapshot", source };
        // Durable before reply.
        self.file.sync_all().map_err(failed)?;
        let mut handle = SnapshotHandle::open(&self.path)?;
        self.snapshots.check_cluster(&handle)?;
        if let Some(writer) = self.events.take() {
            handle.events = Some(Arc::new(writer.finish().map_err(failed)?));
        }
        self.finished = true;
        Ok(handle)
    }
}

impl Drop for SnapshotReceiver {
    fn drop(&mut self) {
        if !self.finished {
            // Leftovers are removed at open anyway.
            let _ = fs::remove_file(&self.path);
            let _ = fs::remove_file(&self.events_path);
        }
    }
}
