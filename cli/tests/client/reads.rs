//! The JSON of every read: fields that scripts rely on. And the tables: one line an object, nothing secret.

use serde_json::{Value, json};

use crate::run::berth;
use crate::world::small;

/// Every named field is there.
#[track_caller]
fn has(value: &Value, fields: &[&str]) {
    for field in fields {
        assert!(value.get(field).is_some(), "{field} is missing in {value}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_arrays_of_the_nouns() {
    let fake = small().await;
    let read = async |args: &[&str]| {
        let args: Vec<&str> = args.iter().copied().chain(["-o", "json"]).collect();
        berth(fake.address, &args).await.json()
    };
    let hosts = read(&["host", "ls"]).await;
    assert_eq!(hosts.as_array().unwrap().len(), 2);
    has(&hosts[0], &["id", "spec", "version", "scheduling", "health", "session", "created"]);
    assert_eq!(
        (&hosts[0]["id"], &hosts[0]["spec"]["address"], &hosts[0]["scheduling"]),
        (&json!("h1"), &json!("h1.example"), &json!("open"))
    );
    let volumes = read(&["volume", "ls"]).await;
    has(&volumes[0], &["id", "spec", "version", "created", "last_token"]);
    assert_eq!(volumes[0]["spec"]["takeover"], "after-expiry");
    let containers = read(&["container", "ls"]).await;
    has(&containers[0], &["id", "spec", "version", "created", "desired", "finished", "relocation", "last_lease"]);
    let leases = read(&["lease", "ls"]).await;
    has(
        &leases[0],
        &["id", "token", "container", "host", "session", "phase", "cause", "guard", "volumes", "granted_time", "instance", "spec"],
    );
    assert_eq!(
        (&leases[0]["phase"], &leases[0]["guard"], &leases[0]["cause"]["kind"]),
        (&json!("active"), &json!("host-process"), &json!("placed"))
    );
    assert_eq!(read(&["fence", "ls"]).await, json!([]));
    let nodes = read(&["node", "ls"]).await;
    assert_eq!(nodes.as_array().unwrap().len(), 2);
    has(
        &nodes[0],
        &["node", "address", "reachable", "error", "role", "term", "leader", "has_quorum", "last_log_index", "applied_index", "program"],
    );
    assert_eq!((&nodes[0]["role"], &nodes[0]["reachable"]), (&json!("leader"), &json!(true)));
    assert_eq!((&nodes[1]["node"], &nodes[1]["reachable"], &nodes[1]["role"]), (&json!(2), &json!(false), &Value::Null));
}

#[tokio::test(flavor = "multi_thread")]
async fn ps_has_lease_host_token_state_health_and_since() {
    let fake = small().await;
    let lease = fake.with().lease_of("db");
    let ps = berth(fake.address, &["ps", "-o", "json"]).await.json();
    let want = json!({
        "container": "db", "desired": "running", "state": "running", "health": "unchecked", "host": "h1", "lease": lease.id.0, "token": lease.token.0,
        "phase": "active", "since": lease.granted_time.0, "attempt": 1, "message": "",
    });
    assert_eq!(ps[0], want);
    let want = json!({
        "container": "idle", "desired": "running", "state": "pending", "health": null, "host": null, "lease": null, "token": null, "phase": null,
        "since": null, "attempt": null, "message": "",
    });
    assert_eq!(ps[1], want);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_is_seen_in_ps_and_fences() {
    let fake = small().await;
    fake.with().expire("db");
    let ps = berth(fake.address, &["ps", "-o", "json"]).await.json();
    assert_eq!((&ps[0]["state"], &ps[0]["phase"], &ps[0]["host"]), (&json!("expired"), &json!("expired"), &json!("h1")));
    let token = fake.with().lease_of("db").token.0;
    fake.with().fence("db");
    fake.with().run_on("db", "h2");
    let fences = berth(fake.address, &["fence", "ls", "-o", "json"]).await.json();
    has(&fences[0], &["token", "lease", "host", "container", "method", "started", "started_time", "done"]);
    assert_eq!((&fences[0]["token"], &fences[0]["done"]["evidence"]["kind"]), (&json!(token), &json!("ran-out")));
    let shown = berth(fake.address, &["fence", "show", &token.to_string(), "-o", "json"]).await.json();
    assert_eq!(shown, fences[0]);
    let ps = berth(fake.address, &["ps", "-o", "json"]).await.json();
    assert!(ps[0]["host"] == "h2" && ps[0]["token"].as_u64() > Some(token), "{ps}");
}

#[tokio::test(flavor = "multi_thread")]
async fn show_is_one_object_with_what_hangs_together() {
    let fake = small().await;
    let show = async |args: &[&str]| {
        let json: Vec<&str> = args.iter().copied().chain(["-o", "json"]).collect();
        let table = berth(fake.address, args).await.must(0, &[]);
        assert!(!table.stdout.starts_with('{') && table.stdout.lines().count() > 3, "{table:?}");
        berth(fake.address, &json).await.json()
    };
    let host = show(&["host", "show", "h1"]).await;
    assert_eq!((&host["declared"]["guard"], &host["leases"][0]["container"]), (&json!("host-process"), &json!("db")));
    let volume = show(&["volume", "show", "v"]).await;
    assert_eq!((&volume["held_by"]["host"], &volume["used_by"]), (&json!("h1"), &json!(["db"])));
    let container = show(&["container", "show", "db"]).await;
    assert_eq!((&container["lease"]["host"], &container["spec"]["environment"]["PASSWORD"]), (&json!("h1"), &json!("secret")));
    let lease = fake.with().lease_of("db");
    for name in ["db".to_owned(), lease.id.to_string(), lease.token.to_string(), format!("{}/{}", lease.id, lease.token)] {
        assert_eq!(show(&["lease", "show", &name]).await["id"], lease.id.0);
    }
    assert_eq!(show(&["node", "show", "1"]).await["term"], 4);
    let settings = berth(fake.address, &["settings", "show", "-o", "json"]).await.json();
    assert_eq!(settings, json!({ "ttl_ms": 10_000, "activation_ms": 5_000, "fence_after_ms": 2_000 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn status_counts_everything() {
    let fake = small().await;
    let status = berth(fake.address, &["status", "-o", "json"]).await.json();
    has(&status, &["cluster", "quorum", "leader", "nodes", "registry"]);
    assert_eq!((&status["quorum"], &status["leader"]["node"], &status["cluster"]), (&json!(true), &json!(1), &json!("c1".repeat(16))));
    let registry = &status["registry"];
    has(registry, &["revision", "stale", "format", "incarnation", "settings", "open_fences"]);
    assert_eq!(registry["hosts"], json!({ "total": 2, "live": 2, "suspect": 0, "down": 0, "cordoned": 0, "draining": 0 }));
    assert_eq!(registry["containers"], json!({ "total": 2, "desired": 2, "running": 1, "pending": 1, "finished": 0 }));
    assert_eq!(registry["leases"], json!({ "total": 1, "granted": 0, "active": 1, "closing": 0, "expired": 0 }));
    let table = berth(fake.address, &["status"]).await.must(0, &[]);
    assert!(table.stdout.contains("node 1 at") && table.stdout.contains("silent: "), "{table:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn status_without_quorum_shows_what_it_can_and_ends_with_5() {
    let fake = small().await;
    fake.with().quorum = false;
    fake.mood(crate::fake::Mood::NoQuorum);
    let ended = berth(fake.address, &["status", "-o", "json"]).await.must(5, &["no quorum", "1 of 2 known nodes do not answer"]);
    let status: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!((&status["quorum"], &status["leader"]), (&json!(false), &Value::Null));
    assert_eq!((&status["registry"]["stale"], &status["registry"]["hosts"]["total"]), (&json!(true), &json!(2)));
    let table = berth(fake.address, &["status"]).await.must(5, &[]);
    assert!(table.stdout.contains("NO QUORUM") && table.stdout.contains("may be old"), "{table:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_have_revision_time_actor_and_kind() {
    let fake = small().await;
    let events = berth(fake.address, &["event", "ls", "-o", "json"]).await.json();
    let count = fake.with().events.len();
    assert_eq!(events.as_array().unwrap().len(), count);
    has(&events[0], &["revision", "time", "actor", "kind"]);
    assert_eq!((&events[0]["kind"], &events[0]["actor"]), (&json!("ClusterInitialized"), &json!("test")));
    let grant = events.as_array().unwrap().iter().find(|e| e["kind"] == "LeaseGranted").unwrap().clone();
    has(&grant, &["lease", "token", "container", "version", "host", "session", "cause"]);
    let revision = grant["revision"].to_string();
    let shown = berth(fake.address, &["event", "show", &revision, "-o", "json"]).await.json();
    assert_eq!(shown, json!([grant]));
    let table = berth(fake.address, &["events"]).await.must(0, &[]);
    assert_eq!(table.stdout.lines().count(), count);
    assert!(table.stdout.contains("2023-11-14T22:13:"), "{table:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn why_has_every_part_in_json_and_in_words() {
    let fake = small().await;
    let why = berth(fake.address, &["why", "db", "-o", "json"]).await.json();
    has(
        &why,
        &[
            "revision",
            "subject",
            "name",
            "lease",
            "volume",
            "container",
            "promise",
            "rung",
            "rests_on",
            "cannot_hold",
            "standings",
            "bars",
            "unclean",
            "attempt",
            "fences",
            "fence_retry_ms",
            "suspicions",
            "blocks",
            "earliest_takeover_ms",
            "silent_ms",
            "unplaced",
            "history",
        ],
    );
    assert_eq!((&why["lease"]["host"], &why["earliest_takeover_ms"]), (&json!("h1"), &json!(12_500)));
    assert_eq!(
        (&why["rung"], &why["rests_on"], &why["standings"][0]["volume"]),
        (&json!(1), &json!(["rung 1, guard executor"]), &json!("v"))
    );
    let words = berth(fake.address, &["why", "db"]).await.must(0, &[]).stdout;
    for text in [
        "Container db is held by host h1",
        "rests on (rung 1 of 0 to 6):",
        "rung 1, guard executor",
        "What that cannot hold:\n  a paused virtual machine",
        "volume v is held by another",
        "12500ms at the earliest",
        "last heard 1500ms ago",
    ] {
        assert!(words.contains(text), "{text:?} is missing in\n{words}");
    }
    let words = berth(fake.address, &["why", "idle"]).await.must(0, &[]).stdout;
    for text in ["Container idle is held by nobody", "It is to run", "h9: the host is Draining"] {
        assert!(words.contains(text), "{text:?} is missing in\n{words}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_have_one_line_an_object_and_no_secrets() {
    let fake = small().await;
    for (args, lines) in [
        (["ps"].as_slice(), 3),
        (&["host", "ls"], 3),
        (&["volume", "ls"], 2),
        (&["container", "ls"], 3),
        (&["lease", "ls"], 2),
        (&["node", "ls"], 3),
    ] {
        let ended = berth(fake.address, args).await.must(0, &[]);
        assert_eq!(ended.stdout.lines().count(), lines, "{ended:?}");
        assert!(!ended.stdout.contains("secret") && !ended.stdout.contains('\u{1b}'), "{ended:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stale_reads_say_so_to_the_server() {
    let fake = small().await;
    berth(fake.address, &["host", "ls", "--stale"]).await.must(0, &[]);
    berth(fake.address, &["host", "ls"]).await.must(0, &[]);
    assert_eq!(fake.with().calls, ["read-stale", "read"]);
}
