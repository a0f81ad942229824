//! The ledger across crashes, damage and a second process.

use std::collections::BTreeMap;

use berth_state::ids::*;
use berth_state::noun::lease::Exit;
use berth_state::noun::volume::Driver;

use super::*;
use crate::clock::HolderTime;
use crate::deadline::{Lost, Right};
use crate::random::SystemRandom;
use crate::runtime::KillHandle;
use crate::testing::record;

fn open(folder: &Path) -> Result<Ledger, LedgerError> {
    Ledger::open(folder, "h1", &SystemRandom)
}

fn full() -> LedgerState {
    let mut one = record(11, BootId([3; 16]), HolderTime(5));
    one.handle = Some(KillHandle { cgroup: Some("/sys/fs/cgroup/x".into()), pid: 7, start_ticks: 8, process_group: true });
    let options = BTreeMap::from([("path".to_owned(), "/shared".to_owned())]);
    one.volumes =
        vec![MountedVolume { volume: VolumeId::new("v1").unwrap(), driver: Driver::Path, options, source: Some("/shared".into()) }];
    let exit = Some(Exit { code: -1, reason: "no".to_owned() });
    one.release = Some(PendingRelease { request: RequestId([4; 16]), session: SessionId(2), exit, finished: true });
    LedgerState {
        ledger: LedgerId([1; 16]),
        host: "h1".to_owned(),
        cluster: Some(ClusterId([2; 16])),
        incarnation: Incarnation(1),
        revision: Revision(9),
        session: Some(SessionId(2)),
        records: BTreeMap::from([(one.token, one)]),
    }
}

#[test]
fn what_is_written_is_read() {
    assert_eq!(format::decode(&format::encode(&full())), Ok(full()));
    assert_eq!(format::decode(&format::encode(&LedgerState::default())), Ok(LedgerState::default()));
}

#[test]
fn every_cut_and_every_flipped_bit_is_noticed() {
    let bytes = format::encode(&full());
    for length in 0..bytes.len() {
        assert!(format::decode(&bytes[..length]).is_err(), "cut at {length}");
    }
    for position in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[position] ^= 0x10;
        assert!(format::decode(&damaged).is_err(), "flipped at {position}");
    }
}

#[test]
fn format_1_stays_readable() {
    let bytes = format::encode(&full());
    let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(hex, include_str!("format_1.hex").trim());
}

/// Field 14 of a record, added later: only an open right writes it.
#[test]
fn an_open_right_has_its_own_golden_bytes_and_none_costs_nothing() {
    let mut state = full();
    let closed = format::encode(&state);
    let record = state.records.get_mut(&Token(11)).unwrap();
    (record.open, record.deadline) = (true, HolderTime(0));
    let bytes = format::encode(&state);
    assert_eq!(format::decode(&bytes), Ok(state));
    let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(hex, include_str!("format_1_open.hex").trim());
    // Without the field, and with the two bytes of a deadline of 5 ns.
    assert_eq!(bytes.len(), closed.len() + 2 - 2);
}

#[tokio::test]
async fn a_change_is_there_for_the_next_process() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(folder.path()).unwrap();
    let id = ledger.state().ledger;
    ledger.change(|state| state.session = Some(SessionId(5))).await.unwrap();
    drop(ledger);
    let again = open(folder.path()).unwrap();
    assert_eq!((again.state().ledger, again.state().session), (id, Some(SessionId(5))));
}

#[test]
fn one_process_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(folder.path()).unwrap();
    let error = open(folder.path()).err().unwrap();
    assert!(matches!(error, LedgerError::InUse { .. }), "{error}");
    drop(first);
    open(folder.path()).unwrap();
}

#[test]
fn a_crash_before_the_rename_leaves_the_former_state() {
    let folder = tempfile::tempdir().unwrap();
    let id = open(folder.path()).unwrap().state().ledger;
    std::fs::write(folder.path().join("ledger.tmp"), "half a led").unwrap();
    assert_eq!(open(folder.path()).unwrap().state().ledger, id);
}

#[test]
fn a_damaged_ledger_is_refused_and_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()).unwrap());
    std::fs::write(folder.path().join("ledger"), "garbage").unwrap();
    let error = open(folder.path()).err().unwrap().to_string();
    assert!(error.contains("move the file away"), "{error}");
    assert_eq!(std::fs::read_to_string(folder.path().join("ledger")).unwrap(), "garbage");
}

#[test]
fn another_hosts_ledger_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()).unwrap());
    let error = Ledger::open(folder.path(), "h2", &SystemRandom).err().unwrap();
    assert!(matches!(error, LedgerError::OtherHost { .. }), "{error}");
}

#[tokio::test]
async fn a_failed_write_changes_nothing_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger-folder");
    let ledger = open(&path).unwrap();
    std::fs::rename(&path, folder.path().join("away")).unwrap();
    assert!(ledger.change(|state| state.session = Some(SessionId(5))).await.is_err());
    assert_eq!(ledger.state().session, None);
}

#[test]
fn a_noted_deadline_never_goes_back_and_an_ended_right_stays_ended() {
    let mut state = full();
    let token = Token(11);
    state.note_rights(&BTreeMap::from([(token, Right::Until(HolderTime(9)))]));
    state.note_rights(&BTreeMap::from([(token, Right::Until(HolderTime(7)))]));
    assert_eq!((state.records[&token].deadline, state.records[&token].over), (HolderTime(9), false));
    state.note_rights(&BTreeMap::from([(token, Right::Open)]));
    assert!(state.records[&token].open && !state.records[&token].over);
    state.note_rights(&BTreeMap::from([(token, Right::Over(Lost::SessionGone))]));
    state.note_rights(&BTreeMap::new());
    assert!(state.records[&token].over);
}
