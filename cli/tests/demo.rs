//! `berth demo` as a user runs it: once to its end, once with a writer that breaks the rules, once interrupted. Starts real processes; needs neither root nor Docker, so it is skipped nowhere.
//! One after the other: they measure outages.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test: bounds its own waiting")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// ttl 3 s and its clock error, lock delay, election, placement and start, on a busy machine.
const LONGEST_OUTAGE_MS: u64 = 20_000;
/// Nobody may take over before the lock delay is over.
const SHORTEST_OUTAGE_MS: u64 = 500;

#[test]
fn the_demo_fails_over_twice_and_the_volume_shows_one_writer_at_a_time() {
    let _alone = ONE_AT_A_TIME.lock();
    let folder = tempfile::tempdir().unwrap();
    let output = demo(folder.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    println!("{said}");
    assert!(output.status.success(), "{}\n{said}", String::from_utf8_lossy(&output.stdout));
    // The whole of standard output is one object.
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();

    check_cluster(&found);
    let tokens = check_failovers(&found);
    check_witness(&found["witness"], &tokens);
    check_leader_change(&found["leader_changes"]);
    assert_eq!(found["wrong"].as_array().unwrap().len(), 0);
    assert!(number(&found["duration_ms"]) < 60_000, "under a minute: {} ms", found["duration_ms"]);
    for what in ["pid namespace", "cgroup kill", "read-only volumes"] {
        assert!(said.contains(what), "enforcement is told: {what}");
    }
    nothing_is_left(folder.path());
    let cluster = events_of(&found, "ClusterInitialized")[0]["cluster"].as_str().unwrap().to_owned();
    assert_eq!(control_groups_of(&cluster), Vec::<PathBuf>::new());
}

#[test]
fn a_second_writer_and_a_lost_write_are_found() {
    let _alone = ONE_AT_A_TIME.lock();
    let folder = tempfile::tempdir().unwrap();
    let mut writers = vec![];
    let (code, output, said) = watched(folder.path(), |_, line| {
        let Some(token) = line.split("it writes on ").nth(1).and_then(|rest| rest.split_once("under token ")).map(|(_, rest)| rest) else {
            return;
        };
        let token: u64 = token.split(',').next().unwrap().parse().unwrap();
        writers.push(token);
        // The first holder is dead and fenced, the second one writes: now the first one writes as well, and damages what was there.
        if writers.len() == 2 {
            spoil(&std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path().join("storage/ledger"), writers[0]);
        }
    });
    assert_eq!(code, Some(1), "{said}");
    let found: Value = serde_json::from_slice(&output).unwrap();
    assert_eq!((number(&found["witness"]["lost"]), number(&found["witness"]["overlaps"])), (1, 3), "{}", found["witness"]);
    let wrong: Vec<_> = found["wrong"].as_array().unwrap().iter().map(|what| what.as_str().unwrap()).collect();
    for what in ["was acknowledged and is not in the volume", "two writers at once", "rogue writes under token", "no line of the witness"] {
        assert!(wrong.iter().any(|wrong| wrong.contains(what)), "{what}: {wrong:?}");
    }
    no_process_is_left(folder.path());
}

/// Three writes under `token`, and the first line of all overwritten.
fn spoil(volume: &Path, token: u64) {
    let mut rogue = Command::new(env!("CARGO_BIN_EXE_berth"));
    rogue.args(["witness", "--volume", "ledger", "--writer", "rogue", "--writes", "3", "--token", &token.to_string(), "--volume-dir"]);
    assert!(rogue.arg(volume).status().unwrap().success());
    let file = std::fs::OpenOptions::new().write(true).open(volume.join("witness.jsonl")).unwrap();
    file.write_all_at(b"#", 0).unwrap();
}

#[test]
fn an_interrupted_demo_leaves_nothing_behind() {
    let _alone = ONE_AT_A_TIME.lock();
    let folder = tempfile::tempdir().unwrap();
    let mut interrupted = false;
    let (code, output, said) = watched(folder.path(), |demo, line| {
        if line.contains("it writes on") && !interrupted {
            assert!(!processes_in(folder.path()).is_empty(), "the writer runs somewhere");
            kill_process(demo, Signal::INT).unwrap();
            interrupted = true;
        }
    });
    assert_eq!((code, output.as_slice()), (Some(1), b"".as_slice()), "{said}");
    assert!(interrupted && said.contains("interrupted by SIGINT"), "{said}");
    nothing_is_left(folder.path());
}

/// Runs the demo and hands each line it says to `see`, with its pid. Returns exit code, standard output, and all it said.
fn watched(parent: &Path, mut see: impl FnMut(Pid, &str)) -> (Option<i32>, Vec<u8>, String) {
    let mut child = demo(parent).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = Pid::from_child(&child);
    let mut said = String::new();
    // Its standard error ends with it, so this does too.
    for line in BufReader::new(child.stderr.take().unwrap()).lines() {
        let line = line.unwrap();
        see(pid, &line);
        said.push_str(&line);
        said.push('\n');
    }
    let output = child.wait_with_output().unwrap();
    (output.status.code(), output.stdout, said)
}

fn demo(parent: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_berth"));
    command.args(["demo", "-o", "json", "--dir"]).arg(parent).stdin(Stdio::null());
    // What the developer has set is not the demo's business.
    for (variable, _) in std::env::vars().filter(|(variable, _)| variable.starts_with("BERTH_")) {
        command.env_remove(variable);
    }
    command
}

fn check_cluster(found: &Value) {
    let nodes = found["nodes"].as_array().unwrap();
    assert_eq!(nodes.iter().map(|node| number(&node["node"])).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(nodes.iter().filter(|node| node["role"] == "leader").count(), 1);
    assert_eq!(nodes.iter().map(|node| number(&node["term"])).collect::<BTreeSet<_>>().len(), 1, "all are in the leader's term");
    let hosts = found["hosts"].as_array().unwrap();
    assert_eq!(hosts.iter().map(|host| host["id"].as_str().unwrap()).collect::<Vec<_>>(), ["h1", "h2", "h3"]);
    assert!(hosts.iter().all(|host| host["health"] == "live"), "{hosts:?}");
    let events = found["events"].as_array().unwrap();
    let revisions: Vec<_> = events.iter().map(|event| number(&event["revision"])).collect();
    let times: Vec<_> = events.iter().map(|event| number(&event["time"])).collect();
    assert!(revisions.is_sorted() && times.is_sorted());
    assert!(events.iter().all(|event| event["kind"].is_string()));
    assert_eq!(events_of(found, "HostAdded").len(), 3);
    assert_eq!(events_of(found, "LeaseReleased").len(), 1, "at the end the writer is stopped, not killed");
}

/// Returns the tokens of the volume's holders, oldest first.
fn check_failovers(found: &Value) -> Vec<u64> {
    let failovers = found["failovers"].as_array().unwrap();
    assert!(failovers.len() >= 2, "{failovers:?}");
    assert!(failovers.iter().any(|failover| failover["cause"] == "host-killed"));
    assert!(failovers.last().unwrap()["cause"].as_str().unwrap().ends_with("host-killed"));
    let mut tokens = vec![number(&failovers[0]["token_before"])];
    for failover in failovers {
        let (before, after) = (number(&failover["token_before"]), number(&failover["token_after"]));
        assert_eq!(before, *tokens.last().unwrap());
        assert!(after > before);
        assert_eq!(failover["evidence"], "RanOut");
        assert_ne!(failover["host_before"], failover["host_after"]);
        let outage = number(&failover["outage_ms"]);
        assert!((SHORTEST_OUTAGE_MS..LONGEST_OUTAGE_MS).contains(&outage), "outage of {outage} ms");
        // The log tells the same: ran out, then fenced, then granted anew.
        let at = |kind: &str, token: u64| {
            let event = events_of(found, kind).into_iter().find(|event| number(&event["token"]) == token);
            number(&event.unwrap_or_else(|| panic!("no {kind} of token {token}"))["revision"])
        };
        let order = [at("LeaseExpired", before), at("LeaseFenced", before), at("LeaseGranted", after), at("LeaseActivated", after)];
        assert!(order.is_sorted_by(|one, next| one < next), "{order:?}");
        tokens.push(after);
    }
    tokens
}

fn check_witness(witness: &Value, tokens: &[u64]) {
    // 50 before each kill and after each failover are waited for.
    assert!(number(&witness["writes"]) >= 200, "{witness}");
    assert_eq!((number(&witness["lost"]), number(&witness["overlaps"])), (0, 0));
    let written: Vec<_> = witness["tokens"].as_array().unwrap().iter().map(number).collect();
    assert_eq!(written, tokens);
    assert!(written.is_sorted_by(|one, next| one < next));
}

fn check_leader_change(changes: &Value) {
    let [change] = changes.as_array().unwrap().as_slice() else { panic!("{changes}") };
    assert_ne!(change["node_before"], change["node_after"]);
    assert!(number(&change["term_after"]) > number(&change["term_before"]));
}

fn events_of<'a>(found: &'a Value, kind: &str) -> Vec<&'a Value> {
    found["events"].as_array().unwrap().iter().filter(|event| event["kind"] == kind).collect()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn nothing_is_left(folder: &Path) {
    no_process_is_left(folder);
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 0, "the scratch folder is left");
}

