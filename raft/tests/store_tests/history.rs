//! The event log checked on read: whatever is done to a stored event, the first read over it says so and names the place.

use berth_raft::engine::{Batch, Disk, Engine, Family, Half};
use berth_raft::store::events::{EventPosition, StoredEvent, chain};
use berth_raft::store::{Store, StoreError};
use std::path::Path;

use crate::support::{Toy, block_on, fill, on_both, open};

fn key(index: u64, seq: u32) -> Vec<u8> {
    [&index.to_be_bytes()[..], &seq.to_be_bytes()].concat()
}

fn make(folder: &Path, disk: &dyn Disk) {
    let mut store = open(folder, disk).unwrap();
    block_on(fill(&mut store, 13));
}

fn value(disk: &dyn Disk, key: &[u8]) -> Vec<u8> {
    disk.open(Half::State, false).unwrap().get(Family::Events, key).unwrap().unwrap()
}

/// Changes the stored events of a closed store, then opens it.
fn after(folder: &Path, disk: &dyn Disk, change: impl FnOnce(&mut Batch)) -> Store<Toy> {
    {
        let engine = disk.open(Half::State, false).unwrap();
        let mut batch = Batch::new();
        change(&mut batch);
        engine.write(batch).unwrap();
        engine.sync().unwrap();
    }
    open(folder, disk).unwrap()
}

#[track_caller]
fn damaged_at(store: &Store<Toy>, after: u64, limit: usize, index: u64) {
    let error = store.events.checked(after, limit).unwrap_err();
    assert!(matches!(error, StoreError::DamagedEvents { index: at, .. } if at == index), "{error}");
}

/// The number that the command line's own verifier has in a test too: two programs, one definition.
#[test]
fn the_rolling_hash_is_what_it_always_was() {
    let StoredEvent { hash, .. } = chain(None, EventPosition { index: 1, seq: 0 }, "event".into());
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, "3492443a62f09cd0d90677536f051f2f9ab164a6ca72f72e490b2a632a38c551");
}

#[test]
fn parts_of_a_whole_history_join_by_their_hashes() {
    on_both(|folder, disk| {
        make(folder, disk);
        let store = open(folder, disk).unwrap();
        let (mut at, mut before, mut count) = (0, [0; 32], 0);
        loop {
            let part = store.events.checked(at, 2).unwrap();
            let Some(last) = part.events.last() else { break };
            assert_eq!(part.before, before);
            (at, before) = (last.position.index, last.hash);
            count += part.events.len();
        }
        assert_eq!(Some(before), store.events.last_event().map(|head| head.hash));
        assert_eq!(count, store.events.events(0, usize::MAX).unwrap().len());
    });
}

#[test]
fn a_changed_event_is_an_error_of_every_read_over_it_and_of_no_other() {
    on_both(|folder, disk| {
        make(folder, disk);
        let mut changed = value(disk, &key(4, 0));
        *changed.last_mut().unwrap() ^= 1;
        let store = after(folder, disk, |batch| batch.put(Family::Events, key(4, 0), changed));
        for from in 0..4 {
            damaged_at(&store, from, usize::MAX, 4);
        }
        assert!(!store.events.checked(0, 2).unwrap().events.is_empty(), "what is before it can be read");
        assert!(!store.events.checked(4, usize::MAX).unwrap().events.is_empty(), "and what is after it");
    });
}

#[test]
fn a_removed_an_added_and_two_swapped_events_are_errors() {
    on_both(|folder, disk| {
        make(folder, disk);
        let (third, fourth) = (value(disk, &key(3, 0)), value(disk, &key(4, 0)));
        let store = after(folder, disk, |batch| batch.delete(Family::Events, key(4, 0)));
        damaged_at(&store, 0, usize::MAX, 5);
        damaged_at(&store, 3, usize::MAX, 5);
        drop(store);
        let (put_back, doubled) = (fourth.clone(), fourth.clone());
        let store = after(folder, disk, |batch| {
            batch.put(Family::Events, key(4, 0), put_back);
            batch.put(Family::Events, key(4, 1), doubled);
        });
        damaged_at(&store, 0, usize::MAX, 4);
        drop(store);
        let store = after(folder, disk, |batch| {
            batch.delete(Family::Events, key(4, 1));
            batch.put(Family::Events, key(3, 0), fourth);
            batch.put(Family::Events, key(4, 0), third);
        });
        damaged_at(&store, 0, usize::MAX, 3);
    });
}

/// The head is kept apart from the events, and moves while the log is open: what the store does not notice at open, a read does.
#[test]
fn an_event_that_is_missing_at_the_end_is_an_error_and_not_a_shorter_history() {
    let disk = berth_raft::engine::MemoryDisk::default();
    let folder = tempfile::tempdir().unwrap();
    make(folder.path(), &disk);
    let store = open(folder.path(), &disk).unwrap();
    let head = store.events.last_event().unwrap();
    let mut batch = Batch::new();
    batch.delete(Family::Events, key(head.index, head.seq));
    disk.engine(Half::State).unwrap().write(batch).unwrap();
    damaged_at(&store, 0, usize::MAX, head.index);
    damaged_at(&store, head.index - 1, usize::MAX, head.index);
    assert!(!store.events.checked(0, 2).unwrap().events.is_empty());
}
