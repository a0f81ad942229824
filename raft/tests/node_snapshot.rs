//! A follower that is behind a purge gets a snapshot over gRPC, and its event log stays whole.
#![allow(clippy::unwrap_used, reason = "test")]
#![allow(clippy::disallowed_methods, reason = "tests bound their own waiting")]

mod node_support;

use berth_raft::node::Compaction;
use node_support::{Group, eventually};

async fn small_log(size: u64) -> Group {
    let mut group = Group::new(size).await;
    group.compaction = Compaction { snapshot_every: 40, keep_entries: 5 };
    group
}

/// Writes until the log of all running nodes no longer reaches back to `index`.
async fn write_past(group: &Group, round: &str, index: u64) -> u64 {
    let mut last = 0;
    for n in 0..120 {
        last = group.write(&format!("{round}-{n}"), &"x".repeat(2_000)).await;
    }
    for id in group.running.keys() {
        group.applied(*id, last).await;
        eventually(&format!("node {id} purges beyond {index}"), || (group.node(*id).status().purged_index > index).then_some(())).await;
    }
    last
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_behind_a_purge_gets_a_snapshot_and_only_the_events_it_lacks() {
    let mut group = small_log(3).await;
    for id in 1..=3 {
        group.start(id).await;
    }
    let leader = group.leader().await;
    let away = (1..=3).find(|id| *id != leader).unwrap();
    let mut before = 0;
    // One key: long history, small state.
    for n in 0..30 {
        before = group.write("same", &format!("{n}{}", "x".repeat(100_000))).await;
    }
    group.applied(away, before).await;
    let seen = group.history(away);
    group.stop(away).await;

    let last = write_past(&group, "while-away", before).await;
    let carried = group.wires.carried();
    group.start(away).await;
    group.applied(away, last).await;
    let carried = group.wires.carried() - carried;

    let leader = group.leader().await;
    assert!(group.node(away).status().snapshot_index > before, "it came by log entries, which were purged");
    assert!(carried < 2_000_000, "{carried} bytes: it was sent the 3 MB of events that it had");
    let history = group.history(away);
    assert_eq!(history[..seen.len()], seen[..], "events it had were changed");
    assert_eq!(history, group.history(leader), "a gap, or a difference");
    assert_eq!(group.node(away).last_event(), group.node(leader).last_event());
    assert!(group.node(away).event_log().verify(0, u64::MAX).unwrap().is_some());
    assert_eq!(group.value(away, "while-away-119"), group.value(leader, "while-away-119"));
    let after = group.write("after", "2").await;
    group.applied(away, after).await;
    group.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_starts_after_the_first_purge_gets_the_whole_history() {
    let mut group = small_log(3).await;
    group.start(1).await;
    group.start(2).await;
    let first = group.write("first", "1").await;
    let last = write_past(&group, "alone", first).await;
    group.start(3).await;
    group.applied(3, last).await;
    let leader = group.leader().await;
    assert_eq!(group.history(3), group.history(leader));
    assert_eq!(group.history(3).first().map(|event| event.0), Some(first));
    assert_eq!(group.node(3).members().len(), 3);
    group.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_that_breaks_off_changes_nothing_and_is_sent_again() {
    let mut group = small_log(3).await;
    group.start(1).await;
    group.start(2).await;
    let first = group.write("first", "1").await;
    for n in 0..20 {
        group.write(&format!("large-{n}"), &"x".repeat(200_000)).await;
    }
    let last = write_past(&group, "alone", first).await;
    // The snapshot is of more than 4 MB.
    group.wires.limit(3, Some(1_500_000));
    group.start(3).await;
    eventually("three transfers break off", || (group.wires.ended_at_limit() >= 3).then_some(())).await;
    assert_eq!((group.history(3), *group.node(3).applied().borrow()), (Vec::new(), 0), "part of a transfer was used");
    group.wires.limit(3, None);
    group.applied(3, last).await;
    assert_eq!(group.history(3), group.history(group.leader().await));
    let left: Vec<_> = std::fs::read_dir(group.data_dir(3).join("snapshots")).unwrap().map(|f| f.unwrap().file_name()).collect();
    assert_eq!(left.len(), 1, "transfers left something behind: {left:?}");
    group.stop_all().await;
}
