//! Damage to RocksDB's write-ahead log, as power loss and bad disks leave it. A torn last record may go; damage before it must be refused, for it
//! may be a vote.

use std::fs;
use std::path::{Path, PathBuf};

use berth_raft::engine::RocksDisk;
use openraft::storage::RaftLogStorage;
use tempfile::TempDir;

use crate::support::{append, apply, block_on, check_usual_state, command, entries, fill, indices, log_id, open, usual, vote};

const LAST: u64 = 40;

/// A store whose log entries all lie in one write-ahead log; gives the path of that file.
fn written() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    block_on(async {
        let mut store = open(folder.path(), &RocksDisk::new(folder.path())).unwrap();
        store.log.save_vote(&vote(1)).await.unwrap();
        for index in 0..LAST {
            append(&mut store.log, [usual(1, index)]).await;
        }
        append(&mut store.log, [command(1, LAST, &"z".repeat(300))]).await;
    });
    let files = fs::read_dir(folder.path().join("raft")).unwrap().map(|entry| entry.unwrap().path());
    let wal = files.filter(|path| path.extension().is_some_and(|ext| ext == "log")).max_by_key(|path| fs::metadata(path).unwrap().len());
    (folder, wal.unwrap())
}

fn reopened(folder: &Path) -> Result<Vec<u64>, String> {
    let opened = open(folder, &RocksDisk::new(folder)).map_err(|e| e.to_string());
    opened.map(|mut store| block_on(async { indices(&mut store.log).await }))
}

fn upto(last: u64) -> Vec<u64> {
    (0..=last).collect()
}

#[test]
fn an_undamaged_log_opens_with_all() {
    let (folder, _) = written();
    assert_eq!(reopened(folder.path()).unwrap(), upto(LAST));
}

#[test]
fn a_torn_last_record_is_dropped_wherever_it_is_torn() {
    for cut in [1, 100, 299] {
        let (folder, wal) = written();
        let bytes = fs::read(&wal).unwrap();
        fs::write(&wal, &bytes[..bytes.len() - cut]).unwrap();
        assert_eq!(reopened(folder.path()).unwrap(), upto(LAST - 1), "cut by {cut}");
        // And the store goes on from there.
        block_on(async {
            let mut store = open(folder.path(), &RocksDisk::new(folder.path())).unwrap();
            append(&mut store.log, [usual(1, LAST)]).await;
        });
        assert_eq!(reopened(folder.path()).unwrap(), upto(LAST));
    }
}

#[test]
fn a_tail_of_zeros_is_no_damage() {
    let (folder, wal) = written();
    let mut bytes = fs::read(&wal).unwrap();
    bytes.extend([0; 4096]);
    fs::write(&wal, bytes).unwrap();
    assert_eq!(reopened(folder.path()).unwrap(), upto(LAST));
}

#[test]
fn a_flipped_bit_before_the_last_record_is_refused_and_never_half_a_log() {
    let length = fs::metadata(written().1).unwrap().len();
    for part in 1..8 {
        let (folder, wal) = written();
        let mut bytes = fs::read(&wal).unwrap();
        let at = usize::try_from(length * part / 10).unwrap();
        bytes[at] ^= 0x10;
        fs::write(&wal, bytes).unwrap();
        let text = reopened(folder.path()).expect_err(&format!("byte {at} of {length} was flipped"));
        assert!(text.contains("raft is damaged") && text.contains("new node id"), "{text}");
    }
}

/// The state's write-ahead log is not synced as it is written, so power loss may damage it anywhere. What is missing must come back from the
/// raft log, or the store must refuse.
#[test]
fn a_damaged_wal_of_the_state_costs_nothing_or_is_refused() {
    let (mut shorter, mut refused) = (0, 0);
    for part in 0..10 {
        let folder = tempfile::tempdir().unwrap();
        let disk = RocksDisk::new(folder.path());
        block_on(async { fill(&mut open(folder.path(), &disk).unwrap(), 5).await });
        // A restart moves what is there into tables, so that the identity is safe in most parts.
        block_on(async {
            let mut store = open(folder.path(), &disk).unwrap();
            for index in 6..=30 {
                append(&mut store.log, [usual(1, index)]).await;
                apply(&mut store.state, [usual(1, index)]).await;
            }
            if part > 6 {
                // Now the raft log can no longer give all of it.
                store.log.purge(log_id(1, 29)).await.unwrap();
            }
        });
        let files = fs::read_dir(folder.path().join("state")).unwrap().map(|entry| entry.unwrap().path());
        let wal =
            files.filter(|path| path.extension().is_some_and(|ext| ext == "log")).max_by_key(|path| fs::metadata(path).unwrap().len());
        let wal = wal.unwrap();
        let mut bytes = fs::read(&wal).unwrap();
        let at = bytes.len() * part / 10;
        bytes[at] ^= 0x10;
        fs::write(&wal, bytes).unwrap();
        match open(folder.path(), &disk) {
            Ok(mut store) => block_on(async {
                let next = check_usual_state(&store).map_or(0, |index| index + 1);
                let rest: Vec<_> = entries(&mut store.log).await.into_iter().filter(|entry| entry.log_id.index >= next).collect();
                shorter += usize::from(!rest.is_empty());
                apply(&mut store.state, rest).await;
                assert_eq!(check_usual_state(&store), Some(30), "part {part}");
            }),
            Err(error) => {
                assert!(error.to_string().contains("state is damaged") || error.to_string().contains("rolled back"), "{error}");
                refused += 1;
            }
        }
    }
    assert!(shorter > 0 && refused > 0, "the test must see both: {shorter} shorter, {refused} refused");
}
