//! Plain Docker and plain commands, end to end: real dockerds on hosts of their own, the volume plugin of the real executor, a real control plane. Needs root
//! and Docker; says so and is skipped where they are missing, except in CI.

#![allow(clippy::unwrap_used, reason = "test")]

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use berth_jepsen::e2e::{Cluster, ClusterPlan};
use berth_jepsen::lab::{self, IMAGE_BUSYBOX, Lab, Launch, wait_until};
use serde_json::Value;

const TTL: Duration = Duration::from_secs(6);
const LONG: Duration = Duration::from_secs(60);
const RUN: Duration = Duration::from_secs(40);

struct Site {
    cluster: Cluster,
    binary: PathBuf,
}

impl Site {
    /// Two Docker hosts with busybox, and volumes of these names on the shared storage.
    fn new(name: &'static str, volumes: &[&str]) -> Self {
        let image = lab::busybox_image(&lab::default_cache_dir()).unwrap();
        let plan = ClusterPlan { name, nodes: 1, hosts: 2, ttl: TTL };
        let cluster = Cluster::start_in(Lab::new(name).unwrap(), plan, |host| host.load_image(&image, IMAGE_BUSYBOX)).unwrap();
        for volume in volumes {
            let data = cluster.lab().shared_dir().join(volume);
            fs::create_dir(&data).unwrap();
            let path = format!("path={}", data.display());
            cluster
                .cli()
                .run(&["volume", "add", volume, "--driver", "path", "--option", &path, "--takeover", "after-expiry", "--coherent"])
                .unwrap();
        }
        let site = Self { cluster, binary: berth_jepsen::e2e::berth_binary().unwrap() };
        for host in ["h1", "h2"] {
            let socket = site.cluster.host(host).unwrap().docker.root().unwrap().join("run/docker/plugins/berth.sock");
            wait_until("the plugin's socket", LONG, || Ok(socket.exists())).unwrap();
        }
        site
    }

    fn docker(&self, host: &str, args: &[&str]) -> Result<String, String> {
        self.cluster.host(host).unwrap().docker.docker_within(RUN, args).map_err(|error| format!("{error:#}"))
    }

    fn run(&self, host: &str, name: &str, more: &[&str], command: &[&str]) -> Result<String, String> {
        let first = ["run", "--detach", "--name", name, "--volume-driver", "berth", "--volume", "pg:/data:nocopy"];
        self.docker(host, &[&first[..], more, &[IMAGE_BUSYBOX], command].concat())
    }

    /// The un-ended lease of `volume`: host and token.
    fn holder(&self, volume: &str) -> Option<(String, u64)> {
        let leases = self.cluster.cli().json(&["lease", "ls"]).unwrap();
        let of = |lease: &&Value| lease["volumes"].as_array().is_some_and(|held| held.iter().any(|held| held["volume"] == volume));
        let lease = leases.as_array().unwrap().iter().find(of)?.clone();
        Some((lease["host"].as_str()?.to_owned(), lease["token"].as_u64()?))
    }

    fn until_free(&self, volume: &str) {
        wait_until("the lease to end", LONG, || Ok(self.holder(volume).is_none())).unwrap();
    }

    fn running(&self, host: &str) -> String {
        self.docker(host, &["ps", "--quiet"]).unwrap_or_default()
    }

    /// The client on that host, which finds its executor by the run folder.
    fn launch(&self, host: &str, args: &[&str]) -> Launch {
        let run = self.cluster.host(host).unwrap().docker.dir().join("berth-run");
        Launch::new(&self.binary).args(args).env("BERTH_RUN_DIR", run)
    }

    /// Inside the host, as its root would.
    fn berth(&self, host: &str, args: &[&str]) -> Result<String, String> {
        self.cluster.host(host).unwrap().docker.run(RUN, &self.launch(host, args)).map_err(|error| format!("{error:#}"))
    }
}

const SLEEP: [&str; 2] = ["sleep", "1000"];
const WRITE: [&str; 3] = ["sh", "-c", "while true; do date +%s >> /data/log; sleep 0.05; done"];

