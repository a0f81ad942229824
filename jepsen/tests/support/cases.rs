//! The cases of the story, one function each: do one thing to the cluster, wait for what must follow, and have everything checked. Called by the end-to-end
//! test in turn; each leaves all hosts live, for the next.

use crate::story::{Before, CONTAINER, LONG, Outcome, Story};
use berth_jepsen::e2e::{Stamp, Told, postmaster_pid};
use berth_jepsen::lab::wait_until;
use rustix::process::{Pid, Signal, kill_process};
use std::time::{Duration, Instant};

/// Power cut: nothing of the host answers, nothing of it runs. Its lease has to run out before another host may start.
pub fn a_killed_host_loses_its_lease_by_running_out(story: &mut Story) {
    let before = story.before("host killed");
    let host = before.placed.host.clone();
    story.cluster.host(&host).unwrap().docker.kill_host().unwrap();
    let after = story.taken_over(&before);
    assert_ne!(after.host, host);
    let evidence = ended_by(story, &before);
    assert_eq!(evidence, "RanOut");
    story.cluster.boot(&host).unwrap();
    is_back_and_clean(story, &host);
    story.after(&before, Outcome { evidence: Some(evidence), ..Outcome::default() });
}

/// The cable is pulled, and the host runs on: it has to stop its own Postgres before another host may start.
pub fn a_host_that_is_cut_off_stops_its_postgres_before_the_takeover(story: &mut Story) {
    let before = story.before("host cut off");
    let host = before.placed.host.clone();
    story.cluster.host(&host).unwrap().docker.partition().unwrap();
    let cut = Stamp::now();
    let after = story.taken_over(&before);
    assert_ne!(after.host, host);
    let evidence = ended_by(story, &before);
    assert_eq!(evidence, "RanOut");
    story.never_up_twice(before.case);
    let stopped = story.processes.lives().iter().filter(|life| life.host == host).map(|life| life.seen).max().unwrap();
    let self_stop = stopped.since(cut);
    assert!(self_stop > Duration::ZERO, "Postgres on {host} was there when the cable was pulled");
    assert!(self_stop < story.cluster.ttl(), "no renewal got out after the cut, so the host stops within the ttl: {self_stop:?}");
    assert_eq!(postmaster_pid(&story.cluster.host(&host).unwrap().docker), None);
    story.cluster.host(&host).unwrap().docker.heal().unwrap();
    is_back_and_clean(story, &host);
    story.after(&before, Outcome { evidence: Some(evidence), self_stop: Some(self_stop) });
}

/// `kill -9` of the leading node: leases live on in the group, so nothing may happen to Postgres.
pub fn a_killed_leader_costs_postgres_nothing(story: &mut Story) {
    let before = story.before("leader killed");
    let old = story.cluster.wait_for_leader(|_| true).unwrap();
    story.cluster.kill_node(old).unwrap();
    let new = story.cluster.wait_for_leader(|id| id != old).unwrap();
    println!("         node {old} led, now node {new}");
    story.for_a_whole_lease("the writer's connection under the new leader", || story.writer.connections() == before.connections);
    untouched(story, &before);
    story.cluster.start_node(old).unwrap();
    node_catches_up(story, old);
    story.after(&before, Outcome::default());
}

/// Two deaths under one lease: the postmaster by `kill -9`, then the container by Docker.
pub fn a_killed_container_is_started_again_on_its_host_under_its_token(story: &mut Story) {
    let before = story.before("container killed");
    let postmaster = postmaster_pid(&story.cluster.host(&before.placed.host).unwrap().docker).unwrap();
    kill_process(Pid::from_raw(postmaster).unwrap(), Signal::KILL).unwrap();
    let second = restarted(story, &before, &before.postmaster);
    let docker = &story.cluster.host(&before.placed.host).unwrap().docker;
    let running = docker.docker(&["ps", "--quiet"]).unwrap();
    docker.docker(&["kill", &running]).unwrap();
    restarted(story, &before, &second);
    assert_eq!(story.told(&before), vec![], "no step of any lease");
    story.after(&before, Outcome::default());
}

/// A planned move: the old instance is stopped, its lease released, and only then the new one granted.
pub fn a_drain_moves_the_container_to_another_host(story: &mut Story) {
    let before = story.before("drain");
    let host = before.placed.host.clone();
    story.cluster.cli().run(&["host", "drain", &host]).unwrap();
    let after = story.taken_over(&before);
    assert_ne!(after.host, host);
    let evidence = ended_by(story, &before);
    assert_eq!(evidence, "Released");
    assert!(story.told(&before).contains(&Told::Revoked(before.placed.token)));
    is_back_and_clean(story, &host);
    story.cluster.cli().run(&["host", "uncordon", &host]).unwrap();
    story.after(&before, Outcome { evidence: Some(evidence), ..Outcome::default() });
}

