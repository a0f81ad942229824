//! Cut wires, foreign nodes and wiped nodes: what is unknown is never called failed, and what is not a member never counts.
#![allow(clippy::unwrap_used, reason = "test")]
#![allow(clippy::disallowed_methods, reason = "tests bound their own waiting")]

mod node_support;

use std::time::{Duration, Instant};

use berth_raft::node::{ProposeError, ReadError};
use berth_raft::peer::pb;
use berth_raft::peer::pb::peer_client::PeerClient;
use berth_state::ids::ClusterId;
use bytes::Bytes;
use node_support::{CLUSTER, Group, TIMING, eventually, toy};
use tonic::Code;

const SECONDS: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_without_a_majority_says_unknown_at_the_deadline_and_then_refuses() {
    let group = Group::started(3).await;
    let old = group.leader().await;
    group.write("a", "1").await;
    group.wires.isolate(old);
    let (deadline, begun) = (Duration::from_millis(1_500), Instant::now());
    // Within the old leader's lease openraft still takes it into its log.
    let answer = group.node(old).propose(toy::put("lost", "?"), deadline).await;
    assert!(matches!(answer, Err(ProposeError::Unknown { .. })), "{answer:?}");
    assert!(begun.elapsed() >= deadline, "called unknown after only {:?}", begun.elapsed());
    assert!(begun.elapsed() < deadline + Duration::from_secs(5), "the deadline was not kept: {:?}", begun.elapsed());
    // Later it is refused before it gets into the log, which is a different thing.
    let refused = group.node(old).propose(toy::put("refused", "?"), deadline).await;
    assert_eq!(refused.unwrap_err(), ProposeError::NotLeader { leader: None });
    let read = group.node(old).read_index(deadline).await;
    assert!(matches!(read, Err(ReadError::NoQuorum { .. } | ReadError::NotLeader { leader: None })), "a stale read: {read:?}");

    let new =
        eventually("the majority elects another", || (1..=3).find(|id| *id != old && group.node(*id).is_leader_ready().is_some())).await;
    group.node(new).propose(toy::put("b", "2"), SECONDS).await.unwrap();
    group.wires.heal(old);
    let last = group.write("c", "3").await;
    group.applied(old, last).await;
    for id in 1..=3 {
        group.applied(id, last).await;
        assert_eq!(group.history(id), group.history(new));
        assert_eq!((group.value(id, "lost"), group.value(id, "refused")), (None, None));
    }
    group.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_was_cut_off_disturbs_nobody_when_it_is_back() {
    let group = Group::started(3).await;
    let leader = group.leader().await;
    let index = group.write("a", "1").await;
    let away = (1..=3).find(|id| *id != leader).unwrap();
    group.applied(away, index).await;
    let term = group.node(leader).is_leader_ready().unwrap();
    group.wires.isolate(away);
    eventually("the one cut off misses its leader", || group.node(away).leader().is_none().then_some(())).await;
    // Watched for four more election timeouts, in each of which it stands for election once or more: without pre-vote its term would rise.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(4 * TIMING.election_max_ms) {
        assert_eq!(group.node(away).status().term, term, "it raised its term without a majority");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(!group.node(away).status().has_quorum);
    let later = group.write("b", "2").await;
    group.wires.heal(away);
    group.applied(away, later).await;
    assert_eq!(group.node(leader).is_leader_ready(), Some(term), "the leader was deposed");
    group.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_another_cluster_is_refused_with_a_text_that_says_so() {
    let mut group = Group::new(3).await;
    group.start(1).await;
    group.start(2).await;
    let mut foreign = group.config(3);
    foreign.cluster = ClusterId([1; 16]);
    group.start_with(foreign).await.unwrap();
    group.write("a", "1").await;
    assert_eq!(*group.node(3).applied().borrow(), 0, "it took entries of another cluster");

    let stub = PeerClient::connect(format!("http://{}", group.addresses[&1])).await.unwrap();
    let hello = |cluster: [u8; 16], target: u64| {
        let envelope = pb::Envelope {
            cluster_id: Bytes::copy_from_slice(&cluster),
            sender: 9,
            target,
            sender_store: Bytes::from_static(&[9; 16]),
            target_store: Bytes::new(),
        };
        let vote = pb::Vote { term: 1_000, node_id: 9, committed: false };
        let question = pb::VoteRequest { envelope: Some(envelope), vote: Some(vote), last_log_id: None, leadership_transfer: true };
        let mut stub = stub.clone();
        async move { stub.vote(question).await }
    };
    let refused = hello([1; 16], 1).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains(&CLUSTER.to_string()), "{}", refused.message());
    let refused = hello(CLUSTER.0, 2).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("this is node 1"), "{}", refused.message());
    assert!(group.node(1).status().term < 1_000, "a refused vote raised the term");
    // The same message, rightly addressed, gets through: it is the envelope that kept the others out.
    hello(CLUSTER.0, 1).await.unwrap();
    group.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_node_under_its_old_id_does_not_count_towards_a_majority() {
    let mut group = Group::started(3).await;
    let leader = group.leader().await;
    let index = group.write("a", "1").await;
    let (wiped, third) = match leader {
        1 => (2, 3),
        2 => (1, 3),
        _ => (1, 2),
    };
    group.applied(wiped, index).await;
    group.applied(third, index).await;
    group.stop(wiped).await;
    std::fs::remove_dir_all(group.data_dir(wiped)).unwrap();
    group.start(wiped).await;
    let index = group.write("b", "2").await;
    group.applied(third, index).await;
    assert_eq!(*group.node(wiped).applied().borrow(), 0, "it was let in under its old id");

    group.stop(third).await;
    let answer = group.node(leader).propose(toy::put("c", "3"), Duration::from_secs(3)).await;
    assert!(matches!(answer, Err(ProposeError::Unknown { .. } | ProposeError::NotLeader { leader: None })), "it counted: {answer:?}");
    group.start(third).await;
    group.write("d", "4").await;
    assert_eq!(*group.node(wiped).applied().borrow(), 0);
    group.stop_all().await;
}
