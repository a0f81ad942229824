//! Events on their way from one node to another, kept in a file beside the snapshot they came with until install puts them into the event
//! log. The file is gone with the last handle on it.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;

use super::file::ReadAt;
use crate::store::events::{EventPosition, StoredEvent};
use crate::store::pb;

/// A file of events that is complete.
#[derive(Debug)]
pub struct EventsFile {
    path: PathBuf,
    file: Arc<File>,
    len: u64,
}

impl Drop for EventsFile {
    fn drop(&mut self) {
        // Leftovers are removed at open anyway.
        let _ = fs::remove_file(&self.path);
    }
}

/// A file of events that grows.
pub struct EventsWriter {
    path: PathBuf,
    to: BufWriter<File>,
    len: u64,
}

impl EventsWriter {
    pub fn create(path: &Path) -> io::Result<Self> {
        let file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
        Ok(Self { path: path.to_owned(), to: BufWriter::new(file), len: 0 })
    }

    pub fn push(&mut self, event: &StoredEvent) -> io::Result<()> {
        let bytes = event_to_pb(event).encode_to_vec();
        let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        self.to.write_all(&length.to_be_bytes())?;
        self.to.write_all(&bytes)?;
        self.len += 4 + u64::from(length);
        Ok(())
    }

    pub fn finish(self) -> io::Result<EventsFile> {
        let file = self.to.into_inner().map_err(io::IntoInnerError::into_error)?;
        Ok(EventsFile { path: self.path, file: Arc::new(file), len: self.len })
    }
}

impl EventsFile {
    /// The events in order.
    pub fn read(&self) -> impl Iterator<Item = io::Result<StoredEvent>> + use<> {
        let mut reader = BufReader::new(ReadAt::new(self.file.clone(), self.len));
        let mut left = self.len;
        std::iter::from_fn(move || (left > 0).then(|| read_one(&mut reader, &mut left)))
    }
}

fn read_one(reader: &mut impl Read, left: &mut u64) -> io::Result<StoredEvent> {
    let mut length = [0; 4];
    reader.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length);
    *left = left.checked_sub(4 + u64::from(length)).ok_or_else(|| io::Error::other("an event record is cut short"))?;
    let mut bytes = vec![0; length as usize];
    reader.read_exact(&mut bytes)?;
    event_from_pb(pb::EventTransfer::decode(&bytes[..]).map_err(io::Error::other)?)
}

fn event_to_pb(event: &StoredEvent) -> pb::EventTransfer {
    pb::EventTransfer {
        index: event.position.index,
        seq: event.position.seq,
        hash: Bytes::copy_from_slice(&event.hash),
        payload: event.payload.clone(),
    }
}

fn event_from_pb(event: pb::EventTransfer) -> io::Result<StoredEvent> {
    let hash = event.hash[..].try_into().map_err(io::Error::other)?;
    Ok(StoredEvent { position: EventPosition { index: event.index, seq: event.seq }, hash, payload: event.payload })
}
