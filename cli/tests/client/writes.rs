//! What the write commands order: every flag ends up in its field, updates change only what is given, versions are compared.

use berth_state::Order;
use berth_state::codec::Wire;
use berth_state::noun::container::{Desired, RuntimeKind};
use berth_state::noun::lease::Evidence;
use serde_json::json;

use crate::fake::Fake;
use crate::run::berth;
use crate::world::small;

fn last_order(fake: &Fake) -> Order {
    Order::from_pb(fake.with().writes.last().unwrap().order.clone().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn container_add_carries_every_flag() {
    let fake = small().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "# note\nA=file\nB=file\n").unwrap();
    let path = file.path().to_str().unwrap().to_owned();
    let line = format!(
        "container add web --image nginx:1 --volume v:/data:ro --publish 127.0.0.1:8080:80 --publish 53:53/udp --env-file {path} --env A=flag --cpus 0.5 \
         --memory 512m --health-cmd true --health-interval 2s --health-timeout 1s --health-retries 5 --health-start-period 1m --restart on-failure:3 \
         --constraint zone==a --constraint host!=h2 --anti-affinity db --stop-signal SIGINT --stop-grace 1m \
         --init-hook first --init-timeout 2m --pre-start-hook [\"again\"] --privileged --privileged-insist --stopped -- nginx -g x"
    );
    let args: Vec<&str> = line.split_whitespace().collect();
    berth(fake.address, &args).await.must(0, &["container web added"]);
    let Order::AddContainer(order) = last_order(&fake) else { panic!("another order") };
    assert_eq!(order.desired, Desired::Stopped);
    let want = json!({
        "runtime": "docker", "image": "nginx:1", "command": ["nginx", "-g", "x"], "environment": { "A": "flag", "B": "file" },
        "volumes": [{ "volume": "v", "path": "/data", "read_only": true }],
        "ports": [
            { "host_address": "127.0.0.1", "host_port": 8080, "container_port": 80, "protocol": "tcp" },
            { "host_address": "", "host_port": 53, "container_port": 53, "protocol": "udp" },
        ],
        "limits": { "cpu_millis": 500, "memory_bytes": 536_870_912 },
        "health_check": { "command": ["/bin/sh", "-c", "true"], "interval_ms": 2_000, "timeout_ms": 1_000, "retries": 5, "start_period_ms": 60_000 },
        "restart": { "on-failure": { "max_attempts": 3 } },
        "constraints": [{ "key": "zone", "equal": true, "value": "a" }, { "key": "host", "equal": false, "value": "h2" }],
        "anti_affinity": ["db"], "stop_signal": "SIGINT", "stop_grace_ms": 60_000,
        "init": { "command": ["/bin/sh", "-c", "first"], "timeout_ms": 120_000 }, "pre_start": { "command": ["again"], "timeout_ms": 60_000 },
        "privileged": true, "privileged_insisted": true,
    });
    assert_eq!(serde_json::to_value(&order.spec).unwrap(), want);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_container_needs_only_its_command() {
    let fake = small().await;
    berth(fake.address, &["container", "add", "job", "--runtime", "process", "--", "sleep", "1"]).await.must(0, &[]);
    let Order::AddContainer(order) = last_order(&fake) else { panic!("another order") };
    assert_eq!(
        (order.spec.runtime, order.spec.image.as_str(), order.spec.command),
        (RuntimeKind::Process, "", vec!["sleep".to_owned(), "1".to_owned()])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn updates_change_only_what_is_given_and_compare_versions() {
    let fake = small().await;
    berth(fake.address, &["container", "update", "db", "--memory", "1g", "--env", "B=2"]).await.must(0, &["version 2"]);
    let Order::UpdateContainer(order) = last_order(&fake) else { panic!("another order") };
    assert_eq!((order.version.0, order.spec.image.as_str(), order.spec.volumes.len()), (1, "postgres:15", 1));
    assert_eq!(order.spec.environment.len(), 2);
    berth(fake.address, &["container", "update", "db", "--env-rm", "PASSWORD", "--clear", "memory"]).await.must(0, &["version 3"]);
    let Order::UpdateContainer(order) = last_order(&fake) else { panic!("another order") };
    assert_eq!((order.spec.environment.len(), order.spec.limits.memory_bytes), (1, None));
    berth(fake.address, &["container", "update", "db", "--image", "x", "--version", "2"]).await.must(1, &["has version 3, not 2"]);

    berth(fake.address, &["host", "update", "h1", "--label", "zone=a", "--cpus", "4"]).await.must(0, &["version 2"]);
    berth(fake.address, &["host", "update", "h1", "--label", "disk=ssd", "--clear", "cpus"]).await.must(0, &["version 3"]);
    let host = berth(fake.address, &["host", "show", "h1", "-o", "json"]).await.json();
    let want = json!({ "address": "h1.example", "labels": { "zone": "a", "disk": "ssd" }, "capacity": { "cpu_millis": null, "memory_bytes": null },
        "storage_address": "", "fence_agents": [] });
    assert_eq!(host["spec"], want);

    berth(fake.address, &["settings", "set", "--ttl", "20s", "--fence-after", "3s"]).await.must(0, &[]);
    let settings = berth(fake.address, &["settings", "show", "-o", "json"]).await.json();
    assert_eq!(settings, json!({ "ttl_ms": 20_000, "activation_ms": 5_000, "fence_after_ms": 3_000 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_has_its_takeover_rule_from_the_start() {
    let fake = small().await;
    let args = ["volume", "add", "w", "--driver", "path", "--path", "/srv/w", "--takeover", "manual", "--coherent", "--lock-delay", "2s"];
    berth(fake.address, &args).await.must(0, &["volume w added"]);
    let volume = berth(fake.address, &["volume", "show", "w", "-o", "json"]).await.json();
    let want = json!({ "driver": "path", "options": { "path": "/srv/w" }, "takeover": "manual", "coherent": true, "lock_delay_ms": 2_000 });
    assert_eq!(volume["spec"], want);
    berth(fake.address, &["volume", "update", "w", "--lock-delay", "3s", "--coherent", "false"]).await.must(0, &[]);
    berth(fake.address, &["volume", "rm", "w"]).await.must(0, &["its data is untouched"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fence_is_confirmed_for_all_leases_of_a_host_under_the_persons_name() {
    let fake = small().await;
    fake.with().run_on("idle", "h1");
    fake.with().expire("db");
    fake.with().expire("idle");
    berth(fake.address, &["fence", "confirm", "h1", "--reason", "pulled the plug"]).await.must(0, &["is fenced on your word"]);
    assert_eq!(fake.with().state.leases().count(), 0);
    let Order::FenceLease(order) = last_order(&fake) else { panic!("another order") };
    let Evidence::OperatorConfirmed { name, reason } = order.evidence else { panic!("other evidence") };
    assert!(name.starts_with("tester@"), "{name}");
    assert_eq!(reason, "pulled the plug");
    let ids: std::collections::BTreeSet<_> = fake.with().writes.iter().map(|w| w.request_id.clone()).collect();
    assert_eq!(ids.len(), 2, "each lease is a write of its own");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lifecycle_commands_order_what_they_say() {
    let fake = small().await;
    let table: [(&[&str], &str); 8] = [
        (&["container", "restart", "db"], "RestartContainer"),
        (&["container", "move", "db", "--to", "h2"], "MoveContainer"),
        (&["container", "stop", "db"], "SetDesired"),
        (&["lease", "revoke", "db"], "RevokeLease"),
        (&["container", "stop", "idle"], "SetDesired"),
        (&["container", "rm", "idle"], "RemoveContainer"),
        (&["host", "drain", "h2"], "SetScheduling"),
        (&["host", "uncordon", "h2"], "SetScheduling"),
    ];
    for (args, order) in table {
        let ended = berth(fake.address, args).await;
        assert_eq!(ended.code, 0, "{args:?}: {ended:?}");
        assert!(format!("{:?}", last_order(&fake)).starts_with(order), "{args:?}: {:?}", last_order(&fake));
    }
}
