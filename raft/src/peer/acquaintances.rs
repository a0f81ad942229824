//! Which store each peer had when this node first met it, on disk. Used by the doorman only. It must never forget: that memory is what
//! keeps a node whose disk was wiped or rolled back to empty from voting under its old id (protocol.md, "No time rule closes").

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use prost::Message;
use tracing::info;

use crate::peer::identity::StoreId;
use crate::peer::pb;

const FILE: &str = "peers";
const NEW_FILE: &str = "peers.new";

/// Why a peer was not accepted as an acquaintance.
#[derive(Debug, thiserror::Error)]
pub enum MeetError {
    #[error(
        "node {node} comes with store {presented}, and was known with store {known}: its data was lost or replaced. \
         It must not take part under its old id; give it back its data folder, or let it join under a new id"
    )]
    OtherStore { node: u64, known: StoreId, presented: StoreId },
    #[error("the first meeting with node {node} could not be written to {}: its messages count for nothing until it can", path.display())]
    Write {
        node: u64,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Why the file of acquaintances could not be read.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{} cannot be read", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} is damaged: restore it from this node's backup; do not delete it while another node may have lost its data", path.display())]
    Damaged { path: PathBuf },
}

/// The peers this node has met. A handful of entries, one per node id ever used.
#[derive(Debug)]
pub struct Acquaintances {
    folder: PathBuf,
    known: Mutex<BTreeMap<u64, StoreId>>,
}

impl Acquaintances {
    /// # Errors
    /// The file is there but unreadable or damaged.
    pub fn open(folder: &Path) -> Result<Self, OpenError> {
        let path = folder.join(FILE);
        let known = match fs::read(&path) {
            Ok(bytes) => decode(&bytes).ok_or(OpenError::Damaged { path })?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(source) => return Err(OpenError::Read { path, source }),
        };
        Ok(Self { folder: folder.to_owned(), known: Mutex::new(known) })
    }

    #[must_use]
    pub fn store_of(&self, node: u64) -> Option<StoreId> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&node).copied()
    }

    /// Accepts a peer with the store it has always had; remembers one that is met for the first time, before anything it says may be used.
    ///
    /// Blocks for one fsync, once per peer in the life of this node.
    ///
    /// # Errors
    /// [`MeetError`]: another store than before, or the meeting could not be written.
    pub fn meet(&self, node: u64, store: StoreId) -> Result<(), MeetError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match known.get(&node) {
            Some(before) if *before == store => return Ok(()),
            Some(before) => return Err(MeetError::OtherStore { node, known: *before, presented: store }),
            None => {}
        }
        let mut more = known.clone();
        more.insert(node, store);
        // Durable before its first message counts.
        self.write(&more).map_err(|source| MeetError::Write { node, path: self.folder.join(FILE), source })?;
        *known = more;
        info!(peer = node, %store, "met for the first time");
        Ok(())
    }

    /// A new file each time, so that a failed fsync leaves the old one in force.
    fn write(&self, known: &BTreeMap<u64, StoreId>) -> io::Result<()> {
        let new = self.folder.join(NEW_FILE);
        let mut file = File::create(&new)?;
        file.write_all(&encode(known))?;
        file.sync_all()?;
        fs::rename(&new, self.folder.join(FILE))?;
        File::open(&self.folder)?.sync_all()
    }
}

fn encode(known: &BTreeMap<u64, StoreId>) -> Vec<u8> {
    let peers = known.iter().map(|(node, store)| pb::Acquaintance { node: *node, store: Bytes::copy_from_slice(&store.0) }).collect();
    let message = pb::Acquaintances { peers }.encode_to_vec();
    [&crc32fast::hash(&message).to_le_bytes()[..], &message].concat()
}

fn decode(bytes: &[u8]) -> Option<BTreeMap<u64, StoreId>> {
    let (crc, message) = bytes.split_first_chunk::<4>()?;
    // It is only ever written with someone in it; an empty one is a lost one.
    if message.is_empty() || crc32fast::hash(message) != u32::from_le_bytes(*crc) {
        return None;
    }
    let store = |peer: pb::Acquaintance| Some((peer.node, StoreId(peer.store.as_ref().try_into().ok()?)));
    pb::Acquaintances::decode(message).ok()?.peers.into_iter().map(store).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acquaintance_is_remembered_over_a_restart_and_cannot_change_its_store() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (StoreId([0xa1; 16]), StoreId([0xb2; 16]));
        let before = Acquaintances::open(folder.path()).unwrap();
        before.meet(2, a).unwrap();
        before.meet(3, b).unwrap();
        let after = Acquaintances::open(folder.path()).unwrap();
        assert_eq!((after.store_of(2), after.store_of(3), after.store_of(4)), (Some(a), Some(b), None));
        after.meet(2, a).unwrap();
        assert!(matches!(after.meet(2, b), Err(MeetError::OtherStore { node: 2, .. })));
        assert_eq!(after.store_of(2), Some(a));
    }

    #[test]
    fn a_meeting_that_cannot_be_written_does_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let book = Acquaintances::open(folder.path()).unwrap();
        drop(folder);
        assert!(matches!(book.meet(2, StoreId([1; 16])), Err(MeetError::Write { node: 2, .. })));
        assert_eq!(book.store_of(2), None);
    }

    #[test]
    fn a_damaged_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let good = encode(&BTreeMap::from([(2, StoreId([1; 16])), (3, StoreId([2; 16]))]));
        assert_eq!(decode(&good).unwrap().len(), 2);
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            fs::write(folder.path().join(FILE), &bad).unwrap();
            assert!(matches!(Acquaintances::open(folder.path()), Err(OpenError::Damaged { .. })), "a flip at byte {at} was accepted");
            fs::write(folder.path().join(FILE), &good[..at]).unwrap();
            assert!(Acquaintances::open(folder.path()).is_err(), "a file cut off at {at} was accepted");
        }
    }
}
