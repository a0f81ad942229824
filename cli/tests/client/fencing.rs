//! Fencing on the command line: agents and their secrets, the operator's words, the history of fences, volumes of every driver, Docker's flags that
//! Berth refuses.

use std::collections::BTreeSet;

use berth_state::Order;
use berth_state::codec::Wire;
use berth_state::command::{BeginFenceAttempt, EndFenceAttempt, FenceLease, StartFence, SuspectSplitBrain, UpdateHost};
use berth_state::ids::{NodeId, Token, Version};
use berth_state::noun::fence::FenceMethod;
use berth_state::noun::host::{FenceAgent, HostSpec};
use berth_state::noun::lease::Evidence;
use berth_state::noun::secrets::HIDDEN;
use serde_json::json;

use crate::fake::Fake;
use crate::run::{berth, command, end};
use crate::world::{host, small, volume};

const PASSWORD: &str = "hunter2-of-the-bmc";

fn last_order(fake: &Fake) -> Order {
    Order::from_pb(fake.with().writes.last().unwrap().order.clone().unwrap()).unwrap()
}

/// h1 has an agent that fails once and then works; db's lease on it is fenced by power.
async fn fenced() -> (Fake, Token) {
    let fake = small().await;
    let token = {
        let mut inner = fake.with();
        let agent =
            FenceAgent { agent: "fence_dummy".to_owned(), options: Default::default(), secrets: Default::default(), timeout_ms: 9_000 };
        let version = inner.state.host(&host("h1")).unwrap().version;
        let spec = HostSpec { fence_agents: vec![agent], ..HostSpec::default() };
        inner.must(Order::UpdateHost(UpdateHost { host: host("h1"), version, spec }));
        let lease = inner.lease_of("db");
        let (id, token, method) = (lease.id, lease.token, FenceMethod::PowerOff);
        inner.must(Order::StartFence(StartFence { lease: id, token, method, heard: None }));
        for (ok, output) in [(false, "cannot reach the BMC\ntimed out"), (true, "Success: Powered OFF")] {
            let begin = BeginFenceAttempt {
                host: host("h1"),
                method,
                agent: "fence_dummy".to_owned(),
                node: NodeId(1),
                tokens: vec![token],
                timeout_ms: 9_000,
                instead: None,
            };
            inner.must(Order::BeginFenceAttempt(begin));
            let attempt = berth_state::ids::Revision(inner.revision);
            inner.must(Order::EndFenceAttempt(EndFenceAttempt { host: host("h1"), attempt, ok, output: output.to_owned() }));
        }
        inner.must(Order::FenceLease(FenceLease { lease: id, token, evidence: Evidence::PoweredOff }));
        token
    };
    (fake, token)
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_of_a_fence_agent_come_from_file_or_environment_and_are_never_shown() {
    let fake = small().await;
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("bmc");
    std::fs::write(&file, format!("{PASSWORD}\n")).unwrap();
    let first = format!("fence_ipmilan ip=10.0.0.9 login=admin passwd@file={} @timeout=20s", file.display());
    let args = ["host", "add", "h3", "--storage-address", "10.1.0.3", "--fence-agent", &first, "--fence-agent", "fence_b key@env=PDU"];
    let mut add = command(home.path(), &args);
    add.env("BERTH_ENDPOINTS", fake.address.to_string()).env("PDU", "pdu-secret");
    end(add).await.must(0, &["host h3 added"]);
    let Order::AddHost(order) = last_order(&fake) else { panic!("another order") };
    let agents = &order.spec.fence_agents;
    assert_eq!((agents[0].agent.as_str(), agents[1].agent.as_str(), agents[0].timeout_ms), ("fence_ipmilan", "fence_b", 20_000));
    assert_eq!((agents[0].secrets.0["passwd"].as_str(), agents[1].secrets.0["key"].as_str()), (PASSWORD, "pdu-secret"));

    // What was given is kept through an update by somebody who was never shown it.
    berth(fake.address, &["host", "update", "h3", "--label", "a=b"]).await.must(0, &[]);
    let kept = fake.with().state.host(&host("h3")).unwrap().spec.clone();
    assert_eq!((kept.fence_agents[0].secrets.0["passwd"].as_str(), kept.labels.len()), (PASSWORD, 1));
    berth(fake.address, &["host", "update", "h3", "--fence-agent", "fence_ipmilan ip=10.0.0.10 passwd@kept"]).await.must(0, &[]);
    let kept = fake.with().state.host(&host("h3")).unwrap().spec.clone();
    assert_eq!((kept.fence_agents.len(), kept.fence_agents[0].secrets.0["passwd"].as_str()), (1, PASSWORD));

    let shown = berth(fake.address, &["host", "show", "h3", "-o", "json"]).await.json();
    assert_eq!(shown["spec"]["fence_agents"][0]["secrets"], json!({ "passwd": HIDDEN }));
    assert_eq!(shown["spec"]["storage_address"], "10.1.0.3");
    for args in [
        ["host", "ls"].as_slice(),
        &["host", "show", "h3"],
        &["events"],
        &["events", "-o", "json"],
        &["events", "--verify", "-o", "json"],
        &["event", "ls", "-o", "json"],
    ] {
        let ended = berth(fake.address, args).await.must(0, &[]);
        assert!(!ended.stdout.contains(PASSWORD) && !ended.stdout.contains("pdu-secret"), "{args:?}: {ended:?}");
    }
    let folder = home.path().join("history");
    berth(fake.address, &["proof", "v", "--export", folder.to_str().unwrap()]).await.must(0, &[]);
    let hex: String = PASSWORD.bytes().map(|b| format!("{b:02x}")).collect();
    assert!(!std::fs::read_to_string(folder).unwrap().contains(&hex));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fence_agent_that_would_show_a_secret_is_refused_without_repeating_it() {
    let fake = small().await;
    let before = fake.with().writes.len();
    let text = format!("fence_ipmilan passwd={PASSWORD}");
    let ended = berth(fake.address, &["host", "update", "h1", "--fence-agent", &text]).await.must(2, &["passwd@file=PATH"]);
    assert!(!ended.stderr.contains(PASSWORD), "{ended:?}");
    berth(fake.address, &["host", "update", "h1", "--fence-agent", "fence_a p@env=NO_SUCH_VARIABLE"]).await.must(2, &["NO_SUCH_VARIABLE"]);
    berth(fake.address, &["host", "update", "h1", "--fence-agent", "fence_a p@file=/no/such/file"]).await.must(2, &["/no/such/file"]);
    assert_eq!(fake.with().writes.len(), before);
    berth(fake.address, &["host", "update", "h1", "--fence-agent", "fence_a p@kept"]).await.must(1, &["give its value"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_of_fences_has_every_try_with_its_output() {
    let (fake, token) = fenced().await;
    for of in [None, Some("h1"), Some("v"), Some("db")] {
        let args: Vec<&str> = ["fence", "history", "-o", "json"].into_iter().chain(of).collect();
        let history = berth(fake.address, &args).await.json();
        let entry = &history[0];
        assert_eq!((&entry["token"], &entry["method"], &entry["volumes"]), (&json!(token.0), &json!("power-off"), &json!(["v"])));
        let attempts = entry["attempts"].as_array().unwrap();
        assert_eq!((attempts.len(), &attempts[0]["ok"], &attempts[1]["ok"]), (2, &json!(false), &json!(true)));
        assert_eq!((&attempts[1]["output"], &entry["evidence"]["kind"]), (&json!("Success: Powered OFF"), &json!("powered-off")));
    }
    assert_eq!(berth(fake.address, &["fence", "history", "h2", "-o", "json"]).await.json(), json!([]));
    berth(fake.address, &["fence", "history", "nobody"]).await.must(3, &["no host, volume or container"]);
    let words = berth(fake.address, &["fence", "history"]).await.must(0, &[]).stdout;
    for text in ["fence_dummy (power-off) on node 1: failed", "      cannot reach the BMC\n      timed out", "fenced: PoweredOff"] {
        assert!(words.contains(text), "{text:?} is missing in\n{words}");
    }
    let fences = berth(fake.address, &["fence", "ls"]).await.must(0, &[]).stdout;
    assert!(fences.contains("fence_dummy: ok") && fences.contains("TRIES FAILED"), "{fences}");
    let words = berth(fake.address, &["why", "db"]).await.must(0, &[]).stdout;
    assert!(words.contains("fence_dummy (power-off) on node 1: failed: cannot reach the BMC"), "{words}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_names_the_attempt_that_was_acknowledged() {
    let (fake, _) = fenced().await;
    let proof = berth(fake.address, &["proof", "v", "-o", "json"]).await.json();
    let evidence = proof["leases"][0]["end"]["evidence"].as_str().unwrap();
    assert!(evidence.starts_with("PoweredOff, attempt ") && evidence.ends_with("by fence_dummy on node 1"), "{proof}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fenced_host_is_shown_and_unfenced_on_a_persons_word() {
    let (fake, token) = fenced().await;
    let table = berth(fake.address, &["host", "ls"]).await.must(0, &[]).stdout;
    assert!(table.lines().any(|line| line.starts_with("h1") && line.contains(&token.to_string())), "{table}");
    let status = berth(fake.address, &["status", "-o", "json"]).await.json();
    assert_eq!(status["registry"]["unclean_hosts"], 1);
    berth(fake.address, &["host", "unfence", "h1", "--reason", " "]).await.must(2, &["--reason"]);
    berth(fake.address, &["host", "unfence", "h1", "--reason", "reinstalled"]).await.must(0, &["may get leases again"]);
    let Order::UnfenceHost(order) = last_order(&fake) else { panic!("another order") };
    assert!(order.name.starts_with("tester@") && order.reason == "reinstalled", "{order:?}");
    berth(fake.address, &["host", "unfence", "h1", "--reason", "again"]).await.must(3, &["nothing to clear"]);
    let history = berth(fake.address, &["fence", "history", "-o", "json"]).await.json();
    assert_eq!(history[0]["gone"]["kind"], "operator-confirmed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_renews_is_confirmed_dead_only_by_force() {
    let fake = small().await;
    let lease = fake.with().lease_of("db");
    let exact = format!("{}/{}", lease.id, lease.token);
    for target in ["h1", "db", &exact] {
        let said = ["host h1 is live and renews", "berth container stop db", "--force"];
        berth(fake.address, &["fence", "confirm", target, "--reason", "I think so"]).await.must(4, &said);
    }
    assert!(fake.with().writes.is_empty(), "nothing was sent");
    berth(fake.address, &["fence", "confirm", &exact, "--reason", "cloned machine", "--force"]).await.must(0, &["is fenced on your word"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspected_volume_is_shown_and_cleared_on_a_persons_word() {
    let fake = small().await;
    {
        let mut inner = fake.with();
        let lease = inner.lease_of("db");
        let order = SuspectSplitBrain { session: lease.session, lease: lease.id, token: lease.token, volume: volume("v"), other: Token(3) };
        inner.must(Order::SuspectSplitBrain(order));
    }
    let volume = berth(fake.address, &["volume", "show", "v", "-o", "json"]).await.json();
    assert_eq!(volume["suspicion"]["other"], 3);
    let table = berth(fake.address, &["volume", "ls"]).await.must(0, &[]).stdout;
    assert!(table.contains("and 3"), "{table}");
    assert!(berth(fake.address, &["status"]).await.stdout.contains("SUSPECT     1 volumes"));
    berth(fake.address, &["volume", "clear", "v", "--reason", ""]).await.must(2, &["--reason"]);
    berth(fake.address, &["volume", "clear", "v", "--reason", "compared, equal"]).await.must(0, &["may be had again"]);
    berth(fake.address, &["volume", "clear", "v", "--reason", "again"]).await.must(3, &["nothing to clear"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn volumes_of_every_driver_are_added_with_checked_options_and_a_rule_that_fits() {
    let fake = small().await;
    let table: [(&str, &[&str], &str); 8] = [
        ("image", &["file=/srv/a.img", "size=1G", "fs=xfs"], "after-expiry"),
        ("nfs", &["server=nas", "export=/e", "revoke=/usr/local/bin/revoke"], "after-fence"),
        ("glusterfs", &["servers=g1,g2", "volume=gv"], "after-expiry"),
        ("glusterfs", &["servers=g1", "volume=gw", "fence=auth-reject"], "after-fence"),
        ("cephfs", &["monitors=m1:6789", "path=/x"], "after-expiry"),
        ("cephfs", &["monitors=m1", "path=/y", "fence=evict"], "after-fence"),
        ("exec", &["program=/opt/d", "cut=yes", "dataset=a"], "after-expiry"),
        ("exec", &["program=/opt/d", "fence=token", "dataset=b", "opt.zone=z"], "after-fence"),
    ];
    let mut names = BTreeSet::new();
    for (n, (driver, options, takeover)) in table.into_iter().enumerate() {
        let name = format!("w{n}");
        let given = options.iter().flat_map(|option| ["-O", option]);
        let args: Vec<&str> = ["volume", "add", &name, "--driver", driver].into_iter().chain(given).collect();
        berth(fake.address, &args).await.must(0, &["added"]);
        let volume = berth(fake.address, &["volume", "show", &name, "-o", "json"]).await.json();
        assert_eq!((&volume["spec"]["driver"], &volume["spec"]["takeover"]), (&json!(driver), &json!(takeover)), "{volume}");
        names.insert(name);
    }
    berth(fake.address, &["volume", "add", "x", "--driver", "image", "-O", "fil=/a"])
        .await
        .must(1, &["has no option \"fil\"", "direct-io"]);
    berth(fake.address, &["volume", "add", "x", "--driver", "nfs", "-O", "server=n", "-O", "export=/x"]).await.must(1, &["--coherent"]);
    berth(fake.address, &["volume", "update", "w3", "--option-rm", "fence", "--takeover", "manual"]).await.must(0, &["version 2"]);
    let Order::UpdateVolume(order) = last_order(&fake) else { panic!("another order") };
    assert_eq!((order.version, order.spec.options.contains_key("fence")), (Version(1), false));
    let help = berth(fake.address, &["volume", "add", "--help"]).await.must(0, &[]).stdout;
    for driver in ["path ", "image ", "nfs ", "glusterfs ", "cephfs ", "exec "] {
        assert!(help.contains(&format!("\n  {driver}")), "{driver} is missing in\n{help}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn flags_of_docker_that_would_go_around_a_lease_are_refused_with_what_to_do_instead() {
    let fake = small().await;
    let add = |more: &[&'static str]| ["container", "run", "c", "--image", "i"].iter().chain(more).copied().collect::<Vec<&str>>();
    for mode in ["host", "container:db"] {
        let said = ["is refused", "PID 1 is the guard"];
        berth(fake.address, &add(&["--pid", if mode == "host" { "host" } else { "container:db" }])).await.must(2, &said);
    }
    berth(fake.address, &add(&["--restart", "unless-stopped"])).await.must(2, &["Docker's word", "use always"]);
    berth(fake.address, &add(&["--restart", "no"])).await.must(2, &["here it is never"]);
    berth(fake.address, &add(&["--init-timeout", "5s"])).await.must(2, &["no init hook"]);
    assert!(fake.with().writes.is_empty());
    berth(fake.address, &add(&["--volume", "w:/data", "--privileged"])).await.must(3, &["no volume w"]);
    fake.with().add_volume("w");
    berth(fake.address, &add(&["--volume", "w:/data", "--privileged"])).await.must(1, &["--privileged-insist"]);
    berth(fake.address, &add(&["--volume", "w:/data", "--privileged", "--privileged-insist"])).await.must(0, &["added"]);
}
