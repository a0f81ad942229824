//! Golden bytes of what nodes say to each other and of the file `peers`: nodes of two versions run side by side during an upgrade, so
//! none of these may change.
#![allow(clippy::unwrap_used, reason = "test")]

use std::fmt::Debug;

use berth_raft::peer::pb;
use bytes::Bytes;
use prost::Message;

#[track_caller]
fn golden<M: Message + Default + PartialEq + Debug>(message: M, bytes: &str) {
    let written: String = message.encode_to_vec().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(written, bytes, "the wire format of {message:?} has changed");
    assert_eq!(M::decode(&message.encode_to_vec()[..]).unwrap(), message);
}

fn vote(committed: bool) -> pb::Vote {
    pb::Vote { term: 3, node_id: 2, committed }
}

fn log_id(index: u64) -> pb::LogId {
    pb::LogId { term: 3, node_id: 2, index }
}

fn envelope() -> pb::Envelope {
    let (cluster_id, sender_store) = (Bytes::from_static(&[0xc1; 16]), Bytes::from_static(&[0x51; 16]));
    pb::Envelope { cluster_id, sender: 1, target: 2, sender_store, target_store: Bytes::from_static(&[0x52; 16]) }
}

const ENVELOPE: &str =
    "0a10c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1100118022210515151515151515151515151515151512a1052525252525252525252525252525252";

#[test]
fn the_envelope_keeps_its_bytes() {
    golden(envelope(), ENVELOPE);
    golden(pb::HelloRequest { envelope: Some(envelope()) }, &format!("0a3a{ENVELOPE}"));
    golden(pb::HelloResponse { store: Bytes::from_static(&[7]) }, "0a0107");
}

#[test]
fn appends_keep_their_bytes() {
    let membership = pb::Membership {
        voters: vec![pb::VoterSet { ids: vec![1, 2] }, pb::VoterSet { ids: vec![2] }],
        members: vec![pb::Member { id: 1, address: "a:1".to_owned() }, pb::Member { id: 2, address: "b:2".to_owned() }],
    };
    let payloads = [
        pb::entry::Payload::Blank(pb::Blank {}),
        pb::entry::Payload::Command(Bytes::from_static(b"xy")),
        pb::entry::Payload::Membership(membership),
    ];
    let entries = (8..).zip(payloads).map(|(i, p)| pb::Entry { log_id: Some(log_id(i)), payload: Some(p) }).collect();
    let append = pb::AppendEntriesRequest {
        envelope: Some(envelope()),
        vote: Some(vote(true)),
        prev_log_id: Some(log_id(7)),
        entries,
        leader_commit: Some(log_id(5)),
    };
    golden(
        append,
        &format!(
            "0a3a{ENVELOPE}12060803100218011a06080310021807220a0a060803100218081200220c0a060803100218091a02787922270a0608031002180a221d0a040a0201020a030a0102120708011203613a31120708021203623a322a06080310021805"
        ),
    );
}

#[test]
fn answers_to_appends_keep_their_bytes() {
    use pb::append_entries_response as ar;
    let answer = |result| pb::AppendEntriesResponse { result: Some(result), store: Bytes::from_static(&[7]) };
    golden(answer(ar::Result::Success(ar::Success {})), "0a007a0107");
    golden(answer(ar::Result::PartialSuccess(ar::PartialSuccess { last: Some(log_id(4)) })), "12080a060803100218047a0107");
    golden(answer(ar::Result::Conflict(ar::Conflict {})), "1a007a0107");
    golden(answer(ar::Result::HigherVote(vote(false))), "2204080310027a0107");
}

#[test]
fn votes_and_transfers_keep_their_bytes() {
    use pb::transfer_leader_response as tr;
    let store = Bytes::from_static(&[7]);
    let ask = pb::VoteRequest { envelope: None, vote: Some(vote(false)), last_log_id: Some(log_id(9)), leadership_transfer: true };
    golden(ask, "1204080310021a060803100218092001");
    golden(
        pb::VoteResponse { vote: Some(vote(true)), granted: true, last_log_id: Some(log_id(9)), store: store.clone() },
        "0a0608031002180110011a060803100218097a0107",
    );
    golden(
        pb::TransferLeaderRequest { envelope: None, from_leader: Some(vote(true)), to: 3, last_log_id: Some(log_id(9)) },
        "120608031002180118032206080310021809",
    );
    let changed = tr::Refusal::VoteChanged(tr::VoteChanged { expected: Some(vote(true)), actual: Some(vote(false)) });
    golden(pb::TransferLeaderResponse { refusal: Some(changed), store: store.clone() }, "0a0e0a060803100218011204080310027a0107");
    let unflushed = tr::Refusal::LogNotFlushed(tr::LogNotFlushed { expected: Some(log_id(9)), actual: None });
    golden(pb::TransferLeaderResponse { refusal: Some(unflushed), store }, "12080a060803100218097a0107");
}

#[test]
fn snapshots_keep_their_bytes() {
    use pb::snapshot_part::Part;
    let store = Bytes::from_static(&[7]);
    let head = pb::EventHead { index: 9, seq: 1, hash: Bytes::from_static(&[0xaa; 4]) };
    let part = |part| pb::SnapshotPart { part: Some(part) };
    golden(pb::LastEventRequest { envelope: None }, "");
    golden(pb::LastEventResponse { head: Some(head.clone()), store: store.clone() }, "0a0a080910011a04aaaaaaaa7a0107");
    golden(
        part(Part::Header(pb::SnapshotHeader { envelope: None, vote: Some(vote(true)), after: Some(head) })),
        "0a1412060803100218011a0a080910011a04aaaaaaaa",
    );
    golden(part(Part::Bytes(pb::SnapshotBytes { offset: 300, data: Bytes::from_static(b"xy") })), "120708ac0212027879");
    let event = pb::EventRecord { index: 10, seq: 1, hash: Bytes::from_static(&[0xbb; 4]), event: Bytes::from_static(b"e") };
    golden(part(Part::Events(pb::EventBatch { events: vec![event] })), "1a0f0a0d080a10011a04bbbbbbbb220165");
    golden(part(Part::End(pb::SnapshotEnd { events: 1 })), "22020801");
    golden(pb::InstallSnapshotResponse { vote: Some(vote(true)), store }, "0a060803100218017a0107");
}

#[test]
fn the_file_of_acquaintances_keeps_its_bytes() {
    let peers = vec![pb::Acquaintance { node: 2, store: Bytes::from_static(&[0x52; 4]) }];
    golden(pb::Acquaintances { peers }, "0a080802120452525252");
}
