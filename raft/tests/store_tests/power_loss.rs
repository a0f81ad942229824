//! Power loss at every point of building a snapshot, purging and installing, with every possible rest of what was not synced: there must always be
//! the old state or the new one, whole, with all its history.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

use berth_raft::engine::{Direction, Engine, Family, Half, MemoryDisk, Span};
use berth_raft::store::probe::{Point, Probe};
use openraft::storage::{RaftLogStorage, RaftStateMachine};
use tempfile::TempDir;

use crate::snapshots::{build, carry, memory_store};
use crate::support::{block_on, check_usual_state, copy_folder, fill, indices, log_id, open, open_probed, toy_at, usual_event_indices};

/// The folder and both engines as a power loss at a point would leave them.
struct Picture {
    point: Point,
    folder: TempDir,
    disk: MemoryDisk,
}

/// A probe that takes pictures, once told to.
fn camera(folder: &TempDir, disk: &MemoryDisk) -> (Probe, Arc<Mutex<Option<Vec<Picture>>>>) {
    let pictures: Arc<Mutex<Option<Vec<Picture>>>> = Arc::default();
    let (album, from, disk) = (pictures.clone(), folder.path().to_owned(), disk.clone());
    let probe = Probe::new(move |point| {
        let mut album = album.lock().unwrap();
        let Some(album) = album.as_mut() else { return };
        let unsynced = |half| disk.engine(half).unwrap().unsynced();
        for kept in 0..=unsynced(Half::State).max(unsynced(Half::Raft)) {
            let folder = tempfile::tempdir().unwrap();
            copy_folder(&from, folder.path());
            album.push(Picture { point, folder, disk: crate::support::after_power_loss(&disk, kept) });
        }
    });
    (probe, pictures)
}

fn rows(disk: &MemoryDisk, family: Family) -> usize {
    let mut rows = 0;
    let mut count = |_: &[u8], _: &[u8]| {
        rows += 1;
        ControlFlow::Continue(())
    };
    disk.engine(Half::State).unwrap().scan(family, &Span::all(), Direction::Forward, &mut count).unwrap();
    rows
}

#[test]
fn power_loss_anywhere_in_an_install_leaves_the_old_state_or_the_new() {
    let (folder, disk) = (tempfile::tempdir().unwrap(), MemoryDisk::default());
    let (probe, pictures) = camera(&folder, &disk);
    block_on(async {
        let (_source_folder, mut source) = memory_store(Some(30)).await;
        let snapshot = build(&mut source).await;
        let mut target = open_probed(folder.path(), &disk, probe).unwrap();
        fill(&mut target, 5).await;
        // So that the old state is there at all.
        build(&mut target).await;
        let received = carry(&snapshot, &source.events, &target.snapshots, &target.events).unwrap();
        *pictures.lock().unwrap() = Some(Vec::new());
        target.state.install_snapshot(&snapshot.manifest().meta(), received).await.unwrap();
    });
    let pictures = pictures.lock().unwrap().take().unwrap();
    let mut found = BTreeSet::new();
    for Picture { point, folder, disk } in &pictures {
        let mut store = open(folder.path(), disk).unwrap_or_else(|e| panic!("at {point:?}: {e}"));
        let index = check_usual_state(&store).unwrap();
        assert!(index == 5 || index == 30, "at {point:?}: {index}");
        assert!(index == 30 || *point <= Point::InstallAfterFlip, "at {point:?} the install was already durable");
        assert_eq!(rows(disk, Family::State), toy_at(index).0.len(), "leftover objects at {point:?}");
        assert_eq!(rows(disk, Family::Events), usual_event_indices(index).len(), "leftover events at {point:?}");
        found.insert((*point >= Point::InstallAfterFlip, index));
        // Whatever it is, a second try must work.
        if index == 5 {
            block_on(async {
                let (_source_folder, mut source) = memory_store(Some(30)).await;
                let snapshot = build(&mut source).await;
                let received = carry(&snapshot, &source.events, &store.snapshots, &store.events).unwrap();
                store.state.install_snapshot(&snapshot.manifest().meta(), received).await.unwrap();
                assert_eq!(check_usual_state(&store), Some(30));
            });
        }
    }
    assert!(found.contains(&(false, 5)) && found.contains(&(true, 5)) && found.contains(&(true, 30)), "{found:?}");
}

#[test]
fn power_loss_anywhere_in_a_build_and_purge_loses_nothing() {
    let (folder, disk) = (tempfile::tempdir().unwrap(), MemoryDisk::default());
    let (probe, pictures) = camera(&folder, &disk);
    block_on(async {
        let mut store = open_probed(folder.path(), &disk, probe).unwrap();
        fill(&mut store, 20).await;
        *pictures.lock().unwrap() = Some(Vec::new());
        build(&mut store).await;
        store.log.purge(log_id(1, 18)).await.unwrap();
        store.log.save_vote(&crate::support::vote(2)).await.unwrap();
    });
    let pictures = pictures.lock().unwrap().take().unwrap();
    let points: BTreeSet<Point> = pictures.iter().map(|picture| picture.point).collect();
    assert!(points.contains(&Point::SnapshotAfterRename) && points.contains(&Point::LogAfterSync), "{points:?}");
    for Picture { point, folder, disk } in &pictures {
        let mut store = open(folder.path(), disk).unwrap_or_else(|e| panic!("at {point:?}: {e}"));
        let applied = check_usual_state(&store);
        let log = block_on(indices(&mut store.log));
        // State and log together still have every entry.
        let reachable = applied.map_or(0, |index| index + 1);
        assert!(log.first().is_some_and(|first| *first <= reachable) && log.last() == Some(&20), "at {point:?}: {applied:?}, {log:?}");
        if let Some(snapshot) = store.snapshots.current() {
            assert_eq!(snapshot.manifest().last, Some(log_id(1, 20)));
            assert_eq!(applied, Some(20), "at {point:?}");
        }
    }
}
