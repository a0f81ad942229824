//! More trouble than the six cases of the story: faults of the control plane as a whole, two at once, and in one direction. Called by the end-to-end test in
//! turn; each leaves all hosts live, for the next.

use crate::cases::{ended_by, is_back_and_clean, node_catches_up, restarted, untouched};
use crate::story::{CONTAINER, LONG, Outcome, Story};
use berth_jepsen::e2e::{Stamp, Told, postmaster_pid};
use berth_jepsen::lab::wait_until;
use std::time::Duration;

/// `kill -9` of every control node at once: leases are in the log, and their time goes on from the nodes' restart.
pub fn all_nodes_restarted_within_the_ttl_cost_postgres_nothing(story: &mut Story) {
    let before = story.before("all nodes restarted");
    let nodes = story.cluster.node_ids();
    nodes.iter().for_each(|id| story.cluster.kill_node(*id).unwrap());
    nodes.iter().for_each(|id| story.cluster.start_node(*id).unwrap());
    story.for_a_whole_lease("the writer's connection under the restarted nodes", || story.writer.connections() == before.connections);
    untouched(story, &before);
    story.after(&before, Outcome::default());
}

/// Power cut of the host together with the leader's death: the new leader ends the lease it never renewed itself, and not earlier.
pub fn a_host_and_the_leader_killed_at_once_are_one_failover(story: &mut Story) {
    let before = story.before("host and leader");
    let host = before.placed.host.clone();
    let old = story.cluster.wait_for_leader(|_| true).unwrap();
    story.cluster.host(&host).unwrap().docker.kill_host().unwrap();
    story.cluster.kill_node(old).unwrap();
    story.taken_over(&before);
    let evidence = ended_by(story, &before);
    assert_eq!(evidence, "RanOut");
    story.cluster.start_node(old).unwrap();
    story.cluster.boot(&host).unwrap();
    is_back_and_clean(story, &host);
    node_catches_up(story, old);
    story.after(&before, Outcome { evidence: Some(evidence), ..Outcome::default() });
}

/// The nodes do not hear the host any more, but clients do: it takes writes until it stops itself, and none of them may be lost.
pub fn a_host_that_clients_still_reach_stops_before_the_takeover(story: &mut Story) {
    let before = story.before("one way");
    let host = before.placed.host.clone();
    for node in story.cluster.node_ips() {
        story.cluster.host(&host).unwrap().docker.drop_to(node).unwrap();
    }
    let cut = Stamp::now();
    story.taken_over(&before);
    story.never_up_twice(before.case);
    let stopped = story.processes.lives().iter().filter(|life| life.host == host).map(|life| life.seen).max().unwrap();
    let self_stop = stopped.since(cut);
    assert!(self_stop < story.cluster.ttl(), "no renewal got out after the cut, so the host stops within the ttl: {self_stop:?}");
    let evidence = ended_by(story, &before);
    assert_eq!(evidence, "RanOut");
    story.cluster.host(&host).unwrap().docker.heal().unwrap();
    is_back_and_clean(story, &host);
    story.after(&before, Outcome { evidence: Some(evidence), self_stop: Some(self_stop) });
}

/// Nobody can renew without a quorum, so an after-expiry volume's container stops at its deadline; with the quorum it is back under a new token.
pub fn without_a_quorum_postgres_stops_at_its_deadline_and_comes_back_with_it(story: &mut Story) {
    let before = story.before("no quorum");
    let leader = story.cluster.wait_for_leader(|_| true).unwrap();
    let other = story.cluster.node_ids().into_iter().find(|id| *id != leader).unwrap();
    [leader, other].iter().for_each(|id| story.cluster.kill_node(*id).unwrap());
    let lost = Stamp::now();
    let machine = &story.cluster.host(&before.placed.host).unwrap().docker;
    wait_until("Postgres to stop", LONG, || Ok(postmaster_pid(machine).is_none())).unwrap();
    let self_stop = Stamp::now().since(lost);
    assert!(self_stop < story.cluster.ttl() + Duration::from_secs(1), "stopped only {self_stop:?} after the quorum was lost");
    [leader, other].iter().for_each(|id| story.cluster.start_node(*id).unwrap());
    story.taken_over(&before);
    let told = story.told(&before);
    let ended = told.iter().position(|t| matches!(t, Told::Released(token) | Told::Fenced(token, _) if *token == before.placed.token));
    assert!(ended.is_some() && ended < told.iter().position(|t| matches!(t, Told::Granted(_))), "ended before the next grant: {told:?}");
    story.after(&before, Outcome { evidence: None, self_stop: Some(self_stop) });
}

/// A dockerd without live-restore ends its containers when it starts again: that is a death like any other, under the same token.
pub fn a_killed_dockerd_costs_a_restart_on_the_same_host(story: &mut Story) {
    let before = story.before("dockerd killed");
    let docker = &story.cluster.host(&before.placed.host).unwrap().docker;
    docker.kill_dockerd().unwrap();
    docker.start_dockerd().unwrap();
    restarted(story, &before, &before.postmaster);
    let placed = story.cluster.cli().placed(CONTAINER).unwrap().unwrap();
    assert_eq!((&placed.host, placed.token), (&before.placed.host, before.placed.token));
    story.after(&before, Outcome::default());
}
