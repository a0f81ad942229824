//! Snapshots: built the same everywhere, carried to another node in chunks, installed without touching local history.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use berth_raft::engine::{Disk, MemoryDisk};
use berth_raft::fatal::FatalKind;
use berth_raft::store::events::{EventLog, EventPosition};
use berth_raft::store::probe::{Point, Probe};
use berth_raft::store::snapshot::{SnapshotError, SnapshotHandle, Snapshots};
use berth_raft::store::{Store, open_on};
use openraft::storage::{RaftSnapshotBuilder, RaftStateMachine};
use tempfile::TempDir;

use crate::support::{
    CLUSTER, NODE, Toy, apply, block_on, check_usual_state, command, fill, log_id, on_both, open, open_probed, options, toy_at, usual,
    usual_event_indices,
};

pub async fn build(store: &mut Store<Toy>) -> SnapshotHandle {
    let mut builder = store.state.try_create_snapshot_builder(true).await.unwrap();
    builder.build_snapshot().await.unwrap().snapshot
}

/// Carries a snapshot and the events the receiver lacks, in small pieces, as the peer network does.
pub fn carry(snapshot: &SnapshotHandle, from: &EventLog, to: &Snapshots, have: &EventLog) -> Result<SnapshotHandle, SnapshotError> {
    let mut receiver = to.receive()?;
    loop {
        let chunk = snapshot.read_chunk(receiver.received(), 100).unwrap();
        if chunk.is_empty() {
            break;
        }
        receiver.write_chunk(receiver.received(), &chunk)?;
    }
    if let Some(head) = snapshot.manifest().head {
        let mut last = have.last_event();
        loop {
            let events = from.events_after(last.as_ref(), head.position(), 50).unwrap();
            let Some(end) = events.last() else { break };
            last = Some(end.head());
            receiver.write_events(&events)?;
        }
    }
    receiver.finish()
}

/// A store on memory with the usual entries up to an index.
pub async fn memory_store(to: Option<u64>) -> (TempDir, Store<Toy>) {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path(), &MemoryDisk::default()).unwrap();
    if let Some(to) = to {
        fill(&mut store, to).await;
    }
    (folder, store)
}

fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder.join("snapshots")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_snapshot_is_the_same_bytes_on_every_node_and_engine() {
    let all = std::sync::Mutex::new(Vec::new());
    on_both(|folder, disk| {
        block_on(async {
            let mut store = open(folder, disk).unwrap();
            fill(&mut store, 30).await;
            let snapshot = build(&mut store).await;
            all.lock().unwrap().push(fs::read(snapshot.path()).unwrap());
        });
    });
    let all = all.into_inner().unwrap();
    assert!(all[0] == all[1] && all[0].len() > 100);
}

#[test]
fn only_the_newest_snapshot_is_kept_and_an_open_one_stays_readable() {
    block_on(async {
        let (folder, mut store) = memory_store(Some(10)).await;
        let old = build(&mut store).await;
        let bytes = fs::read(old.path()).unwrap();
        assert_eq!(build(&mut store).await.path(), old.path(), "nothing was applied in between");
        apply(&mut store.state, (11..=20).map(|index| usual(1, index))).await;
        let new = build(&mut store).await;
        assert_eq!(files(folder.path()), [new.path().file_name().unwrap().to_str().unwrap()]);
        assert_eq!(old.read_chunk(0, usize::MAX).unwrap(), bytes);
    });
}

#[test]
fn a_snapshot_that_was_carried_over_makes_the_receiver_equal() {
    for behind in [None, Some(3), Some(12)] {
        on_both(|folder, disk| {
            block_on(async {
                let (_source_folder, mut source) = memory_store(Some(30)).await;
                let mut target = open(folder, disk).unwrap();
                if let Some(index) = behind {
                    fill(&mut target, index).await;
                }
                let snapshot = build(&mut source).await;
                let received = carry(&snapshot, &source.events, &target.snapshots, &target.events).unwrap();
                let (mut applied, mut heads) = (target.shared.applied(), target.shared.event_head());
                target.state.install_snapshot(&snapshot.manifest().meta(), received).await.unwrap();
                assert_eq!(check_usual_state(&target), Some(30));
                assert_eq!(*applied.borrow_and_update(), 30);
                assert_eq!(u64::from(heads.has_changed().unwrap()), 1);
                assert_eq!(*heads.borrow_and_update(), source.events.last_event().unwrap().index);
                assert_eq!(files(folder), [snapshot.path().file_name().unwrap().to_str().unwrap()]);
                apply(&mut target.state, [usual(1, 31)]).await;
                assert_eq!(check_usual_state(&target), Some(31));
            });
            block_on(async {
                assert_eq!(check_usual_state(&open(folder, disk).unwrap()), Some(31));
            });
        });
    }
}