/// The demo has ended, so its processes have; only the kernel may need a moment to let go of them.
fn no_process_is_left(folder: &Path) {
    let start = Instant::now();
    while !processes_in(folder).is_empty() {
        assert!(start.elapsed() < Duration::from_secs(2), "left: {:?}", processes_in(folder));
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Every process that names the folder on its command line or works in it, whatever program it is.
fn processes_in(folder: &Path) -> Vec<String> {
    let text = folder.to_str().unwrap();
    let mut found = vec![];
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        if !entry.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        let arguments = String::from_utf8_lossy(&std::fs::read(entry.path().join("cmdline")).unwrap_or_default()).replace('\0', " ");
        let works_there = std::fs::read_link(entry.path().join("cwd")).is_ok_and(|at| at.starts_with(folder));
        // The demo itself names the folder as well, but only as where to make its own.
        if works_there || arguments.contains(&format!("{text}/")) {
            found.push(format!("{} {arguments}", entry.file_name().to_string_lossy()));
        }
    }
    found
}

/// Control groups that carry the cluster's id in their name.
fn control_groups_of(cluster: &str) -> Vec<PathBuf> {
    let mut found = vec![];
    let mut folders = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        for path in entries.map(|entry| entry.path()).filter(|path| path.is_dir() && !path.is_symlink()) {
            if path.to_string_lossy().contains(cluster) {
                found.push(path.clone());
            }
            folders.push(path);
        }
    }
    found
}