/// `kill -9` of the executor, started again within the ttl: its containers and their leases do not notice.
pub fn a_restarted_executor_finds_its_postgres_again(story: &mut Story) {
    let before = story.before("executor restarted");
    story.cluster.kill_executor(&before.placed.host).unwrap();
    story.cluster.start_executor(&before.placed.host).unwrap();
    story.for_a_whole_lease("the writer's connection beside the new executor", || story.writer.connections() == before.connections);
    untouched(story, &before);
    story.after(&before, Outcome::default());
}

/// The promise does not rest on the executor: with it dead and the cable pulled, the guards on the host end Postgres at its deadline all the same. (Before
/// there were guards this was the place where two of them were up at once.)
pub fn without_its_executor_a_host_that_is_cut_off_still_stops_before_the_takeover(story: &mut Story) {
    let before = story.before("executor dead");
    let host = before.placed.host.clone();
    story.cluster.kill_executor(&host).unwrap();
    story.cluster.host(&host).unwrap().docker.partition().unwrap();
    let cut = Stamp::now();
    let after = story.taken_over(&before);
    assert_ne!(after.host, host);
    story.never_up_twice(before.case);
    let stopped = story.processes.lives().iter().filter(|life| life.host == host).map(|life| life.seen).max().unwrap();
    let self_stop = stopped.since(cut);
    assert!(self_stop > Duration::ZERO, "Postgres on {host} was there when the cable was pulled");
    assert!(self_stop < story.cluster.ttl(), "nobody renewed after the executor was dead, so the host stops within the ttl: {self_stop:?}");
    let evidence = ended_by(story, &before);
    assert_eq!(evidence, "RanOut");
    story.cluster.host(&host).unwrap().docker.heal().unwrap();
    story.cluster.start_executor(&host).unwrap();
    is_back_and_clean(story, &host);
    story.after(&before, Outcome { evidence: Some(evidence), self_stop: Some(self_stop) });
}

/// The same postmaster, host and token as before the case, rows flowing, and no step of any lease.
pub fn untouched(story: &Story, before: &Before) {
    let placed = story.cluster.cli().placed(CONTAINER).unwrap().unwrap();
    assert_eq!((&placed.host, placed.token), (&before.placed.host, before.placed.token));
    assert_eq!(story.postmaster(&placed.host), before.postmaster);
    assert_eq!(story.told(before), vec![], "no step of any lease");
    story.rows_flow(placed.token, Stamp::now());
}

/// Waits until another postmaster than `last` runs on the same host and takes rows under the same token. Returns when it started.
pub fn restarted(story: &Story, before: &Before, last: &str) -> String {
    let killed = Instant::now();
    let mut now = String::new();
    wait_until("another postmaster", LONG, || {
        now = story.postmaster(&before.placed.host);
        Ok(now != last)
    })
    .unwrap();
    println!("         another postmaster after {:?}", killed.elapsed());
    story.rows_flow(before.placed.token, Stamp::now());
    now
}

/// How the lease of before ended, after checking that the log tells it in the right order: its end before the next grant.
pub fn ended_by(story: &Story, before: &Before) -> String {
    let told = story.told(before);
    let old = before.placed.token;
    let end =
        told.iter().position(|t| matches!(t, Told::Fenced(token, _) | Told::Released(token) | Told::Withdrawn(token) if *token == old));
    let grant = told.iter().position(|t| matches!(t, Told::Granted(_)));
    assert!(end.is_some() && end < grant, "the lease {old} ended before the next was granted: {told:?}");
    let (before_end, end) = (&told[..end.unwrap()], &told[end.unwrap()]);
    if let Told::Fenced(_, evidence) = end {
        assert!(before_end.contains(&Told::Expired(old)), "expired before it was fenced: {told:?}");
        return evidence.split('-').map(|word| word[..1].to_uppercase() + &word[1..]).collect();
    }
    assert_eq!(*end, Told::Released(old));
    "Released".to_string()
}

/// The host takes part again, and nothing of its old instance is left on it.
pub fn is_back_and_clean(story: &Story, host: &str) {
    story.cluster.wait_for_host(host).unwrap();
    let docker = &story.cluster.host(host).unwrap().docker;
    let gone = || Ok(docker.docker(&["ps", "--all", "--quiet"])?.is_empty());
    wait_until(&format!("the old container of {host} to be removed"), LONG, gone).unwrap();
    assert_eq!(postmaster_pid(docker), None);
}

/// A restarted node has applied what the others had when it came back.
pub fn node_catches_up(story: &Story, id: u64) {
    let leader = story.cluster.wait_for_leader(|_| true).unwrap();
    let cli = story.cluster.cli();
    let target = cli.applied_index(leader).unwrap().expect("the leader answers");
    wait_until(&format!("node {id} to apply entry {target}"), LONG, || Ok(cli.applied_index(id)? >= Some(target))).unwrap();
}
