//! Whose data a folder holds: cluster, node, store. Kept in the file `identity` and, as a second witness, inside both engines. Read by `open`; written
//! once, when a store is created.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use berth_state::ids::ClusterId;
use bytes::Bytes;
use prost::Message;
use sha2::{Digest, Sha256};

use super::error::StoreError;
use super::pb;
use super::snapshot::folder::sync_folder;

/// Version of all that this program writes to disk.
pub const DISK_FORMAT: u32 = 1;
/// First bytes of the identity file.
const MAGIC: &[u8; 8] = b"BERTHID\n";
const HASH_BYTES: usize = 32;
pub(super) const FILE_NAME: &str = "identity";

/// Who a store belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    pub cluster: ClusterId,
    pub node: u64,
    /// Drawn at creation; tells two stores of one node id apart.
    pub store_uuid: [u8; 16],
    pub format: u32,
}

impl Identity {
    /// A new store's identity.
    ///
    /// # Errors
    /// The system gives no randomness.
    pub fn create(cluster: ClusterId, node: u64) -> Result<Self, io::Error> {
        let mut store_uuid = [0; 16];
        getrandom::fill(&mut store_uuid).map_err(|e| io::Error::other(e.to_string()))?;
        Ok(Self { cluster, node, store_uuid, format: DISK_FORMAT })
    }

    pub(super) fn to_pb(self) -> pb::Identity {
        pb::Identity {
            format: self.format,
            cluster_id: Bytes::copy_from_slice(&self.cluster.0),
            node: self.node,
            store_uuid: Bytes::copy_from_slice(&self.store_uuid),
        }
    }

    pub(super) fn from_pb(identity: &pb::Identity) -> Result<Self, String> {
        let sixteen = |bytes: &Bytes, what: &str| <[u8; 16]>::try_from(&bytes[..]).map_err(|_| format!("{what} of {} bytes", bytes.len()));
        Ok(Self {
            cluster: ClusterId(sixteen(&identity.cluster_id, "cluster id")?),
            node: identity.node,
            store_uuid: sixteen(&identity.store_uuid, "store id")?,
            format: identity.format,
        })
    }

    /// Refuses data of another cluster or node.
    pub(super) fn check(&self, path: &Path, cluster: ClusterId, node: u64) -> Result<(), StoreError> {
        let path = path.to_owned();
        if self.cluster != cluster {
            return Err(StoreError::ForeignCluster { path, found: self.cluster, wanted: cluster });
        }
        if self.node != node {
            return Err(StoreError::OtherNode { path, found: self.node, wanted: node });
        }
        Ok(())
    }
}

pub(super) fn path_in(data_dir: &Path) -> PathBuf {
    data_dir.join(FILE_NAME)
}

/// Reads the identity file; none if there is no such file.
pub(super) fn read(data_dir: &Path) -> Result<Option<Identity>, StoreError> {
    let path = path_in(data_dir);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(StoreError::File { path, action: "reading", source }),
    };
    let damaged = |detail: String| StoreError::DamagedIdentity { path: path.clone(), detail };
    let Some(rest) = bytes.strip_prefix(MAGIC) else { return Err(damaged("it does not begin as an identity file does".to_owned())) };
    let Some((body, hash)) = rest.split_last_chunk::<HASH_BYTES>() else { return Err(damaged("it is cut short".to_owned())) };
    if Sha256::digest(body)[..] != hash[..] {
        return Err(damaged("its checksum is wrong".to_owned()));
    }
    let message = pb::Identity::decode(body).map_err(|e| damaged(e.to_string()))?;
    // Before anything else of it is believed.
    if message.format > DISK_FORMAT {
        return Err(StoreError::NewerFormat { path, found: message.format, known: DISK_FORMAT });
    }
    Identity::from_pb(&message).map(Some).map_err(damaged)
}

/// Writes the identity file so that it is there whole or not at all.
pub(super) fn write(data_dir: &Path, identity: Identity) -> Result<(), StoreError> {
    let path = path_in(data_dir);
    let body = identity.to_pb().encode_to_vec();
    let bytes = [&MAGIC[..], &body, &Sha256::digest(&body)[..]].concat();
    let write = || -> io::Result<()> {
        let temporary = path.with_extension("tmp");
        let mut file = File::create(&temporary)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
        sync_folder(data_dir)
    };
    write().map_err(|source| StoreError::File { path: path.clone(), action: "writing", source })
}