#[test]
fn two_docker_runs_on_two_hosts_at_once_are_one_container_and_one_readable_refusal() {
    if !lab::ready_or_skip("the volume plugin's test") {
        return;
    }
    let mut site = Site::new("plugin", &["pg"]);
    let started = std::thread::scope(|scope| {
        let both = ["h1", "h2"].map(|host| {
            scope.spawn({
                let site = &site;
                move || (host, site.run(host, "one", &[], &SLEEP))
            })
        });
        both.map(|thread| thread.join().unwrap())
    });
    let (won, lost): (Vec<_>, Vec<_>) = started.into_iter().partition(|(_, result)| result.is_ok());
    assert_eq!((won.len(), lost.len()), (1, 1), "{won:?} {lost:?}");
    let (winner, loser) = (won[0].0, lost[0].0);
    let (host, token) = site.holder("pg").unwrap();
    assert_eq!(host, winner);
    let line = lost[0].1.clone().unwrap_err();
    println!("the loser reads: {line}");
    for word in [
        &format!("docker.{winner}.pg"),
        &format!("host {winner}"),
        &format!("token {token}"),
        "earliest safe takeover",
        "berth why pg",
        "125",
    ] {
        assert!(line.contains(word), "{word}: {line}");
    }
    assert_eq!(site.running(loser), "");

    let seen: Value = serde_json::from_str(&site.docker(winner, &["volume", "inspect", "pg"]).unwrap()).unwrap();
    assert_eq!((&seen[0]["Status"]["token"], &seen[0]["Status"]["holder"]), (&Value::from(token), &Value::from(winner)));

    // Another container of that host shares the lease; a restart keeps it.
    site.run(winner, "two", &[], &SLEEP).unwrap();
    site.docker(winner, &["restart", "--time", "0", "one"]).unwrap();
    site.docker(winner, &["rm", "--force", "two"]).unwrap();
    assert_eq!(site.holder("pg"), Some((winner.to_owned(), token)));

    // The executor is away for a moment: what runs goes on under its token.
    site.cluster.kill_executor(winner).unwrap();
    std::thread::sleep(Duration::from_millis(500));
    site.cluster.start_executor(winner).unwrap();
    site.cluster.wait_for_host(winner).unwrap();
    assert_eq!(site.holder("pg"), Some((winner.to_owned(), token)));
    assert_ne!(site.running(winner), "");
    site.docker(winner, &["kill", "one"]).unwrap();
    site.until_free("pg");

    // The other host may have it now; what escapes a lease may not.
    site.docker(loser, &["rm", "--force", "one"]).unwrap();
    for (name, flags) in [("restarts", &["--restart", "always"][..]), ("pids", &["--pid", "host"][..]), ("mighty", &["--privileged"][..])] {
        match site.run(loser, name, flags, &SLEEP) {
            Err(line) => {
                println!("refused at its start: {line}");
                assert!(line.contains("may not have it"), "{line}");
            }
            // Seen only once it ran.
            Ok(_) => drop(wait_until("its end", LONG, || Ok(site.running(loser).is_empty())).unwrap()),
        }
        site.docker(loser, &["rm", "--force", name]).unwrap();
    }
    // Without nocopy, `docker create` already mounts and unmounts, for its copy-up: nothing is held by that.
    site.until_free("pg");
    site.docker(loser, &["create", "--name", "copied", "--volume-driver", "berth", "--volume", "pg:/bin", IMAGE_BUSYBOX, "true"]).unwrap();
    site.docker(loser, &["rm", "copied"]).unwrap();
    site.until_free("pg");
    site.run(loser, "three", &[], &SLEEP).unwrap();
    assert_eq!(site.holder("pg").unwrap().0, loser);
    let unknown = site.docker(loser, &["run", "--volume-driver", "berth", "--volume", "nothere:/data", IMAGE_BUSYBOX, "true"]).unwrap_err();
    assert!(unknown.contains("berth volume add nothere"), "{unknown}");
    site.cluster.teardown().unwrap();
}

