//! What is promised when, and what a power loss or a failing disk may do to it. On the memory engine, which knows what was synced.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use berth_raft::engine::memory::MemoryEngine;
use berth_raft::engine::{Half, MemoryDisk};
use berth_raft::fatal::FatalKind;
use berth_raft::store::open_on;
use futures::FutureExt;
use openraft::storage::RaftLogStorage;
use tempfile::TempDir;

use crate::support::{
    CLUSTER, NODE, Toy, after_power_loss, append, append_unwaited, apply, block_on, check_usual_state, copy_folder, fill, indices, log_id,
    open, options, read_vote, usual, vote,
};

/// Polls until a condition holds; fails after ten seconds.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..10_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("{what} did not happen in ten seconds");
}

fn raft_half(disk: &MemoryDisk) -> Arc<MemoryEngine> {
    disk.engine(Half::Raft).unwrap()
}

/// Holds syncs back until dropped; so a failing test ends instead of waiting for its own disk.
struct Hold(Arc<MemoryEngine>);

impl Hold {
    fn on(disk: &MemoryDisk) -> Self {
        raft_half(disk).hold_syncs();
        Self(raft_half(disk))
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.release_syncs();
    }
}

/// Opens what a power loss now would leave, in a copy of the folder.
fn reopened(folder: &TempDir, disk: &MemoryDisk, kept: usize) -> (TempDir, berth_raft::store::Store<Toy>) {
    let copy = tempfile::tempdir().unwrap();
    copy_folder(folder.path(), copy.path());
    let store = open(copy.path(), &after_power_loss(disk, kept)).unwrap();
    (copy, store)
}

#[test]
fn an_append_is_readable_at_once_and_acknowledged_only_after_the_sync() {
    let (folder, disk) = (tempfile::tempdir().unwrap(), MemoryDisk::default());
    block_on(async {
        let mut store = open(folder.path(), &disk).unwrap();
        store.log.save_vote(&vote(1)).await.unwrap();
        let hold = Hold::on(&disk);
        let mut acknowledged = append_unwaited(&mut store.log, usual(1, 0)).await;
        assert_eq!(indices(&mut store.log).await, [0]);
        until("the sync", || raft_half(&disk).waiting_syncs() == 1).await;
        assert!((&mut acknowledged).now_or_never().is_none(), "acknowledged while the sync was still under way");
        drop(hold);
        acknowledged.await.unwrap().unwrap();
        assert_eq!(raft_half(&disk).unsynced(), 0);
    });
}

#[test]
fn appends_that_arrive_during_a_sync_share_the_next_one() {
    let (folder, disk) = (tempfile::tempdir().unwrap(), MemoryDisk::default());
    block_on(async {
        let mut store = open(folder.path(), &disk).unwrap();
        store.log.save_vote(&vote(1)).await.unwrap();
        let hold = Hold::on(&disk);
        let before = raft_half(&disk).syncs();
        let mut waiting = vec![append_unwaited(&mut store.log, usual(1, 0)).await];
        until("the sync", || raft_half(&disk).waiting_syncs() == 1).await;
        for index in 1..100 {
            waiting.push(append_unwaited(&mut store.log, usual(1, index)).await);
        }
        drop(hold);
        for acknowledged in waiting {
            acknowledged.await.unwrap().unwrap();
        }
        assert_eq!(raft_half(&disk).syncs() - before, 2);
    });
}

#[test]
fn power_loss_takes_no_acknowledged_entry_and_leaves_no_hole() {
    let (folder, disk) = (tempfile::tempdir().unwrap(), MemoryDisk::default());
    block_on(async {
        let mut store = open(folder.path(), &disk).unwrap();
        fill(&mut store, 9).await;
        let hold = Hold::on(&disk);
        let mut waiting = Vec::new();
        for index in 10..15 {
            waiting.push(append_unwaited(&mut store.log, usual(1, index)).await);
        }
        assert_eq!(raft_half(&disk).unsynced(), 5);
        for kept in 0..=5 {
            let (_copy, mut store) = reopened(&folder, &disk, kept);
            assert_eq!(indices(&mut store.log).await, (0..10 + kept as u64).collect::<Vec<_>>());
        }
        drop(hold);
    });
}

