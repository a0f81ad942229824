//! End to end: three control nodes, three Docker hosts, and a real Postgres that fails over between them while a client writes. Needs root and Docker; says
//! so and is skipped where they are missing, except in CI. Prints tables of outages and writes `target/reports/e2e.json` and `e2e-trouble.json`.

#![allow(clippy::unwrap_used, reason = "test")]

use berth_jepsen::e2e::{Stamp, overlaps};
use berth_jepsen::lab::{self, DockerHost, IMAGE_POSTGRES, Lab, wait_until};
use std::fs;
use std::time::Duration;

#[path = "support/answers.rs"]
mod answers;
#[path = "support/cases.rs"]
mod cases;
#[path = "support/pg.rs"]
mod pg;
#[path = "support/story.rs"]
mod story;
#[path = "support/trouble.rs"]
mod trouble;
#[path = "support/writer.rs"]
mod writer;

use answers::AnswerWatch;
use story::{LONG, SECOND, Story};

/// The product's default. It has to outlast an election after the last renewal: hold(T) − T/3 = 5.7 s.
const TTL: Duration = Duration::from_secs(10);

#[test]
fn a_postgres_fails_over_between_three_docker_hosts_and_loses_no_acknowledged_row() {
    if !lab::ready_or_skip("the end-to-end test") {
        return;
    }
    let mut story = Story::begin("e2e", TTL);
    cases::a_killed_host_loses_its_lease_by_running_out(&mut story);
    cases::a_host_that_is_cut_off_stops_its_postgres_before_the_takeover(&mut story);
    cases::a_killed_leader_costs_postgres_nothing(&mut story);
    cases::a_killed_container_is_started_again_on_its_host_under_its_token(&mut story);
    cases::a_drain_moves_the_container_to_another_host(&mut story);
    cases::a_restarted_executor_finds_its_postgres_again(&mut story);
    cases::without_its_executor_a_host_that_is_cut_off_still_stops_before_the_takeover(&mut story);
    story.end();
}

/// Shorter than the default, and still longer than an election after the last renewal.
const SHORT_TTL: Duration = Duration::from_secs(6);

#[test]
fn a_postgres_outlives_a_control_plane_that_fails_and_a_host_that_is_heard_one_way() {
    if !lab::ready_or_skip("the end-to-end test of more trouble") {
        return;
    }
    let mut story = Story::begin("e2e-trouble", SHORT_TTL);
    trouble::all_nodes_restarted_within_the_ttl_cost_postgres_nothing(&mut story);
    trouble::a_host_and_the_leader_killed_at_once_are_one_failover(&mut story);
    trouble::a_host_that_clients_still_reach_stops_before_the_takeover(&mut story);
    trouble::without_a_quorum_postgres_stops_at_its_deadline_and_comes_back_with_it(&mut story);
    trouble::a_killed_dockerd_costs_a_restart_on_the_same_host(&mut story);
    story.end();
}

/// The negative control: what Berth prevents does happen without it, and both watchers see it. A checker that passes here proves nothing above.
#[test]
fn two_postgres_on_one_volume_without_berth_are_both_up_and_the_watchers_notice() {
    if !lab::ready_or_skip("the double-start control") {
        return;
    }
    let image = lab::postgres_image(&lab::default_cache_dir()).unwrap();
    let lab = Lab::new("twice").unwrap();
    let hosts = lab.add_docker_hosts(&["h1", "h2"]).unwrap();
    std::thread::scope(|s| hosts.iter().for_each(|h| drop(s.spawn(|| h.load_image(&image, IMAGE_POSTGRES).unwrap()))));
    let data = lab.shared_dir().join("pgdata");
    fs::create_dir(&data).unwrap();
    let machines = hosts.iter().map(|host| lab::Machine::clone(host)).collect();
    let processes = berth_jepsen::e2e::ProcessWatch::start(machines);
    let answers = AnswerWatch::start(&hosts.iter().map(|host| (host.name().to_string(), host.ip())).collect());

    run_postgres(&hosts[0], &data);
    pg::Pg::connect_soon(hosts[0].ip()).execute("create table t (n bigint)");
    let alone = Stamp::now();
    wait_until("a whole second of one Postgres alone", 2 * SECOND, || Ok(Stamp::now().since(alone) > SECOND)).unwrap();
    assert_eq!(overlaps(&processes.lives()), vec![], "one Postgres is no overlap");
    assert_eq!(overlaps(&answers.lives()), vec![], "one Postgres is no overlap");

    run_postgres(&hosts[1], &data);
    wait_until("the kernel's witness to see both", LONG, || Ok(!overlaps(&processes.lives()).is_empty())).unwrap();
    wait_until("the answers of both", LONG, || Ok(!overlaps(&answers.lives()).is_empty())).unwrap();
    for twice in overlaps(&[processes.lives(), answers.lives()].concat()) {
        println!("noticed: {twice}");
    }
    drop((processes, answers));
    lab.teardown().unwrap();
}

fn run_postgres(host: &DockerHost, data: &std::path::Path) {
    let mount = format!("{}:/var/lib/postgresql/data", data.display());
    host.docker(&["run", "--detach", "--name", "pg", "--publish", "5432:5432", "--volume", &mount, IMAGE_POSTGRES]).unwrap();
}