#[test]
fn a_host_that_is_cut_off_kills_the_containers_before_another_host_gets_the_volume() {
    if !lab::ready_or_skip("the volume plugin's test of a lost lease") {
        return;
    }
    let site = Site::new("plugin-lost", &["pg"]);
    site.run("h1", "writer", &[], &WRITE).unwrap();
    let (_, token) = site.holder("pg").unwrap();
    let log = site.cluster.lab().shared_dir().join("pg/log");
    wait_until("a first line", LONG, || Ok(log.exists())).unwrap();
    site.cluster.host("h1").unwrap().docker.partition().unwrap();
    wait_until("the takeover", LONG, || {
        Ok(site.run("h2", "writer", &[], &SLEEP).is_ok() || site.docker("h2", &["rm", "--force", "writer"]).is_err())
    })
    .unwrap();
    let (host, newer) = site.holder("pg").unwrap();
    assert!(host == "h2" && newer > token, "{host} {newer}");
    assert_eq!(site.running("h1"), "", "a container of the old holder outlived its lease");
    let before = fs::read(&log).unwrap();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(fs::read(&log).unwrap(), before, "somebody still writes");
    site.cluster.host("h1").unwrap().docker.heal().unwrap();
    site.cluster.teardown().unwrap();
}

#[test]
fn a_dockerd_that_is_killed_and_started_again_loses_no_lease_and_leaves_none_behind() {
    if !lab::ready_or_skip("the volume plugin's test of a crashed dockerd") {
        return;
    }
    let site = Site::new("plugin-crash", &["pg"]);
    site.run("h1", "one", &[], &SLEEP).unwrap();
    let held = site.holder("pg");
    let docker = &site.cluster.host("h1").unwrap().docker;
    docker.kill_dockerd().unwrap();
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(site.holder("pg"), held, "given up while nobody can say what runs");
    docker.start_dockerd().unwrap();
    // Without live-restore a new dockerd ends what its predecessor ran; no Unmount comes.
    if site.running("h1").is_empty() {
        site.until_free("pg");
        site.docker("h1", &["start", "one"]).unwrap();
    }
    assert_eq!(site.holder("pg").unwrap().0, "h1");
    site.docker("h1", &["rm", "--force", "one"]).unwrap();
    site.until_free("pg");
    site.cluster.teardown().unwrap();
}

#[test]
fn a_command_runs_under_a_lease_and_ends_with_it() {
    if !lab::ready_or_skip("the test of berth lease run") {
        return;
    }
    let site = Site::new("leaserun", &["pg"]);
    let script = "test -n \"$BERTH_TOKEN\" && test -d \"$BERTH_VOLUME_PG\" && test \"$AT\" = \"$BERTH_VOLUME_PG\" && exit 7";
    let failed = site.berth("h1", &["lease", "run", "pg", "--mount-env", "AT=pg", "--", "sh", "-c", script]).unwrap_err();
    assert!(failed.contains('7'), "the command's own code: {failed}");
    assert_eq!(site.holder("pg"), None, "released before the caller goes on");

    let log = site.cluster.lab().shared_dir().join("pg/log");
    let forever = format!("while true; do echo x >> {}; sleep 0.05; done", log.display());
    let launch = site.launch("h1", &["lease", "run", "pg", "--", "sh", "-c", &forever]);
    let first = site.cluster.host("h1").unwrap().docker.spawn("lease-run", &launch).unwrap();
    wait_until("a first line", LONG, || Ok(log.exists())).unwrap();
    let (_, token) = site.holder("pg").unwrap();
    let loser = site.berth("h2", &["lease", "run", "pg", "--", "true"]).unwrap_err();
    println!("the loser reads: {loser}");
    for word in ["run.h1.pg", &format!("token {token}"), "earliest safe takeover"] {
        assert!(loser.contains(word), "{loser}");
    }
    // The caller is killed: its command goes too, and the lease with it.
    first.kill9().unwrap();
    site.until_free("pg");
    let before = fs::metadata(&log).unwrap().len();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(fs::metadata(&log).unwrap().len(), before, "the command outlived its caller");

    // Cut off: the guard ends it, and another host that waits gets the volume.
    let second = site.cluster.host("h1").unwrap().docker.spawn("lease-run", &launch).unwrap();
    wait_until("it writes again", LONG, || Ok(fs::metadata(&log).unwrap().len() > before)).unwrap();
    site.cluster.host("h1").unwrap().docker.partition().unwrap();
    site.berth("h2", &["lease", "run", "pg", "--wait", "35s", "--", "true"]).unwrap();
    wait_until("the caller to end too", LONG, || Ok(!second.is_alive())).unwrap();
    site.cluster.host("h1").unwrap().docker.heal().unwrap();
    site.cluster.teardown().unwrap();
}
