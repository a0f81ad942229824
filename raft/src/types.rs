//! The openraft types of this node, in one place. Used all over this crate; nothing of it leaves the crate.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

/// One log entry's payload: an encoded `berth_state` command. Opaque here, so that append and replication never decode it.
#[derive(Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Proposal(#[serde(with = "proposal_bytes")] pub Bytes);

/// serde form of [`Proposal`]; openraft asks for serde, disk and wire are our own protobuf.
mod proposal_bytes {
    use bytes::Bytes;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &Bytes, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Bytes, D::Error> {
        Ok(Bytes::from(Vec::<u8>::deserialize(d)?))
    }
}

impl fmt::Debug for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proposal({} bytes)", self.0.len())
    }
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What apply answers to the proposer; `None` for blank and membership entries.
#[derive(Clone, Debug, Default)]
pub struct Reply(pub Option<Arc<berth_state::Outcome>>);

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// openraft asks for serde of every type it knows, but an outcome never leaves the node through it: gRPC answers are our own protobuf.
/// Failing here is better than a second, unversioned encoding.
impl serde::Serialize for Reply {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("a reply is never serialised: it stays on the node that applied it"))
    }
}

impl<'de> serde::Deserialize<'de> for Reply {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom("a reply is never serialised: it stays on the node that applied it"))
    }
}

/// A member of the Raft group, as the membership entries in the log name it.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Member {
    /// Where its one gRPC port listens: `host:port`.
    pub address: String,
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address)
    }
}

openraft::declare_raft_types!(
    /// The types openraft runs on. Leader ids are the default (term, node id).
    pub TypeConfig:
        D = Proposal,
        R = Reply,
        NodeId = u64,
        Node = Member,
);

/// A Raft log id: (leader id, index).
pub type LogId = openraft::type_config::alias::LogIdOf<TypeConfig>;
/// A Raft vote: (term, node id, granted by a quorum).
pub type Vote = openraft::type_config::alias::VoteOf<TypeConfig>;
/// One log entry.
pub type Entry = openraft::type_config::alias::EntryOf<TypeConfig>;
/// (term, node id) of a leader.
pub type LeaderId = openraft::type_config::alias::LeaderIdOf<TypeConfig>;
/// Voters and learners.
pub type Membership = openraft::Membership<u64, Member>;
/// A membership and the entry that set it.
pub type StoredMembership = openraft::type_config::alias::StoredMembershipOf<TypeConfig>;
/// What openraft knows of a snapshot.
pub type SnapshotMeta = openraft::type_config::alias::SnapshotMetaOf<TypeConfig>;
/// A snapshot: what openraft knows of it, and our handle on its file.
pub type Snapshot = openraft::type_config::alias::SnapshotOf<TypeConfig, crate::store::snapshot::SnapshotHandle>;
