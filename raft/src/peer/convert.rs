//! Between openraft's types and the messages of peer.proto; the only file that knows both. Called by the peer client and service. What comes
//! in is checked here: a message with a hole is an error, never a default.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use openraft::EntryPayload;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderError, TransferLeaderRequest, TransferLeaderResponse, VoteRequest,
    VoteResponse,
};

use crate::peer::pb;
use crate::store::events::{EventHead, EventPosition, StoredEvent};
use crate::types::{Entry, LeaderId, LogId, Member, Membership, Proposal, TypeConfig, Vote};

/// Why a message of a peer makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadMessage {
    #[error("the peer's message lacks {field}: is it of another version?")]
    Missing { field: &'static str },
    #[error("the peer's message has an impossible {field}: {why}")]
    Invalid { field: &'static str, why: String },
}

fn need<T>(value: Option<T>, field: &'static str) -> Result<T, BadMessage> {
    value.ok_or(BadMessage::Missing { field })
}

pub fn vote_to_pb(vote: &Vote) -> pb::Vote {
    pb::Vote { term: vote.leader_id.term, node_id: vote.leader_id.node_id, committed: vote.committed }
}

pub fn vote_from_pb(vote: Option<pb::Vote>) -> Result<Vote, BadMessage> {
    let vote = need(vote, "vote")?;
    Ok(if vote.committed { Vote::new_committed(vote.term, vote.node_id) } else { Vote::new(vote.term, vote.node_id) })
}

pub fn log_id_to_pb(id: &LogId) -> pb::LogId {
    pb::LogId { term: id.leader_id.term, node_id: id.leader_id.node_id, index: id.index }
}

pub fn log_id_from_pb(id: &pb::LogId) -> LogId {
    LogId::new(LeaderId { term: id.term, node_id: id.node_id }, id.index)
}

fn opt_log_id_to_pb(id: Option<&LogId>) -> Option<pb::LogId> {
    id.map(log_id_to_pb)
}

fn opt_log_id_from_pb(id: Option<&pb::LogId>) -> Option<LogId> {
    id.map(log_id_from_pb)
}

pub fn membership_to_pb(membership: &Membership) -> pb::Membership {
    let voters = membership.get_joint_config().iter().map(|set| pb::VoterSet { ids: set.iter().copied().collect() }).collect();
    let members = membership.nodes().map(|(id, member)| pb::Member { id: *id, address: member.address.clone() }).collect();
    pb::Membership { voters, members }
}

pub fn membership_from_pb(membership: pb::Membership) -> Result<Membership, BadMessage> {
    let voters: Vec<BTreeSet<u64>> = membership.voters.into_iter().map(|set| set.ids.into_iter().collect()).collect();
    let members: BTreeMap<u64, Member> = membership.members.into_iter().map(|m| (m.id, Member { address: m.address })).collect();
    Membership::new(voters, members).map_err(|e| BadMessage::Invalid { field: "membership", why: e.to_string() })
}

pub fn entry_to_pb(entry: Entry) -> pb::Entry {
    let payload = match entry.payload {
        EntryPayload::Blank => pb::entry::Payload::Blank(pb::Blank {}),
        EntryPayload::Normal(Proposal(bytes)) => pb::entry::Payload::Command(bytes),
        EntryPayload::Membership(membership) => pb::entry::Payload::Membership(membership_to_pb(&membership)),
    };
    pb::Entry { log_id: Some(log_id_to_pb(&entry.log_id)), payload: Some(payload) }
}

pub fn entry_from_pb(entry: pb::Entry) -> Result<Entry, BadMessage> {
    let log_id = log_id_from_pb(&need(entry.log_id, "entry.log_id")?);
    let payload = match need(entry.payload, "entry.payload")? {
        pb::entry::Payload::Blank(pb::Blank {}) => EntryPayload::Blank,
        pb::entry::Payload::Command(bytes) => EntryPayload::Normal(Proposal(bytes)),
        pb::entry::Payload::Membership(membership) => EntryPayload::Membership(membership_from_pb(membership)?),
    };
    Ok(Entry { log_id, payload })
}

pub fn append_to_pb(envelope: pb::Envelope, request: AppendEntriesRequest<TypeConfig>) -> pb::AppendEntriesRequest {
    pb::AppendEntriesRequest {
        envelope: Some(envelope),
        vote: Some(vote_to_pb(&request.vote)),
        prev_log_id: opt_log_id_to_pb(request.prev_log_id.as_ref()),
        entries: request.entries.into_iter().map(entry_to_pb).collect(),
        leader_commit: opt_log_id_to_pb(request.leader_commit.as_ref()),
    }
}

pub fn append_from_pb(request: pb::AppendEntriesRequest) -> Result<AppendEntriesRequest<TypeConfig>, BadMessage> {
    let prev_log_id = opt_log_id_from_pb(request.prev_log_id.as_ref());
    let entries = request.entries.into_iter().map(entry_from_pb).collect::<Result<Vec<_>, _>>()?;
    // openraft trusts its leader here; a hole from the wire must not reach the log.
    let first = prev_log_id.map_or(0, |id| id.index + 1);
    for (expected, entry) in (first..).zip(&entries) {
        if entry.log_id.index != expected {
            let why = format!("index {} where {expected} follows", entry.log_id.index);
            return Err(BadMessage::Invalid { field: "entries", why });
        }
    }
    let vote = vote_from_pb(request.vote)?;
    Ok(AppendEntriesRequest { vote, prev_log_id, entries, leader_commit: opt_log_id_from_pb(request.leader_commit.as_ref()) })
}

pub fn append_answer_to_pb(answer: &AppendEntriesResponse<TypeConfig>, store: Bytes) -> pb::AppendEntriesResponse {
    use pb::append_entries_response as ar;
    let result = match answer {
        AppendEntriesResponse::Success => ar::Result::Success(ar::Success {}),
        AppendEntriesResponse::PartialSuccess(last) => {
            ar::Result::PartialSuccess(ar::PartialSuccess { last: opt_log_id_to_pb(last.as_ref()) })
        }
        AppendEntriesResponse::Conflict => ar::Result::Conflict(ar::Conflict {}),
        AppendEntriesResponse::HigherVote(vote) => ar::Result::HigherVote(vote_to_pb(vote)),
    };
    pb::AppendEntriesResponse { result: Some(result), store }
}

/// `from_start`: the request began at the first entry of the log.
pub fn append_answer_from_pb(answer: pb::AppendEntriesResponse, from_start: bool) -> Result<AppendEntriesResponse<TypeConfig>, BadMessage> {
    use pb::append_entries_response as ar;
    Ok(match need(answer.result, "result")? {
        ar::Result::Success(ar::Success {}) => AppendEntriesResponse::Success,
        ar::Result::PartialSuccess(partial) => AppendEntriesResponse::PartialSuccess(opt_log_id_from_pb(partial.last.as_ref())),
        // Nothing precedes the first entry, so nothing can conflict with it; openraft would panic on it.
        ar::Result::Conflict(ar::Conflict {}) if from_start => {
            return Err(BadMessage::Invalid { field: "result", why: "a conflict before the first entry".to_owned() });
        }
        ar::Result::Conflict(ar::Conflict {}) => AppendEntriesResponse::Conflict,
        ar::Result::HigherVote(vote) => AppendEntriesResponse::HigherVote(vote_from_pb(Some(vote))?),
    })
}

pub fn vote_request_to_pb(envelope: pb::Envelope, request: &VoteRequest<TypeConfig>) -> pb::VoteRequest {
    pb::VoteRequest {
        envelope: Some(envelope),
        vote: Some(vote_to_pb(&request.vote)),
        last_log_id: opt_log_id_to_pb(request.last_log_id.as_ref()),
        leadership_transfer: request.leadership_transfer,
    }
}

pub fn vote_request_from_pb(request: pb::VoteRequest) -> Result<VoteRequest<TypeConfig>, BadMessage> {
    let mut read = VoteRequest::new(vote_from_pb(request.vote)?, opt_log_id_from_pb(request.last_log_id.as_ref()));
    read.leadership_transfer = request.leadership_transfer;
    Ok(read)
}

pub fn vote_answer_to_pb(answer: &VoteResponse<TypeConfig>, store: Bytes) -> pb::VoteResponse {
    pb::VoteResponse {
        vote: Some(vote_to_pb(&answer.vote)),
        granted: answer.vote_granted,
        last_log_id: opt_log_id_to_pb(answer.last_log_id.as_ref()),
        store,
    }
}

pub fn vote_answer_from_pb(answer: pb::VoteResponse) -> Result<VoteResponse<TypeConfig>, BadMessage> {
    Ok(VoteResponse::new(vote_from_pb(answer.vote)?, opt_log_id_from_pb(answer.last_log_id.as_ref()), answer.granted))
}

pub fn transfer_to_pb(envelope: pb::Envelope, request: &TransferLeaderRequest<TypeConfig>) -> pb::TransferLeaderRequest {
    pb::TransferLeaderRequest {
        envelope: Some(envelope),
        from_leader: Some(vote_to_pb(request.from_leader())),
        to: *request.to_node_id(),
        last_log_id: opt_log_id_to_pb(request.last_log_id()),
    }
}

pub fn transfer_from_pb(request: pb::TransferLeaderRequest) -> Result<TransferLeaderRequest<TypeConfig>, BadMessage> {
    let from = vote_from_pb(request.from_leader)?;
    Ok(TransferLeaderRequest::new(from, request.to, opt_log_id_from_pb(request.last_log_id.as_ref())))
}

pub fn transfer_answer_to_pb(answer: &TransferLeaderResponse<TypeConfig>, store: Bytes) -> pb::TransferLeaderResponse {
    use pb::transfer_leader_response as tr;
    let refusal = match answer {
        Ok(()) => None,
        Err(TransferLeaderError::VoteChanged { expected, actual }) => {
            Some(tr::Refusal::VoteChanged(tr::VoteChanged { expected: Some(vote_to_pb(expected)), actual: Some(vote_to_pb(actual)) }))
        }
        Err(TransferLeaderError::LogNotFlushed { expected, actual }) => Some(tr::Refusal::LogNotFlushed(tr::LogNotFlushed {
            expected: opt_log_id_to_pb(expected.as_ref()),
            actual: opt_log_id_to_pb(actual.as_ref()),
        })),
    };
    pb::TransferLeaderResponse { refusal, store }
}

pub fn transfer_answer_from_pb(answer: pb::TransferLeaderResponse) -> Result<TransferLeaderResponse<TypeConfig>, BadMessage> {
    use pb::transfer_leader_response as tr;
    Ok(match answer.refusal {
        None => Ok(()),
        Some(tr::Refusal::VoteChanged(votes)) => {
            Err(TransferLeaderError::VoteChanged { expected: vote_from_pb(votes.expected)?, actual: vote_from_pb(votes.actual)? })
        }
        Some(tr::Refusal::LogNotFlushed(ids)) => Err(TransferLeaderError::LogNotFlushed {
            expected: opt_log_id_from_pb(ids.expected.as_ref()),
            actual: opt_log_id_from_pb(ids.actual.as_ref()),
        }),
    })
}

pub fn head_to_pb(head: &EventHead) -> pb::EventHead {
    pb::EventHead { index: head.index, seq: head.seq, hash: Bytes::copy_from_slice(&head.hash) }
}

pub fn head_from_pb(head: &pb::EventHead) -> Result<EventHead, BadMessage> {
    Ok(EventHead { index: head.index, seq: head.seq, hash: event_hash(&head.hash)? })
}

pub fn event_to_pb(event: StoredEvent) -> pb::EventRecord {
    let StoredEvent { position, hash, payload } = event;
    pb::EventRecord { index: position.index, seq: position.seq, hash: Bytes::copy_from_slice(&hash), event: payload }
}

pub fn event_from_pb(event: pb::EventRecord) -> Result<StoredEvent, BadMessage> {
    let position = EventPosition { index: event.index, seq: event.seq };
    Ok(StoredEvent { position, hash: event_hash(&event.hash)?, payload: event.event })
}

fn event_hash(bytes: &[u8]) -> Result<[u8; 32], BadMessage> {
    bytes.try_into().map_err(|_| BadMessage::Invalid { field: "event hash", why: format!("{} bytes", bytes.len()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log_id(term: u64, node_id: u64, index: u64) -> LogId {
        LogId::new(LeaderId { term, node_id }, index)
    }

    fn membership() -> Membership {
        let members =
            BTreeMap::from([(1, Member { address: "a:1".to_owned() }), (2, Member { address: "b:2".to_owned() }), (3, Member::default())]);
        Membership::new(vec![BTreeSet::from([1, 2]), BTreeSet::from([2])], members).unwrap()
    }

    #[test]
    fn an_append_reads_back_what_was_sent() {
        let payloads =
            [EntryPayload::Blank, EntryPayload::Normal(Proposal(Bytes::from_static(b"x"))), EntryPayload::Membership(membership())];
        let entries: Vec<_> = (8..).zip(payloads).map(|(i, payload)| Entry { log_id: log_id(3, 2, i), payload }).collect();
        let sent = AppendEntriesRequest {
            vote: Vote::new_committed(3, 2),
            prev_log_id: Some(log_id(2, 1, 7)),
            entries,
            leader_commit: Some(log_id(1, 1, 4)),
        };
        let read = append_from_pb(append_to_pb(pb::Envelope::default(), sent.clone())).unwrap();
        assert_eq!((read.vote, read.prev_log_id, read.leader_commit), (sent.vote, sent.prev_log_id, sent.leader_commit));
        assert_eq!(read.entries, sent.entries);
    }

    #[test]
    fn an_append_with_a_hole_is_refused() {
        let entry = |index| Entry { log_id: log_id(1, 1, index), payload: EntryPayload::Blank };
        let message = |prev: Option<u64>, indexes: &[u64]| {
            let request = AppendEntriesRequest {
                vote: Vote::new_committed(1, 1),
                prev_log_id: prev.map(|i| log_id(1, 1, i)),
                entries: indexes.iter().map(|i| entry(*i)).collect(),
                leader_commit: None,
            };
            append_from_pb(append_to_pb(pb::Envelope::default(), request))
        };
        assert!(message(Some(4), &[5, 6]).is_ok());
        assert!(message(None, &[0, 1]).is_ok());
        assert!(message(Some(4), &[6]).is_err());
        assert!(message(Some(4), &[5, 7]).is_err());
        assert!(message(None, &[1]).is_err());
    }

    #[test]
    fn every_answer_to_an_append_reads_back() {
        let answers = [
            AppendEntriesResponse::Success,
            AppendEntriesResponse::PartialSuccess(None),
            AppendEntriesResponse::PartialSuccess(Some(log_id(2, 3, 4))),
            AppendEntriesResponse::Conflict,
            AppendEntriesResponse::HigherVote(Vote::new(9, 2)),
        ];
        for answer in answers {
            assert_eq!(append_answer_from_pb(append_answer_to_pb(&answer, Bytes::new()), false).unwrap(), answer);
        }
        assert!(append_answer_from_pb(append_answer_to_pb(&AppendEntriesResponse::Conflict, Bytes::new()), true).is_err());
    }

    #[test]
    fn votes_and_their_answers_read_back_and_a_grant_is_never_invented() {
        let mut request = VoteRequest::new(Vote::new(5, 3), Some(log_id(4, 1, 9)));
        request.leadership_transfer = true;
        assert_eq!(vote_request_from_pb(vote_request_to_pb(pb::Envelope::default(), &request)).unwrap(), request);
        for granted in [true, false] {
            let answer = VoteResponse::new(Vote::new(5, 3), None, granted);
            assert_eq!(vote_answer_from_pb(vote_answer_to_pb(&answer, Bytes::new())).unwrap(), answer);
        }
        assert!(vote_answer_from_pb(pb::VoteResponse::default()).is_err());
    }

    #[test]
    fn a_membership_without_the_address_of_a_voter_is_refused() {
        let mut message = membership_to_pb(&membership());
        assert!(membership_from_pb(message.clone()).is_ok());
        message.members.remove(0);
        assert!(membership_from_pb(message).is_err());
    }
}
