//! SIGKILL at every point the store passes, on RocksDB: this test binary runs itself as a child that works on a store and prints what it was
//! promised; the parent then opens the store and holds it to that. No root needed; about a second per few points.

use std::fs;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use berth_raft::engine::RocksDisk;
use berth_raft::store::probe::{Point, Probe};
use openraft::storage::{RaftLogStorage, RaftStateMachine};
use rustix::process::{Signal, getpid, kill_process};

use crate::snapshots::{build, carry, memory_store};
use crate::support::{append, apply, block_on, check_usual_state, indices, log_id, open, open_probed, read_vote, usual, vote};

const FOLDER: &str = "BERTH_TEST_KILL_FOLDER";
/// `POINT:N`: die when the store passes that point for the Nth time.
const AT: &str = "BERTH_TEST_KILL_AT";
const SIGKILL: i32 = 9;

/// What the child was promised before it died.
#[derive(Debug, Default)]
struct Promised {
    vote: Option<u64>,
    entry: Option<u64>,
    applied: Option<u64>,
    purged: Option<u64>,
    snapshot: Option<u64>,
}

impl Promised {
    fn read(text: &str) -> Self {
        let mut promised = Self::default();
        // libtest prints to the same pipe; our lines begin with a mark.
        for line in text.lines().filter_map(|line| line.split("promised ").nth(1)) {
            let (what, number) = line.split_once(' ').unwrap();
            let number = number.parse().ok();
            match what {
                "vote" => promised.vote = number,
                "entry" => promised.entry = number,
                "applied" => promised.applied = number,
                "purged" => promised.purged = number,
                "snapshot" => promised.snapshot = number,
                other => panic!("unknown promise {other}"),
            }
        }
        promised
    }
}

/// Not a test: the child. Does nothing unless the parent asks.
#[test]
fn child_that_works_until_it_is_killed() {
    let (Ok(folder), Ok(at)) = (std::env::var(FOLDER), std::env::var(AT)) else { return };
    let (point, wanted) = at.split_once(':').unwrap();
    let (point, wanted, passed) = (point.to_owned(), wanted.parse::<u64>().unwrap(), AtomicU64::new(0));
    let probe = Probe::new(move |now| {
        if format!("{now:?}") == point && passed.fetch_add(1, Ordering::SeqCst) + 1 == wanted {
            kill_process(getpid(), Signal::KILL).unwrap();
        }
    });
    block_on(work(Path::new(&folder), probe));
}

fn say(what: &str, number: u64) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "promised {what} {number}").unwrap();
    out.flush().unwrap();
}

async fn work(folder: &Path, probe: Probe) {
    let (_source_folder, mut source) = memory_store(Some(60)).await;
    let newer = build(&mut source).await;
    let mut store = open_probed(folder, &RocksDisk::new(folder), probe).unwrap();
    for index in 0..30 {
        if index % 10 == 0 {
            store.log.save_vote(&vote(1 + index / 10)).await.unwrap();
            say("vote", 1 + index / 10);
        }
        append(&mut store.log, [usual(1, index)]).await;
        say("entry", index);
        apply(&mut store.state, [usual(1, index)]).await;
        say("applied", index);
        if index % 8 == 7 {
            build(&mut store).await;
            say("snapshot", index);
            store.log.purge(log_id(1, index - 3)).await.unwrap();
            say("purged", index - 3);
        }
    }
    let received = carry(&newer, &source.events, &store.snapshots, &store.events).unwrap();
    store.state.install_snapshot(&newer.manifest().meta(), received).await.unwrap();
    say("applied", 60);
    say("snapshot", 60);
    store.log.purge(log_id(1, 60)).await.unwrap();
    say("purged", 60);
}

/// Runs the child until it is killed.
fn killed_at(folder: &Path, point: Point, pass: u64) -> Promised {
    // What the child makes beside its store cannot be removed by it: it is killed.
    let scratch = tempfile::tempdir().unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::child_that_works_until_it_is_killed", "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder)
        .env("TMPDIR", scratch.path())
        .env(AT, format!("{point:?}:{pass}"))
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&child.stdout).into_owned();
    let why = String::from_utf8_lossy(&child.stderr).into_owned();
    assert_eq!(child.status.signal(), Some(SIGKILL), "the child never came to {point:?} for the {pass}. time\n{text}\n{why}");
    Promised::read(&text)
}

fn check(folder: &Path, point: Point, pass: u64) {
    let promised = killed_at(folder, point, pass);
    let at = format!("killed at {point:?} pass {pass}, {promised:?}");
    let mut store = open(folder, &RocksDisk::new(folder)).unwrap_or_else(|e| panic!("{at}: {e}"));
    block_on(async {
        assert!(read_vote(&mut store.log).await.map(|vote| vote.leader_id.term) >= promised.vote, "{at}");
        let applied = check_usual_state(&store);
        // Without power loss nothing that was written is lost, synced or not.
        assert!(applied >= promised.applied, "{at}: applied {applied:?}");
        let log = indices(&mut store.log).await;
        let last = store.log.get_log_state().await.unwrap().last_log_id.map(|id| id.index);
        assert!(last >= promised.entry, "{at}: log ends at {last:?}");
        let first = log.first().copied();
        assert!(
            first.is_none_or(|first| first <= applied.map_or(0, |index| index + 1)),
            "{at}: log begins at {first:?}, state at {applied:?}"
        );
        let snapshot = store.snapshots.current().and_then(|snapshot| snapshot.manifest().last).map(|id| id.index);
        assert!(snapshot >= promised.snapshot, "{at}: snapshot {snapshot:?}");
        assert!(snapshot <= applied, "{at}: snapshot {snapshot:?}, applied {applied:?}");
        let purged = store.log.get_log_state().await.unwrap().last_purged_log_id.map(|id| id.index);
        assert!(purged >= promised.purged && purged <= applied, "{at}: purged {purged:?}");
        let leftovers = fs::read_dir(folder.join("snapshots")).unwrap().count();
        assert!(leftovers <= 1, "{at}: {leftovers} files in the snapshot folder");
        // And the store goes on.
        let next = applied.map_or(0, |index| index + 1);
        apply(&mut store.state, [usual(1, next)]).await;
        assert_eq!(check_usual_state(&store), Some(next), "{at}");
    });
}

#[test]
fn what_was_promised_survives_sigkill_at_every_point() {
    for point in Point::ALL {
        let passes: &[u64] = match point {
            Point::LogBeforeSync | Point::LogAfterSync | Point::ApplyAfterWrite => &[1, 17],
            Point::PurgeBeforeSync | Point::PurgeAfterSync => &[1, 3],
            Point::SnapshotBeforeFileSync => &[1, 3],
            // The last pass is the publishing of the installed snapshot.
            Point::SnapshotBeforeRename | Point::SnapshotAfterRename | Point::SnapshotAfterFolderSync => &[1, 4],
            Point::InstallAfterObjects
            | Point::InstallAfterEvents
            | Point::InstallBeforeFlip
            | Point::InstallAfterFlip
            | Point::InstallAfterSync => &[1],
        };
        for pass in passes {
            let folder = tempfile::tempdir().unwrap();
            check(folder.path(), point, *pass);
        }
    }
}
