//! What a snapshot says about itself: the first record of its file.

use berth_state::ids::ClusterId;
use bytes::Bytes;

use crate::store::codec::{log_id_from_pb, log_id_to_pb, stored_membership_from_pb, stored_membership_to_pb};
use crate::store::events::EventHead;
use crate::store::pb;
use crate::types::{LogId, SnapshotMeta, StoredMembership};

/// Version of the file format.
pub const SNAPSHOT_FORMAT: u32 = 1;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    pub cluster: ClusterId,
    /// The last entry whose effect is in it.
    pub last: Option<LogId>,
    pub membership: StoredMembership,
    pub objects: u64,
    /// The last event up to that entry; events themselves are not in the file.
    pub head: Option<EventHead>,
}

impl Manifest {
    /// As openraft knows a snapshot.
    #[must_use]
    pub fn meta(&self) -> SnapshotMeta {
        SnapshotMeta { last_log_id: self.last, last_membership: self.membership.clone() }
    }

    pub(super) fn to_pb(&self) -> pb::SnapshotManifest {
        pb::SnapshotManifest {
            format: SNAPSHOT_FORMAT,
            cluster_id: Bytes::copy_from_slice(&self.cluster.0),
            last: self.last.as_ref().map(log_id_to_pb),
            membership: Some(stored_membership_to_pb(&self.membership)),
            objects: self.objects,
            head: self.head.map(EventHead::to_pb),
        }
    }

    pub(super) fn from_pb(manifest: &pb::SnapshotManifest) -> Result<Self, String> {
        let cluster = <[u8; 16]>::try_from(&manifest.cluster_id[..]).map_err(|_| "cluster id is not 16 bytes".to_owned())?;
        Ok(Self {
            cluster: ClusterId(cluster),
            last: manifest.last.as_ref().map(log_id_from_pb),
            membership: stored_membership_from_pb(manifest.membership.as_ref()).map_err(|e| e.to_string())?,
            objects: manifest.objects,
            head: manifest.head.as_ref().map(EventHead::from_pb).transpose().map_err(|e| e.to_string())?,
        })
    }
}
