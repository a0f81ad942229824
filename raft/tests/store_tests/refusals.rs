//! What a store refuses to open on, and what it says. Each refusal must name the thing and say what to do.

use std::fs;
use std::path::Path;

use berth_raft::engine::{Batch, Disk, Family, Half, MemoryDisk, RocksDisk};
use berth_raft::store::codec::{encode_entry, index_key, log_id_to_pb, seal, vote_to_pb};
use berth_raft::store::identity::DISK_FORMAT;
use berth_raft::store::{StoreError, open_on};
use berth_state::ids::ClusterId;
use openraft::storage::{RaftLogStorage, RaftSnapshotBuilder, RaftStateMachine};

use crate::support::{CLUSTER, NODE, Toy, block_on, copy_folder, fill, log_id, on_both, open, options, usual, vote};

/// The text of a refusal, with all its parts.
fn refusal(folder: &Path, disk: &dyn Disk, cluster: ClusterId, node: u64) -> String {
    let opened = open_on::<Toy>(folder, cluster, node, disk, options().0);
    opened.err().expect("the store opened").to_string()
}

fn assert_says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{text:?} does not say {part:?}");
    }
}

fn make(folder: &Path, disk: &dyn Disk) {
    block_on(async { fill(&mut open(folder, disk).unwrap(), 10).await });
}

/// Writes behind the store's back.
fn tamper(disk: &dyn Disk, half: Half, change: impl FnOnce(&mut Batch)) {
    let engine = disk.open(half, false).unwrap();
    let mut batch = Batch::new();
    change(&mut batch);
    engine.write(batch).unwrap();
    engine.sync().unwrap();
}

#[test]
fn another_clusters_or_another_nodes_folder_is_refused() {
    on_both(|folder, disk| {
        make(folder, disk);
        let text = refusal(folder, disk, ClusterId([9; 16]), NODE);
        assert_says(&text, &["belongs to cluster 0707", "configured for cluster 0909", "fix the cluster id"]);
        let text = refusal(folder, disk, CLUSTER, 2);
        assert_says(&text, &["belongs to node 1", "configured as node 2", "fix the node id"]);
        open(folder, disk).unwrap();
    });
}

#[test]
fn a_newer_format_is_refused_and_names_both() {
    on_both(|folder, disk| {
        make(folder, disk);
        let path = folder.join("identity");
        let bytes = fs::read(&path).unwrap();
        // The first field of the message is the format: tag 8, then the number.
        let mut body = bytes[8..bytes.len() - 32].to_vec();
        assert_eq!((body[0], u32::from(body[1])), (8, DISK_FORMAT));
        body[1] = 99;
        let hash = sha2::Digest::finalize(<sha2::Sha256 as sha2::Digest>::new_with_prefix(&body));
        fs::write(&path, [&bytes[..8], &body, &hash[..]].concat()).unwrap();
        assert_says(&refusal(folder, disk, CLUSTER, NODE), &["disk format 99", "reads up to 1", "start the newer program"]);
    });
}

#[test]
fn a_damaged_identity_is_refused_at_every_byte() {
    let (folder, disk) = (tempfile::tempdir().unwrap(), MemoryDisk::default());
    make(folder.path(), &disk);
    let path = folder.path().join("identity");
    let good = fs::read(&path).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(&path, bad).unwrap();
        assert_says(&refusal(folder.path(), &disk, CLUSTER, NODE), &["identity is damaged", "new node id"]);
        fs::write(&path, &good[..at]).unwrap();
        assert_says(&refusal(folder.path(), &disk, CLUSTER, NODE), &["identity is damaged", "copy of this very node"]);
    }
    fs::write(&path, good).unwrap();
    open(folder.path(), &disk).unwrap();
}

#[test]
fn data_without_its_identity_is_refused() {
    on_both(|folder, disk| {
        make(folder, disk);
        fs::remove_file(folder.join("identity")).unwrap();
        assert_says(&refusal(folder, disk, CLUSTER, NODE), &["identity is missing", "data beside it", "as a learner"]);
    });
}

#[test]
fn a_creation_that_was_cut_off_is_done_again() {
    on_both(|folder, disk| {
        drop(open(folder, disk).unwrap());
        // As if the process had died just before its last step.
        fs::remove_file(folder.join("identity")).unwrap();
        make(folder, disk);
    });
}

#[test]
fn half_a_store_is_refused() {
    for half in ["raft", "state"] {
        let folder = tempfile::tempdir().unwrap();
        let disk = RocksDisk::new(folder.path());
        make(folder.path(), &disk);
        fs::rename(folder.path().join(half), folder.path().join("elsewhere")).unwrap();
        let text = refusal(folder.path(), &disk, CLUSTER, NODE);
        assert_says(&text, &[half, "is missing", "half of this node's data", "not mounted", "new node id"]);
        assert!(!folder.path().join(half).exists(), "a refusal must not create anything");
    }
}

#[test]
fn a_half_of_another_store_is_refused() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for folder in [&one, &two] {
        make(folder.path(), &RocksDisk::new(folder.path()));
    }
    fs::remove_dir_all(one.path().join("state")).unwrap();
    copy_folder(&two.path().join("state"), &one.path().join("state"));
    let text = refusal(one.path(), &RocksDisk::new(one.path()), CLUSTER, NODE);
    assert_says(&text, &["state does not belong", "mixed", "Put the right folder back"]);
}