#[test]
fn a_saved_vote_is_never_lost_and_an_unsaved_one_is_never_promised() {
    let (folder, disk) = (tempfile::tempdir().unwrap(), MemoryDisk::default());
    block_on(async {
        let mut store = open(folder.path(), &disk).unwrap();
        store.log.save_vote(&vote(5)).await.unwrap();
        let (_copy, mut again) = reopened(&folder, &disk, 0);
        assert_eq!(read_vote(&mut again.log).await, Some(vote(5)));
        let hold = Hold::on(&disk);
        {
            let next = vote(6);
            let mut saving = Box::pin(store.log.save_vote(&next));
            assert!((&mut saving).now_or_never().is_none());
            until("the sync", || raft_half(&disk).waiting_syncs() == 1).await;
            assert!((&mut saving).now_or_never().is_none(), "a vote was promised before its sync");
            for (kept, term) in [(0, 5), (1, 6)] {
                let (_copy, mut again) = reopened(&folder, &disk, kept);
                assert_eq!(read_vote(&mut again.log).await, Some(vote(term)));
            }
            drop(hold);
            saving.await.unwrap();
        }
        let (_copy, mut again) = reopened(&folder, &disk, 0);
        assert_eq!(read_vote(&mut again.log).await, Some(vote(6)));
    });
}

#[test]
fn a_failed_sync_is_fatal_and_completes_nothing() {
    let (folder, disk) = (tempfile::tempdir().unwrap(), MemoryDisk::default());
    block_on(async {
        let (options, causes) = options();
        let mut store = open_on::<Toy>(folder.path(), CLUSTER, NODE, &disk, options).unwrap();
        append(&mut store.log, [usual(1, 0)]).await;
        let syncs = raft_half(&disk).syncs();
        raft_half(&disk).fail_syncs();
        let acknowledged = append_unwaited(&mut store.log, usual(1, 1)).await;
        // The sender was dropped: neither a yes nor a no.
        assert!(acknowledged.await.is_err());
        assert!(store.log.save_vote(&vote(2)).await.is_err());
        let causes = causes.lock().unwrap_or_else(PoisonError::into_inner);
        assert_eq!(causes.len(), 1, "a failed sync is not tried again: {causes:?}");
        assert_eq!((causes[0].kind, causes[0].kind.exit_code()), (FatalKind::DurableWrite, 70));
        assert!(causes[0].error.contains("cannot sync raft"), "{causes:?}");
        assert_eq!(raft_half(&disk).syncs(), syncs);
    });
}

#[test]
fn a_failed_write_is_fatal_in_log_and_state() {
    let (folder, disk) = (tempfile::tempdir().unwrap(), MemoryDisk::default());
    block_on(async {
        let (options, causes) = options();
        let mut store = open_on::<Toy>(folder.path(), CLUSTER, NODE, &disk, options).unwrap();
        raft_half(&disk).fail_writes();
        assert!(store.log.save_vote(&vote(2)).await.is_err());
        disk.engine(Half::State).unwrap().fail_writes();
        let entry = futures::stream::iter([Ok((usual(1, 1), None))]);
        assert!(openraft::storage::RaftStateMachine::apply(&mut store.state, entry).await.is_err());
        let during: Vec<_> = causes.lock().unwrap().iter().map(|cause| cause.during).collect();
        assert_eq!(during, ["saving the vote", "applying entries"]);
    });
}

#[test]
fn state_lost_with_the_power_comes_back_from_the_log() {
    let (folder, disk) = (tempfile::tempdir().unwrap(), MemoryDisk::default());
    block_on(async {
        let mut store = open(folder.path(), &disk).unwrap();
        fill(&mut store, 20).await;
        apply(&mut store.state, [command_at_21()]).await;
        let head = store.events.last_event();
        // Nothing synced the state.
        let (_copy, mut again) = reopened(&folder, &disk, 0);
        assert_eq!(check_usual_state(&again), None);
        apply(&mut again.state, (0..=20).map(|index| usual(1, index))).await;
        apply(&mut again.state, [command_at_21()]).await;
        assert_eq!(again.events.last_event(), head, "the same entries make the same history");
    });
}

fn command_at_21() -> berth_raft::types::Entry {
    crate::support::command(1, 21, "put again same")
}

#[test]
fn a_purge_first_makes_the_state_durable() {
    let (folder, disk) = (tempfile::tempdir().unwrap(), MemoryDisk::default());
    block_on(async {
        let mut store = open(folder.path(), &disk).unwrap();
        fill(&mut store, 20).await;
        let state = disk.engine(Half::State).unwrap();
        assert!(state.unsynced() > 0, "the test needs state that is not on disk");
        store.log.purge(log_id(1, 15)).await.unwrap();
        assert_eq!(state.unsynced(), 0);
        for kept in 0..=raft_half(&disk).unsynced() {
            let (_copy, again) = reopened(&folder, &disk, kept);
            assert_eq!(check_usual_state(&again), Some(20));
        }
    });
}
