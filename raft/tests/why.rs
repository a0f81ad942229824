//! `berth why`, the pure part: rungs, what they rest on and cannot hold, and everything about fencing that stands in the way.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::wildcard_enum_match_arm, reason = "tests")]

#[path = "../../state/tests/world/mod.rs"]
mod world;

use std::collections::{BTreeMap, BTreeSet};

use berth_raft::api::why::story::Story;
use berth_raft::api::why::why;
use berth_raft::clock::RawTime;
use berth_raft::core::View;
use berth_raft::leader::notes::Notes;
use berth_state::command::*;
use berth_state::ids::*;
use berth_state::noun::container::*;
use berth_state::noun::fence::FenceMethod;
use berth_state::noun::host::*;
use berth_state::noun::session::*;
use berth_state::noun::volume::*;
use berth_state::pb::api;
use berth_state::{Fact, Order};
use world::*;

fn ask(w: &World, name: &str) -> api::WhyResponse {
    why(&View { state: &w.state, revision: Revision(w.index) }, &Notes::default(), RawTime(1), name).unwrap()
}

#[track_caller]
fn says(lines: &[String], text: &str) {
    assert!(lines.iter().any(|line| line.contains(text)), "{text:?} is missing in {lines:#?}");
}

#[track_caller]
fn silent(lines: &[String], text: &str) {
    assert!(!lines.iter().any(|line| line.contains(text)), "{text:?} is in {lines:#?}");
}

fn host_with(w: &mut World, name: &str, guard: Guard, spec: HostSpec) {
    w.done(Order::AddHost(AddHost { host: host(name), spec }));
    let drivers =
        BTreeMap::from([(Driver::Path, Cut::None), (Driver::Image, Cut::FileSystemShutdown), (Driver::Glusterfs, Cut::FuseAbort)]);
    let declared =
        Declaration { guard, runtimes: BTreeSet::from([RuntimeKind::Process, RuntimeKind::Docker]), drivers, program: "test".to_owned() };
    w.done(Order::OpenSession(OpenSession { host: host(name), boot: BOOT, ledger: ledger(name), predecessor: None, declared }));
}

fn add_volume(w: &mut World, name: &str, driver: Driver, options: &[(&str, &str)], takeover: Takeover) {
    let options = options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let spec = VolumeSpec { driver, options, takeover, coherent: false, lock_delay_ms: 500 };
    w.done(Order::AddVolume(AddVolume { volume: volume(name), spec }));
}

/// h1 and h2 guarded by a host process; volume gl on a storage that can fence, container db on h1 under it.
fn on_gluster() -> (World, LeaseId, Token) {
    let mut w = World::empty();
    for name in ["h1", "h2"] {
        host_with(&mut w, name, Guard::HostProcess, HostSpec { storage_address: format!("10.1.0.{}", &name[1..]), ..HostSpec::default() });
    }
    let options = [("servers", "g1"), ("volume", "gv"), ("fence", "auth-reject")];
    add_volume(&mut w, "gl", Driver::Glusterfs, &options, Takeover::AfterFence);
    w.add_container("db", spec(&["gl"]));
    let (lease, token) = w.running("db", "h1");
    (w, lease, token)
}

#[test]
fn after_expiry_stands_on_the_guard_and_its_cut() {
    for (guard, rung) in [(Guard::HostProcess, 3), (Guard::Watchdog, 4)] {
        let mut w = World::empty();
        host_with(&mut w, "h1", guard, HostSpec::default());
        add_volume(&mut w, "img", Driver::Image, &[("file", "/srv/a.img")], Takeover::AfterExpiry);
        w.add_container("db", spec(&["img"]));
        assert_eq!(ask(&w, "img").rung, Some(rung), "free, by the host that could have it");
        w.running("db", "h1");
        let answer = ask(&w, "db");
        assert_eq!(answer.rung, Some(rung));
        says(&answer.rests_on, &format!("rung {rung}, guard"));
        says(&answer.rests_on, "shutting its file system down");
        says(&answer.rests_on, "within 5 % of each other");
        says(&answer.cannot_hold, "a paused virtual machine");
        says(&answer.cannot_hold, "restored under the same boot id");
        silent(&answer.cannot_hold, "dirty pages");
        says(&answer.promise, "does not hold: a paused virtual machine");
    }
}

#[test]
fn of_several_hosts_and_volumes_the_weakest_counts() {
    let mut w = World::empty();
    host_with(&mut w, "h1", Guard::HostProcess, HostSpec::default());
    host_with(&mut w, "h2", Guard::Init, HostSpec::default());
    add_volume(&mut w, "img", Driver::Image, &[("file", "/srv/a.img")], Takeover::AfterExpiry);
    assert_eq!(ask(&w, "img").rung, Some(2));
    let options = [("servers", "g1"), ("volume", "gv"), ("fence", "auth-reject")];
    add_volume(&mut w, "gl", Driver::Glusterfs, &options, Takeover::AfterFence);
    assert_eq!(ask(&w, "gl").rung, Some(5));
    w.add_container("both", spec(&["img", "gl"]));
    let answer = ask(&w, "both");
    assert_eq!(answer.rung, Some(2));
    let each: Vec<_> = answer.standings.iter().map(|standing| (standing.volume.as_str(), standing.rung)).collect();
    assert_eq!(each, [("img", Some(2)), ("gl", Some(5))]);
    says(&answer.rests_on, "volume gl: rung 5, storage fence");
}

