//! Groups of control nodes on loopback: they elect, write, read, fail over and come back.
#![allow(clippy::unwrap_used, reason = "test")]
#![allow(clippy::disallowed_methods, reason = "tests bound their own waiting")]

mod node_support;

use std::time::Duration;

use berth_raft::node::propose::MAX_COMMAND_BYTES;
use berth_raft::node::{NodeError, ProposeError, ReadError};
use berth_raft::store::StoreError;
use berth_state::ids::ClusterId;
use node_support::{Group, eventually, toy};

const SECONDS: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_elect_and_a_write_is_applied_on_all_of_them() {
    let group = Group::started(3).await;
    let leader = group.leader().await;
    let index = group.write("a", "1").await;
    assert!(group.node(leader).read_index(SECONDS).await.unwrap() >= index);
    let too_large = toy::put("a", &"x".repeat(MAX_COMMAND_BYTES));
    assert!(matches!(group.node(leader).propose(too_large, SECONDS).await, Err(ProposeError::TooLarge { .. })));
    assert_eq!(group.value(leader, "a").as_deref(), Some("1"));
    for id in 1..=3 {
        group.applied(id, index).await;
        assert_eq!(group.value(id, "a").as_deref(), Some("1"));
        assert_eq!(group.history(id), group.history(leader));
        assert_eq!(group.node(id).last_event(), group.node(leader).last_event());
    }
    let status = group.node(leader).status();
    assert_eq!((status.role.as_str(), status.members.len(), status.has_quorum), ("leader", 3, true));
    group.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_writes_and_reads_nothing_and_names_the_leader() {
    let group = Group::started(3).await;
    let leader = group.leader().await;
    let index = group.write("a", "1").await;
    let follower = (1..=3).find(|id| *id != leader).unwrap();
    group.applied(follower, index).await;
    let named = Some((leader, group.addresses[&leader].clone()));
    let refused = group.node(follower).propose(toy::put("b", "2"), SECONDS).await.unwrap_err();
    assert_eq!(refused, ProposeError::NotLeader { leader: named.clone() });
    assert_eq!(group.node(follower).read_index(SECONDS).await.unwrap_err(), ReadError::NotLeader { leader: named });
    assert_eq!(group.node(follower).is_leader_ready(), None);
    assert_eq!(group.node(follower).leader().map(|(id, _)| id), Some(leader));
    let after = group.write("c", "3").await;
    assert_eq!((after, group.value(leader, "b")), (index + 1, None), "the refused write has left a trace");
    group.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_leader_dies_another_one_leads_and_the_dead_one_catches_up_when_it_is_back() {
    let mut group = Group::started(3).await;
    let first = group.leader().await;
    let term = group.node(first).is_leader_ready().unwrap();
    let index = group.write("a", "1").await;
    group.stop(first).await;
    let second = group.leader().await;
    assert_ne!(second, first);
    assert!(group.node(second).is_leader_ready().unwrap() > term);
    assert!(group.node(second).read_index(SECONDS).await.unwrap() > index, "the new leader's own first entry is above every earlier one");
    assert_eq!(group.value(second, "a").as_deref(), Some("1"), "an acknowledged write is lost");
    let later = group.write("b", "2").await;
    group.start(first).await;
    group.applied(first, later).await;
    assert_eq!(group.value(first, "b").as_deref(), Some("2"));
    assert_eq!(group.history(first), group.history(group.leader().await));
    group.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_of_one_leads_itself_and_keeps_its_data_over_a_restart() {
    let mut group = Group::started(1).await;
    group.write("a", "1").await;
    let before = (group.node(1).is_leader_ready().unwrap(), group.history(1));
    group.stop(1).await;
    group.start(1).await;
    group.write("b", "2").await;
    assert_eq!(group.value(1, "a").as_deref(), Some("1"));
    assert_eq!(group.history(1)[..1], before.1[..]);
    assert!(group.node(1).is_leader_ready().unwrap() > before.0, "a restarted leader must be elected anew");
    group.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_of_five_survives_two_dead_nodes() {
    let mut group = Group::started(5).await;
    group.write("a", "1").await;
    group.stop(1).await;
    group.write("b", "2").await;
    let leader = group.leader().await;
    group.stop(leader).await;
    group.write("c", "3").await;
    let leader = group.leader().await;
    assert_eq!(group.value(leader, "a").as_deref(), Some("1"));
    assert_eq!(group.node(leader).members().len(), 5);
    group.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leadership_can_be_handed_over() {
    let group = Group::started(3).await;
    let first = group.leader().await;
    let index = group.write("a", "1").await;
    let heir = (1..=3).find(|id| *id != first).unwrap();
    group.applied(heir, index).await;
    let mut watched = group.node(heir).watch_leadership();
    group.node(first).transfer_leader(heir).await.unwrap();
    eventually("the heir leads", || group.node(heir).is_leader_ready()).await;
    eventually("the watch says so", || {
        let now = watched.borrow_and_update();
        (now.ready && now.leader.as_ref().is_some_and(|(id, _)| *id == heir)).then_some(())
    })
    .await;
    eventually("the former leader knows", || group.node(first).is_leader_ready().is_none().then_some(())).await;
    group.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_existing_store_is_refused_under_another_name_or_address() {
    let mut group = Group::started(1).await;
    group.write("a", "1").await;
    group.stop(1).await;

    let mut moved = group.config(1);
    moved.advertise = "127.0.0.1:9".to_owned();
    moved.initial_members = Some("1=127.0.0.1:9".parse().unwrap());
    let error = group.start_with(moved).await.unwrap_err();
    assert!(matches!(&error, NodeError::Moved { id: 1, recorded, .. } if *recorded == group.addresses[&1]), "{error}");

    let mut foreign = group.config(1);
    foreign.cluster = ClusterId([1; 16]);
    assert!(matches!(group.start_with(foreign).await, Err(NodeError::Store(StoreError::ForeignCluster { .. }))));

    let mut other = group.config(1);
    other.id = 2;
    assert!(matches!(group.start_with(other).await, Err(NodeError::Store(StoreError::OtherNode { .. }))));

    // The list plays no part any more.
    let mut other_list = group.config(1);
    other_list.initial_members = Some("7=127.0.0.1:9".parse().unwrap());
    group.start_with(other_list).await.unwrap();
    group.leader().await;
    assert_eq!(group.value(1, "a").as_deref(), Some("1"));
    group.stop_all().await;
}
