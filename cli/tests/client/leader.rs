//! The way to the leader: redirects, dead endpoints, elections; and that no try has another request id.

use std::collections::BTreeSet;

use crate::fake::{Fake, Mood};
use crate::run::berth;
use crate::world::small;

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_sends_the_client_to_the_leader() {
    let leader = small().await;
    let follower = Fake::start().await;
    follower.mood(Mood::NotLeader(Some(leader.address)));
    berth(follower.address, &["host", "cordon", "h1"]).await.must(0, &[]);
    assert_eq!(leader.with().writes.len(), 1);
    let ids: BTreeSet<_> =
        [&leader, &follower].iter().flat_map(|f| f.with().writes.iter().map(|w| w.request_id.clone()).collect::<Vec<_>>()).collect();
    assert_eq!(ids.len(), 1, "the redirected write has the id of the first try");
    let ps = berth(follower.address, &["ps", "-o", "json"]).await.json();
    assert_eq!(ps[0]["container"], "db");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_that_name_each_other_do_not_keep_the_client() {
    let (a, b) = (Fake::start().await, Fake::start().await);
    a.mood(Mood::NotLeader(Some(b.address)));
    b.mood(Mood::NotLeader(Some(a.address)));
    berth(a.address, &["ps", "--timeout", "500ms"]).await.must(5, &["no node leads"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_cannot_be_reached_is_given_up_for_the_next_election() {
    let fake = small().await;
    // Names a dead leader, then leads itself.
    fake.next([Mood::NotLeader(Some("127.0.0.1:1".parse().unwrap())), Mood::NoQuorum]);
    berth(fake.address, &["host", "cordon", "h1"]).await.must(0, &[]);
    assert_eq!(fake.with().writes.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_endpoints_are_passed_over() {
    let fake = small().await;
    let endpoints = format!("127.0.0.1:1,{},127.0.0.1:2", fake.address);
    berth(&endpoints, &["ps"]).await.must(0, &[]);
    berth(&endpoints, &["host", "cordon", "h1"]).await.must(0, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_whose_answer_was_lost_is_asked_again_under_the_same_id_and_done_once() {
    for mood in [Mood::DoneAndLost, Mood::DoneAndUnknown] {
        let fake = small().await;
        fake.next([mood]);
        berth(fake.address, &["host", "add", "h3"]).await.must(0, &["host h3 added"]);
        let inner = fake.with();
        assert_eq!(inner.writes.len(), 2);
        assert_eq!(inner.writes[0].request_id, inner.writes[1].request_id);
        assert_eq!(inner.writes[0].order, inner.writes[1].order);
        // Without the id the second try would have been refused: h3 exists.
        assert_eq!(inner.events.iter().filter(|e| e.fact.kind() == "HostAdded").count(), 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_never_arrived_is_done_by_the_retry() {
    let fake = small().await;
    fake.next([Mood::Lost]);
    berth(fake.address, &["host", "add", "h3"]).await.must(0, &[]);
    let inner = fake.with();
    assert_eq!((inner.writes.len(), inner.writes[0].request_id == inner.writes[1].request_id), (2, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_commands_have_two_ids_and_say_who_asked() {
    let fake = small().await;
    berth(fake.address, &["host", "cordon", "h1"]).await.must(0, &[]);
    berth(fake.address, &["host", "uncordon", "h1"]).await.must(0, &[]);
    let inner = fake.with();
    assert_ne!(inner.writes[0].request_id, inner.writes[1].request_id);
    assert!(inner.writes[0].actor.starts_with("tester@"), "{}", inner.writes[0].actor);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_up_at_once_leaves_a_write_unknown_and_a_read_an_error() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    berth(address, &["host", "cordon", "h1", "--timeout", "500ms"]).await.must(6, &["--request-id"]);
    berth(address, &["ps", "--timeout", "500ms"]).await.must(1, &[]);
}