#[test]
fn entries_applied_while_a_snapshot_is_on_its_way_keep_their_events() {
    block_on(async {
        let (_source_folder, mut source) = memory_store(Some(30)).await;
        let (_folder, mut target) = memory_store(Some(5)).await;
        let snapshot = build(&mut source).await;
        let received = carry(&snapshot, &source.events, &target.snapshots, &target.events).unwrap();
        apply(&mut target.state, (6..=15).map(|index| usual(1, index))).await;
        target.state.install_snapshot(&snapshot.manifest().meta(), received).await.unwrap();
        assert_eq!(check_usual_state(&target), Some(30));
    });
}

#[test]
fn a_node_whose_history_differs_refuses_the_snapshot_alarms_and_keeps_its_own() {
    block_on(async {
        let (_source_folder, mut source) = memory_store(Some(30)).await;
        let (folder, disk) = (tempfile::tempdir().unwrap(), MemoryDisk::default());
        let (options, causes) = options();
        let mut target = open_on::<Toy>(folder.path(), CLUSTER, NODE, &disk, options).unwrap();
        apply(&mut target.state, [usual(1, 0), command(1, 1, "put k1 other")]).await;
        let (before, mine) = (target.shared.standing(), target.events.events(0, 100).unwrap());
        let snapshot = build(&mut source).await;
        // The sender sees it first, if it is asked with the truth.
        let head = snapshot.manifest().head.unwrap();
        let error = source.events.events_after(target.events.last_event().as_ref(), head.position(), 100).unwrap_err().to_string();
        assert!(error.contains("event 1.0 differs") && error.contains("berth events"), "{error}");
        // And the receiver sees it by itself.
        let mut receiver = target.snapshots.receive().unwrap();
        receiver.write_chunk(0, &snapshot.read_chunk(0, usize::MAX).unwrap()).unwrap();
        receiver.write_events(&source.events.events_after(None, head.position(), usize::MAX).unwrap()).unwrap();
        let received = receiver.finish().unwrap();
        let error = target.state.install_snapshot(&snapshot.manifest().meta(), received).await.unwrap_err().to_string();
        assert!(error.contains("event 1.0 differs"), "{error}");
        let kinds: Vec<_> = causes.lock().unwrap().iter().map(|cause| (cause.kind, cause.kind.exit_code())).collect();
        assert_eq!(kinds, [(FatalKind::Diverged, 71)]);
        assert_eq!((target.shared.standing(), target.events.events(0, 100).unwrap()), (before, mine));
    });
}

#[test]
fn events_that_do_not_continue_the_local_hash_are_refused_even_if_the_sender_did_not_look() {
    block_on(async {
        let (_source_folder, mut source) = memory_store(Some(30)).await;
        let (folder, disk) = (tempfile::tempdir().unwrap(), MemoryDisk::default());
        let (options, causes) = options();
        let mut target = open_on::<Toy>(folder.path(), CLUSTER, NODE, &disk, options).unwrap();
        apply(&mut target.state, [usual(1, 0), command(1, 1, "put k1 other")]).await;
        let before = target.shared.standing();
        let snapshot = build(&mut source).await;
        let mut receiver = target.snapshots.receive().unwrap();
        receiver.write_chunk(0, &snapshot.read_chunk(0, usize::MAX).unwrap()).unwrap();
        // The sender's own event at the place where the receiver's log ends.
        let assumed = source.events.events(0, 1).unwrap()[0].head();
        assert_eq!(assumed.position(), before.head.unwrap().position());
        let end = snapshot.manifest().head.unwrap().position();
        receiver.write_events(&source.events.events_after(Some(&assumed), end, usize::MAX).unwrap()).unwrap();
        let received = receiver.finish().unwrap();
        let error = target.state.install_snapshot(&snapshot.manifest().meta(), received).await.unwrap_err().to_string();
        assert!(error.contains("event 2.0 differs"), "{error}");
        assert_eq!(causes.lock().unwrap()[0].kind, FatalKind::Diverged);
        assert_eq!(target.shared.standing(), before);
    });
}

#[test]
fn objects_of_an_install_that_failed_do_not_come_back_with_the_next() {
    let (folder, disk) = (tempfile::tempdir().unwrap(), MemoryDisk::default());
    block_on(async {
        let (_source_folder, mut source) = memory_store(Some(30)).await;
        let mut target = open(folder.path(), &disk).unwrap();
        fill(&mut target, 5).await;
        let snapshot = build(&mut source).await;
        assert!(target.state.install_snapshot(&snapshot.manifest().meta(), snapshot.clone()).await.is_err());
        apply(&mut source.state, (31..=45).map(|index| usual(1, index))).await;
        let newer = build(&mut source).await;
        assert!(toy_at(30).0.keys().any(|key| !toy_at(45).0.contains_key(key)), "the test needs an object that goes away");
        let received = carry(&newer, &source.events, &target.snapshots, &target.events).unwrap();
        target.state.install_snapshot(&newer.manifest().meta(), received).await.unwrap();
    });
    assert_eq!(check_usual_state(&open(folder.path(), &disk).unwrap()), Some(45));
}

