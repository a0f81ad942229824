//! Between openraft's types and the records on disk: one version byte, then protobuf. Called by the stores only. Input from disk is never
//! trusted: every missing or wrong field is an error with a name.

use std::collections::{BTreeMap, BTreeSet};

use openraft::EntryPayload;
use prost::Message;

use super::error::StoreError;
use super::pb;
use crate::types::{Entry, LeaderId, LogId, Member, Membership, Proposal, StoredMembership, Vote};

/// First byte of every record.
const VERSION: u8 = 1;

fn bad(detail: impl Into<String>) -> StoreError {
    StoreError::Undecodable { detail: detail.into() }
}

/// A record as it lies on disk.
#[must_use]
pub fn seal(message: &impl Message) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + message.encoded_len());
    bytes.push(VERSION);
    message.encode_raw(&mut bytes);
    bytes
}

/// Reads what [`seal`] wrote.
///
/// # Errors
/// Empty, of another version, or not this message.
pub fn unseal<M: Message + Default>(bytes: &[u8]) -> Result<M, StoreError> {
    match bytes.split_first() {
        None => Err(bad("empty record")),
        Some((&VERSION, body)) => M::decode(body).map_err(|e| bad(e.to_string())),
        Some((other, _)) => Err(bad(format!("record of version {other}, this program reads {VERSION}"))),
    }
}

#[must_use]
pub fn log_id_to_pb(id: &LogId) -> pb::LogId {
    pb::LogId { term: id.leader_id.term, node: id.leader_id.node_id, index: id.index }
}

#[must_use]
pub fn log_id_from_pb(id: &pb::LogId) -> LogId {
    LogId::new(LeaderId { term: id.term, node_id: id.node }, id.index)
}

#[must_use]
pub fn vote_to_pb(vote: &Vote) -> pb::Vote {
    pb::Vote { term: vote.leader_id.term, node: vote.leader_id.node_id, committed: vote.committed }
}

#[must_use]
pub fn vote_from_pb(vote: &pb::Vote) -> Vote {
    Vote { leader_id: LeaderId { term: vote.term, node_id: vote.node }, committed: vote.committed }
}

#[must_use]
pub fn membership_to_pb(membership: &Membership) -> pb::Membership {
    let configs = membership.get_joint_config().iter().map(|set| pb::VoterSet { nodes: set.iter().copied().collect() }).collect();
    let members = membership.nodes().map(|(node, member)| pb::Member { node: *node, address: member.address.clone() }).collect();
    pb::Membership { configs, members }
}

/// # Errors
/// An empty voter set, or a voter that is no member.
pub fn membership_from_pb(membership: &pb::Membership) -> Result<Membership, StoreError> {
    let configs: Vec<BTreeSet<u64>> = membership.configs.iter().map(|set| set.nodes.iter().copied().collect()).collect();
    let members: BTreeMap<u64, Member> = membership.members.iter().map(|m| (m.node, Member { address: m.address.clone() })).collect();
    Membership::new(configs, members).map_err(|e| bad(format!("membership: {e}")))
}

#[must_use]
pub fn stored_membership_to_pb(stored: &StoredMembership) -> pb::StoredMembership {
    pb::StoredMembership { id: stored.log_id().as_ref().map(log_id_to_pb), membership: Some(membership_to_pb(stored.membership())) }
}

/// # Errors
/// As [`membership_from_pb`].
pub fn stored_membership_from_pb(stored: Option<&pb::StoredMembership>) -> Result<StoredMembership, StoreError> {
    let Some(stored) = stored else { return Ok(StoredMembership::default()) };
    let membership = stored.membership.as_ref().map(membership_from_pb).transpose()?.unwrap_or_default();
    Ok(StoredMembership::new(stored.id.as_ref().map(log_id_from_pb), membership))
}

/// Key of a log entry: its index, so that key order is log order.
#[must_use]
pub fn index_key(index: u64) -> [u8; 8] {
    index.to_be_bytes()
}

#[must_use]
pub fn encode_entry(entry: &Entry) -> Vec<u8> {
    let payload = match &entry.payload {
        EntryPayload::Blank => pb::log_record::Payload::Blank(pb::Blank {}),
        EntryPayload::Normal(proposal) => pb::log_record::Payload::Command(proposal.0.clone()),
        EntryPayload::Membership(membership) => pb::log_record::Payload::Membership(membership_to_pb(membership)),
    };
    seal(&pb::LogRecord { id: Some(log_id_to_pb(&entry.log_id)), payload: Some(payload) })
}

/// # Errors
/// Not a record, or one that lies under another entry's key.
pub fn decode_entry(key: &[u8], value: &[u8]) -> Result<Entry, StoreError> {
    let index = u64::from_be_bytes(key.try_into().map_err(|_| bad(format!("log key of {} bytes", key.len())))?);
    let record: pb::LogRecord = unseal(value).map_err(|e| bad(format!("entry {index}: {e}")))?;
    let log_id = log_id_from_pb(&record.id.ok_or_else(|| bad(format!("entry {index} has no id")))?);
    if log_id.index != index {
        return Err(bad(format!("entry {} lies under the key of entry {index}", log_id.index)));
    }
    let payload = match record.payload {
        None => return Err(bad(format!("entry {index} has no payload"))),
        Some(pb::log_record::Payload::Blank(_)) => EntryPayload::Blank,
        Some(pb::log_record::Payload::Command(command)) => EntryPayload::Normal(Proposal(command)),
        Some(pb::log_record::Payload::Membership(membership)) => EntryPayload::Membership(membership_from_pb(&membership)?),
    };
    Ok(Entry { log_id, payload })
}