#[test]
fn a_folder_that_cannot_be_a_database_is_refused_with_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let disk = RocksDisk::new(folder.path());
    make(folder.path(), &disk);
    let manifest = fs::read_dir(folder.path().join("raft")).unwrap().map(|entry| entry.unwrap().path());
    for file in manifest.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("MANIFEST")) {
        fs::write(file, b"nonsense that is no manifest").unwrap();
    }
    let text = refusal(folder.path(), &disk, CLUSTER, NODE);
    assert_says(&text, &["raft is damaged", "do not delete single files", "new node id"]);
}

#[test]
fn a_rocksdb_in_use_is_refused_with_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let disk = RocksDisk::new(folder.path());
    let _first = disk.open(Half::Raft, true).unwrap();
    let text = disk.open(Half::Raft, false).err().unwrap().to_string();
    assert_says(&text, &["raft is open in another process", "Stop that one"]);
}

#[test]
fn a_log_with_a_hole_is_refused() {
    on_both(|folder, disk| {
        make(folder, disk);
        tamper(disk, Half::Raft, |batch| batch.delete(Family::Log, index_key(4)));
        assert_says(&refusal(folder, disk, CLUSTER, NODE), &["raft is damaged", "entry 4 is missing", "new node id"]);
    });
}

#[test]
fn a_log_that_does_not_begin_after_its_purge_is_refused() {
    on_both(|folder, disk| {
        make(folder, disk);
        tamper(disk, Half::Raft, |batch| batch.delete(Family::Log, index_key(0)));
        assert_says(&refusal(folder, disk, CLUSTER, NODE), &["entry 0 is missing"]);
        tamper(disk, Half::Raft, |batch| {
            batch.put(Family::Meta, b"purged".as_slice(), seal(&log_id_to_pb(&log_id(1, 3))));
            batch.delete_range(Family::Log, index_key(0), index_key(6));
        });
        assert_says(&refusal(folder, disk, CLUSTER, NODE), &["purged up to entry 3, but goes on with entry 6"]);
    });
}

#[test]
fn a_log_of_falling_terms_a_misplaced_entry_and_a_torn_record_are_refused() {
    on_both(|folder, disk| {
        make(folder, disk);
        let put = |entry: Vec<u8>| tamper(disk, Half::Raft, |batch| batch.put(Family::Log, index_key(10), entry));
        put(encode_entry(&usual(0, 10)));
        assert_says(&refusal(folder, disk, CLUSTER, NODE), &["older term"]);
        put(encode_entry(&usual(1, 9)));
        assert_says(&refusal(folder, disk, CLUSTER, NODE), &["entry 9 lies under the key of entry 10"]);
        let good = encode_entry(&usual(1, 10));
        put(good[..good.len() - 3].to_vec());
        assert_says(&refusal(folder, disk, CLUSTER, NODE), &["raft is damaged", "entry 10"]);
        put(good);
        open(folder, disk).unwrap();
    });
}

#[test]
fn a_log_newer_than_its_vote_is_refused_because_a_vote_was_lost() {
    on_both(|folder, disk| {
        make(folder, disk);
        tamper(disk, Half::Raft, |batch| batch.put(Family::Meta, b"vote".as_slice(), seal(&vote_to_pb(&vote(0)))));
        assert_says(&refusal(folder, disk, CLUSTER, NODE), &["a vote was lost", "new node id"]);
    });
}

#[test]
fn a_state_that_went_back_behind_the_log_or_its_snapshot_is_refused() {
    for (purge, says) in [(true, "log was purged up to entry"), (false, "its snapshot is of entry")] {
        let folder = tempfile::tempdir().unwrap();
        let disk = RocksDisk::new(folder.path());
        let old = tempfile::tempdir().unwrap();
        make(folder.path(), &disk);
        copy_folder(&folder.path().join("state"), old.path());
        block_on(async {
            let mut store = open(folder.path(), &disk).unwrap();
            let more = (11..=20).map(|index| usual(1, index));
            crate::support::append(&mut store.log, more.clone()).await;
            crate::support::apply(&mut store.state, more).await;
            if purge {
                store.log.purge(log_id(1, 20)).await.unwrap();
            } else {
                store.state.try_create_snapshot_builder(true).await.unwrap().build_snapshot().await.unwrap();
            }
        });
        fs::remove_dir_all(folder.path().join("state")).unwrap();
        copy_folder(old.path(), &folder.path().join("state"));
        assert_says(&refusal(folder.path(), &disk, CLUSTER, NODE), &["it stands at entry", says, "rolled back", "new node id"]);
    }
}

#[test]
fn a_changed_event_is_found_by_verify_and_the_last_one_at_open() {
    on_both(|folder, disk| {
        make(folder, disk);
        let change = |index: u64| {
            let key = [&index.to_be_bytes()[..], &0_u32.to_be_bytes()].concat();
            let engine = disk.open(Half::State, false).unwrap();
            let mut value = engine.get(Family::Events, &key).unwrap().unwrap();
            drop(engine);
            *value.last_mut().unwrap() ^= 1;
            tamper(disk, Half::State, |batch| batch.put(Family::Events, key, value));
        };
        change(4);
        let store = open(folder, disk).unwrap();
        assert_eq!(store.events.verify(5, 10).unwrap(), store.events.last_event());
        let error = store.events.verify(1, 10).unwrap_err();
        assert!(matches!(error, StoreError::DamagedEvents { index: 4, seq: 0, .. }), "{error}");
        drop(store);
        let last = crate::support::usual_event_indices(10).pop().unwrap();
        change(last);
        assert_says(&refusal(folder, disk, CLUSTER, NODE), &["event log is damaged", "new node id"]);
    });
}
