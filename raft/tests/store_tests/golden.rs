//! Bytes on disk that must never change under one format: a failure here means that old stores could not be read, and needs a new format and a
//! decision record, not new numbers in this file.

use berth_raft::engine::{Engine, Family, Half, MemoryDisk};
use berth_raft::store::codec::{decode_entry, encode_entry, index_key, seal, vote_to_pb};
use sha2::{Digest, Sha256};

use crate::snapshots::build;
use crate::support::{block_on, command, fill, open, usual, vote};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn log_records_are_these_bytes() {
    assert_eq!(hex(&index_key(258)), "0000000000000102");
    assert_eq!(hex(&encode_entry(&command(3, 258, "put a b"))), "010a07080310011882021a0770757420612062");
    assert_eq!(hex(&encode_entry(&usual(1, 7))), "010a060801100118071200");
    assert_eq!(hex(&encode_entry(&usual(1, 0))), "010a040801100122160a030a0101120f0801120b6e6f64652d313a37343030");
    assert_eq!(hex(&seal(&vote_to_pb(&vote(300)))), "0108ac0210011801");
}

#[test]
fn every_kind_of_entry_is_read_back_as_it_was_written() {
    for entry in (0..15).map(|index| usual(2, index)) {
        assert_eq!(decode_entry(&index_key(entry.log_id.index), &encode_entry(&entry)).unwrap(), entry);
    }
}

#[test]
fn the_state_record_an_event_and_a_snapshot_are_these_bytes() {
    let (folder, disk) = (tempfile::tempdir().unwrap(), MemoryDisk::default());
    block_on(async {
        let mut store = open(folder.path(), &disk).unwrap();
        fill(&mut store, 3).await;
        let snapshot = build(&mut store).await;
        let state = disk.engine(Half::State).unwrap();
        let event = state.get(Family::Events, &[0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]).unwrap().unwrap();
        let applied = state.get(Family::SmMeta, b"applied").unwrap().unwrap();
        let snapshot = snapshot.read_chunk(0, usize::MAX).unwrap();
        let digest = |bytes: &[u8]| hex(&Sha256::digest(bytes)[..8]);
        assert_eq!([digest(&event), digest(&applied), digest(&snapshot)], ["3cf95d3fd80ebdf6", "4ef50fdfb56ad4ab", "5c64463956953ff8"]);
    });
}