#[test]
fn a_snapshot_without_its_events_is_refused_and_changes_nothing() {
    block_on(async {
        let (_source_folder, mut source) = memory_store(Some(30)).await;
        let (_folder, mut target) = memory_store(Some(5)).await;
        let snapshot = build(&mut source).await;
        let error = target.state.install_snapshot(&snapshot.manifest().meta(), snapshot.clone()).await.unwrap_err().to_string();
        assert!(error.contains("without the events after 5.0"), "{error}");
        assert_eq!(check_usual_state(&target), Some(5));
    });
}

#[test]
fn events_of_an_install_are_not_read_before_it_is_done() {
    let (folder, disk) = (tempfile::tempdir().unwrap(), MemoryDisk::default());
    let log: Arc<Mutex<Option<EventLog>>> = Arc::default();
    let seen: Arc<Mutex<Vec<usize>>> = Arc::default();
    let (reader, counts) = (log.clone(), seen.clone());
    let probe = Probe::new(move |point| {
        if let (Point::InstallBeforeFlip, Some(log)) = (point, &*reader.lock().unwrap()) {
            counts.lock().unwrap().push(log.events(0, usize::MAX).unwrap().len());
        }
    });
    block_on(async {
        let (_source_folder, mut source) = memory_store(Some(30)).await;
        let mut target = open_probed(folder.path(), &disk, probe).unwrap();
        fill(&mut target, 5).await;
        *log.lock().unwrap() = Some(target.events.clone());
        let snapshot = build(&mut source).await;
        let received = carry(&snapshot, &source.events, &target.snapshots, &target.events).unwrap();
        target.state.install_snapshot(&snapshot.manifest().meta(), received).await.unwrap();
    });
    assert_eq!(*seen.lock().unwrap(), [usual_event_indices(5).len()]);
}

#[test]
fn an_older_snapshot_cannot_replace_newer_state() {
    block_on(async {
        let (_source_folder, mut source) = memory_store(Some(10)).await;
        let (_folder, mut target) = memory_store(Some(20)).await;
        let snapshot = build(&mut source).await;
        assert!(target.state.install_snapshot(&snapshot.manifest().meta(), snapshot.clone()).await.is_err());
        assert_eq!(check_usual_state(&target), Some(20));
    });
}

#[test]
fn a_damaged_or_cut_transfer_never_becomes_a_snapshot() {
    block_on(async {
        let (_source_folder, mut source) = memory_store(Some(30)).await;
        let (folder, target) = memory_store(None).await;
        let snapshot = build(&mut source).await;
        let whole = snapshot.read_chunk(0, usize::MAX).unwrap();
        for at in (0..whole.len()).step_by(7) {
            let mut bad = whole.to_vec();
            bad[at] ^= 4;
            for bytes in [&bad[..], &whole[..at]] {
                let mut receiver = target.snapshots.receive().unwrap();
                receiver.write_chunk(0, bytes).unwrap();
                assert!(receiver.finish().is_err(), "byte {at}");
            }
        }
        let mut receiver = target.snapshots.receive().unwrap();
        receiver.write_chunk(0, &whole[..10]).unwrap();
        assert!(matches!(receiver.write_chunk(11, &whole[11..]), Err(SnapshotError::ChunkOutOfOrder { offset: 11, expected: 10 })));
        drop(receiver);
        assert_eq!(files(folder.path()), Vec::<String>::new(), "nothing is left behind");
    });
}

#[test]
fn events_out_of_order_are_refused_on_receipt() {
    block_on(async {
        let (_source_folder, source) = memory_store(Some(10)).await;
        let (_folder, target) = memory_store(None).await;
        let end = EventPosition { index: 10, seq: 9 };
        let events = source.events.events_after(None, end, usize::MAX).unwrap();
        let mut receiver = target.snapshots.receive().unwrap();
        receiver.write_events(&events[..2]).unwrap();
        assert!(matches!(receiver.write_events(&events[3..]), Err(SnapshotError::EventOutOfOrder { .. })));
        assert!(matches!(receiver.write_events(&events[..1]), Err(SnapshotError::EventOutOfOrder { .. })));
    });
}

#[test]
fn leftovers_are_removed_and_a_damaged_snapshot_is_set_aside_at_open() {
    let (folder, disk) = (tempfile::tempdir().unwrap(), MemoryDisk::default());
    block_on(async {
        let mut store = open(folder.path(), &disk).unwrap();
        fill(&mut store, 10).await;
        let snapshot = build(&mut store).await;
        let mut bytes = fs::read(snapshot.path()).unwrap();
        bytes[40] ^= 1;
        fs::write(snapshot.path(), bytes).unwrap();
    });
    for name in ["built-3.tmp", "received-0.tmp", "received-0.events"] {
        fs::write(folder.path().join("snapshots").join(name), b"half").unwrap();
    }
    let store = open(folder.path(), &disk as &dyn Disk).unwrap();
    assert!(store.snapshots.current().is_none());
    assert_eq!(files(folder.path()), [format!("{:020}-1-1.damaged", 10)]);
    assert_eq!(check_usual_state(&store), Some(10));
    assert_eq!(store.shared.standing().last, Some(log_id(1, 10)));
}
