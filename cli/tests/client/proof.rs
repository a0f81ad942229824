//! `berth proof` and `berth events --verify`: a good history is proved, and every way to tamper with one is seen.

use std::path::Path;

use berth_state::pb::api;
use serde_json::{Value, json};

use crate::fake::Fake;
use crate::run::{Ended, berth};
use crate::world::small;

/// db ran on h1, was fenced, and runs on h2; h2's lease is the second of volume v.
async fn failed_over() -> Fake {
    let fake = small().await;
    {
        let mut inner = fake.with();
        inner.expire("db");
        inner.fence("db");
        inner.run_on("db", "h2");
    }
    fake
}

/// The history of that world as a file, and the folder that it lies in.
async fn exported() -> (tempfile::TempDir, Vec<String>) {
    let fake = failed_over().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history");
    berth(fake.address, &["proof", "v", "--export", path.to_str().unwrap()]).await.must(0, &["is exported"]);
    let lines = std::fs::read_to_string(&path).unwrap().lines().map(ToOwned::to_owned).collect();
    (folder, lines)
}

/// Proves a file of these lines, with nobody to ask.
async fn offline(folder: &Path, lines: &[String], more: &[&str]) -> Ended {
    let path = folder.join("tampered");
    std::fs::write(&path, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    let args: Vec<&str> = ["proof", "v", "--offline", path.to_str().unwrap()].iter().chain(more).copied().collect();
    berth("127.0.0.1:1", &args).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_is_proved_with_its_evidence() {
    let fake = failed_over().await;
    let proof = berth(fake.address, &["proof", "v", "-o", "json"]).await.json();
    assert_eq!((&proof["holds"], &proof["findings"]), (&json!(true), &json!([])));
    let leases = proof["leases"].as_array().unwrap();
    assert_eq!(leases.len(), 2);
    assert_eq!((&leases[0]["host"], &leases[0]["end"]["by"], &leases[1]["end"]), (&json!("h1"), &json!("fenced"), &Value::Null));
    assert!(leases[0]["end"]["evidence"].as_str().unwrap().starts_with("RanOut, expired at"), "{proof}");
    assert!(leases[1]["token"].as_u64() > leases[0]["token"].as_u64());
    assert_eq!(leases[1]["gap_ms"], 1_000, "the fake's clock ticks a second an entry");
    let table = berth(fake.address, &["proof", "v"]).await.must(0, &[]).stdout;
    assert!(table.contains("PROVED: volume v: 2 leases, 1 hand-overs") && table.contains("RanOut, expired at"), "{table}");
    berth(fake.address, &["proof", "nothing"]).await.must(3, &["knows no volume nothing"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_proves_the_same_without_any_server() {
    let (folder, lines) = exported().await;
    let proof = offline(folder.path(), &lines, &["-o", "json"]).await.json();
    assert_eq!((&proof["holds"], proof["leases"].as_array().unwrap().len()), (&json!(true), 2));
    assert!(!folder.path().join("history.part").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_tamper_with_a_file_is_seen() {
    let (folder, lines) = exported().await;
    let event = |lines: &[String], n: usize| serde_json::from_str::<Value>(&lines[n]).unwrap();
    let middle = lines.len() / 2;
    let mut changed = lines.clone();
    // One bit of one event's bytes.
    let mut value = event(&lines, middle);
    let hex = value["event"].as_str().unwrap().to_owned();
    let flipped = format!("{}{}", &hex[..hex.len() - 1], if hex.ends_with('1') { '0' } else { '1' });
    value["event"] = json!(flipped);
    changed[middle] = value.to_string();
    let mut removed = lines.clone();
    removed.remove(middle);
    let mut swapped = lines.clone();
    swapped.swap(middle, middle + 1);
    let mut doubled = lines.clone();
    doubled.insert(middle, lines[middle].clone());
    let mut beheaded = lines.clone();
    beheaded.remove(1);
    let truncated = lines[..lines.len() - 3].to_vec();
    let mut short = lines.clone();
    short.drain(lines.len() - 3..lines.len() - 1);
    let mut torn = truncated.clone();
    torn.push(lines[lines.len() - 3][..20].to_owned());
    let mut longer = lines.clone();
    longer.push(lines[middle].clone());
    for (what, lines, said) in [
        ("changed", changed, "hash chain broken"),
        ("removed", removed, "hash chain broken"),
        ("swapped", swapped, "hash chain broken"),
        ("doubled", doubled, "stands after event"),
        ("beheaded", beheaded, "hash chain broken"),
        ("truncated", truncated, "its tail is cut off"),
        ("short", short, "should end after"),
        ("torn", torn, "is no event"),
        ("longer", longer, "something after the line"),
    ] {
        let ended = offline(folder.path(), &lines, &[]).await;
        assert_eq!(ended.code, 7, "{what}: {ended:?}");
        assert!(ended.stdout.contains("NOT PROVED") && ended.stdout.contains(said), "{what}: {ended:?}");
        assert!(ended.stderr.contains("proves nothing"), "{what}: {ended:?}");
    }
    offline(folder.path(), &["{}".to_owned()], &[]).await.must(2, &["no history file"]);
    offline(folder.path(), &lines, &[]).await.must(0, &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_that_was_forged_as_a_whole_is_seen_by_an_earlier_proof() {
    let (folder, lines) = exported().await;
    let proof = offline(folder.path(), &lines, &["-o", "json"]).await.json();
    let head = &proof["head"];
    let head = format!("{}.{}:{}", head["revision"], head["seq"], head["hash"].as_str().unwrap());
    offline(folder.path(), &lines, &["--expect", &head]).await.must(0, &[]);
    // A file that ends earlier and says so is whole in itself; only what was known before shows that something is missing.
    let cut = lines.len() - 3;
    let last: Value = serde_json::from_str(&lines[cut - 1]).unwrap();
    let end = json!({ "end": { "events": cut - 1, "revision": last["revision"], "seq": last["seq"], "hash": last["hash"] } });
    let mut forged = lines[..cut].to_vec();
    forged.push(end.to_string());
    offline(folder.path(), &forged, &[]).await.must(0, &[]);
    let ended = offline(folder.path(), &forged, &["--expect", &head]).await.must(7, &[]);
    assert!(ended.stdout.contains("which --expect has, is missing"), "{ended:?}");
    let other = head.replace(':', ":00").chars().take(head.len()).collect::<String>();
    let ended = offline(folder.path(), &lines, &["--expect", &other]).await.must(7, &[]);
    assert!(ended.stdout.contains("another one than --expect has"), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_changes_or_withholds_history_is_seen() {
    let fake = failed_over().await;
    let change: fn(&mut Vec<api::EventRecord>) = |records| *records[8].event.last_mut().unwrap() ^= 1;
    let withhold: fn(&mut Vec<api::EventRecord>) = |records| records.truncate(records.len() - 3);
    let remove: fn(&mut Vec<api::EventRecord>) = |records| drop(records.remove(6));
    for (tamper, said) in [(change, "hash chain broken"), (withhold, "which the registry has, is missing"), (remove, "hash chain broken")] {
        fake.with().tamper = Some(tamper);
        let ended = berth(fake.address, &["proof", "v"]).await.must(7, &["proves nothing"]);
        assert!(ended.stdout.contains(said), "{said}: {ended:?}");
        berth(fake.address, &["events", "--verify"]).await.must(7, &["not proved"]);
    }
    fake.with().tamper = None;
    let count = fake.with().events.len();
    let ended = berth(fake.address, &["events", "--verify"]).await.must(0, &["hash chain whole up to event"]);
    assert_eq!(ended.stdout.lines().count(), count);
    berth(fake.address, &["events", "--verify", "--since", "5"]).await.must(0, &["verified"]);
}