#[test]
fn manual_rests_on_a_person_and_nothing_fits_means_no_rung() {
    let mut w = World::empty();
    host_with(&mut w, "h1", Guard::HostProcess, HostSpec::default());
    add_volume(&mut w, "man", Driver::Path, &[("path", "/srv/m")], Takeover::Manual);
    let answer = ask(&w, "man");
    assert_eq!(answer.rung, Some(3));
    says(&answer.rests_on, "a person confirms");
    says(&answer.cannot_hold, "nothing cuts them off");
    add_volume(&mut w, "pow", Driver::Path, &[("path", "/srv/p")], Takeover::AfterFence);
    let answer = ask(&w, "pow");
    assert_eq!(answer.rung, None);
    says(&answer.rests_on, "nobody can get it now");
}

#[test]
fn a_privileged_container_that_an_operator_insisted_on_says_so() {
    let mut w = World::empty();
    host_with(&mut w, "h1", Guard::HostProcess, HostSpec::default());
    add_volume(&mut w, "img", Driver::Image, &[("file", "/srv/a.img")], Takeover::AfterExpiry);
    let docker = ContainerSpec { runtime: RuntimeKind::Docker, image: "i".to_owned(), command: Vec::new(), ..spec(&["img"]) };
    w.add_container("db", ContainerSpec { privileged: true, privileged_insisted: true, ..docker });
    says(&ask(&w, "db").cannot_hold, "it is privileged");
    w.running("db", "h1");
    says(&ask(&w, "img").cannot_hold, "it is privileged");
}

#[test]
fn a_fence_under_way_is_told_with_its_attempt_its_last_try_and_the_bar() {
    let (mut w, lease, token) = on_gluster();
    let before = ask(&w, "gl");
    assert_eq!((before.rung, before.earliest_takeover_ms), (Some(5), None));
    silent(&before.cannot_hold, "virtual machine");
    let method = FenceMethod::StorageCut;
    w.done(Order::StartFence(StartFence { lease, token, method, heard: None }));
    let begin = |agent: &str| {
        Order::BeginFenceAttempt(BeginFenceAttempt {
            host: host("h1"),
            method,
            agent: agent.to_owned(),
            node: NodeId(2),
            tokens: vec![token],
            timeout_ms: 5_000,
            instead: None,
        })
    };
    w.done(begin("glusterfs g1"));
    let attempt = Revision(w.index);
    w.done(Order::EndFenceAttempt(EndFenceAttempt { host: host("h1"), attempt, ok: false, output: "\ng1: no route\nmore".to_owned() }));
    w.done(begin("glusterfs g1"));
    for name in ["gl", "db"] {
        let answer = ask(&w, name);
        assert_eq!((answer.attempt.as_ref().unwrap().id, answer.bars.len(), answer.fences.len()), (w.index, 1, 1));
        says(&answer.blocks, "waiting for its release, or for the fence to be acknowledged");
        says(&answer.blocks, "is under way: glusterfs g1 on node 2");
        says(&answer.blocks, "1 tries failed; the last try, by glusterfs g1 on node 2, failed: g1: no route");
        says(&answer.blocks, "the storage of volume gl keeps host h1 out: token");
    }
}

#[test]
fn a_fenced_holder_that_is_not_known_to_be_gone_is_told_until_it_is() {
    let (mut w, lease, token) = on_gluster();
    w.fenced("h1", (lease, token), FenceMethod::StorageCut);
    for name in ["gl", "db"] {
        let answer = ask(&w, name);
        assert_eq!((answer.unclean.len(), answer.unclean[0].host.as_str()), (1, "h1"));
        says(&answer.blocks, "berth host unfence h1");
    }
    w.done(Order::UnfenceHost(UnfenceHost { host: host("h1"), name: "ann".to_owned(), reason: "reinstalled".to_owned() }));
    let answer = ask(&w, "gl");
    assert!(answer.unclean.is_empty());
    says(&answer.blocks, "so the bar will be lifted");
    w.done(Order::StartLift(StartLift { volume: volume("gl"), host: host("h1") }));
    says(&ask(&w, "gl").blocks, "the bar is being lifted");
}

#[test]
fn a_suspicion_stands_in_the_way_and_says_what_to_do() {
    let (mut w, lease, token) = on_gluster();
    let session = w.session("h1");
    w.done(Order::SuspectSplitBrain(SuspectSplitBrain { session, lease, token, volume: volume("gl"), other: Token(2) }));
    let answer = ask(&w, "db");
    assert_eq!((answer.suspicions.len(), answer.suspicions[0].volume.as_str()), (1, "gl"));
    says(&answer.blocks, "berth volume clear gl");
}

#[test]
fn the_story_of_a_volume_has_its_leases_and_fences_and_not_those_of_others() {
    let (mut w, lease, token) = on_gluster();
    w.add_container("other", spec(&[]));
    w.running("other", "h2");
    w.fenced("h1", (lease, token), FenceMethod::StorageCut);
    let mut story = Story::of("gl");
    let kinds: Vec<&str> = w.events.iter().filter(|event| story.concerns(event)).map(|event| event.fact.kind()).collect();
    assert_eq!(kinds, ["VolumeAdded", "LeaseGranted", "LeaseActivated", "FenceStarted", "FenceAttempted", "FenceTried", "LeaseFenced"]);
    let others = w.events.iter().filter(|event| matches!(&event.fact, Fact::LeaseGranted { .. })).count();
    assert_eq!(others, 2);
}
