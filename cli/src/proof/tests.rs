//! Histories that break one rule each, with a hash chain that fits: the proof must see it from the events themselves.

use std::collections::{BTreeMap, BTreeSet};

use berth_state::codec::encode_event;
use berth_state::command::*;
use berth_state::ids::*;
use berth_state::noun::cluster::Settings;
use berth_state::noun::container::*;
use berth_state::noun::host::HostSpec;
use berth_state::noun::lease::*;
use berth_state::noun::session::*;
use berth_state::noun::volume::*;
use berth_state::{ClusterState, Command, Event, Fact, Order, Outcome};

use super::chain::{Hash, Record};
use super::prover::{Proof, Prover};
use crate::noun::container::spec;

/// A cluster driven by real orders; only its events are looked at.
#[derive(Default)]
struct World {
    state: ClusterState,
    at: u64,
    events: Vec<Event>,
}

fn v() -> VolumeId {
    VolumeId::new("v").unwrap()
}

fn c() -> ContainerId {
    ContainerId::new("c").unwrap()
}

fn h(name: &str) -> HostId {
    HostId::new(name).unwrap()
}

impl World {
    fn done(&mut self, order: Order) -> u64 {
        self.at += 1;
        let shown = format!("{order:?}");
        let command = Command { time: Time(1_000 * self.at), request: None, actor: "test".to_owned(), order };
        let applied = self.state.apply(Revision(self.at), &command);
        assert!(!matches!(applied.outcome, Outcome::Rejected(_)), "{shown}: {:?}", applied.outcome);
        self.events.extend(applied.events);
        self.at
    }

    fn furnished() -> Self {
        let mut world = Self::default();
        world.done(Order::InitCluster(InitCluster { cluster: ClusterId([1; 16]), settings: Settings::default() }));
        for (n, name) in [(1, "h1"), (2, "h2")] {
            world.done(Order::AddHost(AddHost { host: h(name), spec: HostSpec::default() }));
            let declared = Declaration {
                guard: Guard::Init,
                runtimes: BTreeSet::from([RuntimeKind::Docker]),
                drivers: BTreeMap::from([(Driver::Path, Cut::None)]),
                program: String::new(),
            };
            let (boot, ledger) = (BootId([n; 16]), LedgerId([n; 16]));
            let session = world.done(Order::OpenSession(OpenSession { host: h(name), boot, ledger, predecessor: None, declared }));
            world.heartbeat(SessionId(session), 1, vec![]);
        }
        let spec = VolumeSpec {
            driver: Driver::Path,
            options: BTreeMap::from([("path".to_owned(), "/srv/v".to_owned())]),
            takeover: Takeover::AfterExpiry,
            coherent: true,
            lock_delay_ms: 500,
        };
        world.done(Order::AddVolume(AddVolume { volume: v(), spec }));
        let volumes = vec![VolumeMount { volume: v(), path: "/data".to_owned(), read_only: false }];
        let spec = ContainerSpec { image: "i".to_owned(), volumes, ..spec::plain() };
        world.done(Order::AddContainer(AddContainer { container: c(), spec, desired: Desired::Running }));
        world
    }

    fn heartbeat(&mut self, session: SessionId, seq: u64, tokens: Vec<Token>) {
        let keepalive = Keepalive { incarnation: Incarnation(1), session, seq: Seq(seq), nonce: Nonce(seq), tokens };
        self.done(Order::RecordKeepalives(RecordKeepalives { keepalives: vec![keepalive] }));
    }

    fn run_on(&mut self, name: &str) {
        let session = self.state.host(&h(name)).unwrap().session.unwrap();
        self.done(Order::GrantLease(GrantLease { container: c(), version: Version(1), host: h(name), session }));
        let token = self.state.lease_of_container(&c()).unwrap().token;
        let seq = self.state.pulse(session).unwrap().seq.0 + 1;
        self.heartbeat(session, seq, vec![token]);
    }

    /// On h1, fails over to h2.
    fn failed_over() -> Self {
        let mut world = Self::furnished();
        world.run_on("h1");
        let lease = world.state.lease_of_container(&c()).unwrap().clone();
        let renewed = world.state.renewal(lease.token).unwrap().renewed;
        let expired = world.done(Order::ExpireLease(ExpireLease { lease: lease.id, token: lease.token, renewed }));
        let evidence = Evidence::RanOut { expired_at: Revision(expired) };
        world.done(Order::FenceLease(FenceLease { lease: lease.id, token: lease.token, evidence }));
        world.run_on("h2");
        world
    }

    fn position(&self, kind: &str) -> usize {
        self.events.iter().position(|event| event.fact.kind() == kind).unwrap()
    }
}

/// With hashes that fit, whatever the events say.
fn prove(events: &[Event]) -> Proof {
    let mut prover = Prover::default();
    feed(&mut prover, events);
    prover.finish(&v()).unwrap()
}

fn feed(prover: &mut Prover, events: &[Event]) {
    let mut before = Hash::default();
    let mut last = None;
    for event in events {
        let revision = event.revision.0;
        let seq = last.filter(|(r, _)| *r == revision).map_or(0, |(_, seq)| seq + 1);
        let bytes = encode_event(event);
        before = before.after(revision, seq, &bytes);
        last = Some((revision, seq));
        prover.record(&Record { revision, seq, event: bytes, hash: before });
    }
}

#[track_caller]
fn finds(events: &[Event], rule: &str, what: &str) {
    let proof = prove(events);
    assert!(!proof.holds);
    assert!(proof.findings.iter().any(|f| f.rule == rule && f.what.contains(what)), "{:#?}", proof.findings);
}

#[test]
fn what_really_happened_is_proved() {
    let proof = prove(&World::failed_over().events);
    assert!(proof.holds, "{:#?}", proof.findings);
    assert_eq!(proof.leases.len(), 2);
    assert_eq!(proof.leases[0].end.as_ref().map(|end| end.by), Some("fenced"));
}

#[test]
fn a_second_grant_before_the_first_has_ended_is_seen() {
    let mut world = World::failed_over();
    for kind in ["LeaseFenced", "LeaseExpired"] {
        world.events.remove(world.position(kind));
    }
    finds(&world.events, "I3", "has not ended");
}

#[test]
fn evidence_before_the_expiry_is_seen() {
    let mut world = World::failed_over();
    world.events.remove(world.position("LeaseExpired"));
    finds(&world.events, "L12", "not expired by that entry");
}

#[test]
fn evidence_that_the_rule_does_not_accept_is_seen() {
    let mut world = World::failed_over();
    let at = world.position("VolumeAdded");
    let Fact::VolumeAdded { spec, .. } = &mut world.events[at].fact else { panic!() };
    spec.takeover = Takeover::Manual;
    finds(&world.events, "L12", "not after-expiry");
    let at = world.position("LeaseFenced");
    let Fact::LeaseFenced { evidence, .. } = &mut world.events[at].fact else { panic!() };
    *evidence = Evidence::PoweredOff;
    finds(&world.events, "L15", "never started");
    let Fact::LeaseFenced { evidence, .. } = &mut world.events[at].fact else { panic!() };
    *evidence = Evidence::StorageCut;
    finds(&world.events, "L15", "cannot fence");
    let Fact::LeaseFenced { evidence, .. } = &mut world.events[at].fact else { panic!() };
    *evidence = Evidence::OperatorConfirmed { name: "ann".to_owned(), reason: " ".to_owned() };
    finds(&world.events, "L15", "without name or reason");
}

#[test]
fn a_token_that_does_not_rise_is_seen() {
    let mut world = World::failed_over();
    let second = world.events.iter().rposition(|event| event.fact.kind() == "LeaseGranted").unwrap();
    let Fact::LeaseGranted { token, .. } = &mut world.events[second].fact else { panic!() };
    *token = Token(2);
    finds(&world.events, "I4", "token 2 is granted after token");
}

#[test]
fn a_release_by_a_stranger_and_a_withdrawal_of_a_holder_are_seen() {
    let mut world = World::furnished();
    world.run_on("h1");
    let lease = world.state.lease_of_container(&c()).unwrap().clone();
    let other = world.state.host(&h("h2")).unwrap().session.unwrap();
    let end = |fact| Event { revision: Revision(world.at + 1), time: Time(1_000_000), actor: String::new(), fact };
    let (id, token) = (lease.id, lease.token);
    let mut events = world.events.clone();
    events.push(end(Fact::LeaseReleased { lease: id, token, session: other, exit: None, finished: false }));
    finds(&events, "L16", "does not hold it");
    let mut events = world.events.clone();
    events.push(end(Fact::LeaseWithdrawn { lease: id, token, why: WithdrawReason::NotActivated }));
    finds(&events, "L13", "had been let in");
}

#[test]
fn an_event_about_an_ended_lease_is_seen_and_does_not_crash() {
    let mut world = World::failed_over();
    let mut again = world.events[world.position("LeaseFenced")].clone();
    again.revision = Revision(world.at + 1);
    again.time = Time(1_000_000);
    world.events.push(again);
    finds(&world.events, "I6", "has ended or never was");
}

#[test]
fn a_host_without_guard_and_a_volume_that_nothing_cuts_are_seen() {
    let mut world = World::failed_over();
    let at = world.position("VolumeAdded");
    let Fact::VolumeAdded { spec, .. } = &mut world.events[at].fact else { panic!() };
    spec.coherent = false;
    finds(&world.events, "L3", "cannot cut late writes");
    let mut world = World::failed_over();
    let at = world.position("SessionOpened");
    let Fact::SessionOpened { session, .. } = &mut world.events[at].fact else { panic!() };
    session.declared.guard = Guard::None;
    finds(&world.events, "L3", "declares no guard");
}

#[test]
fn time_that_goes_back_and_a_history_without_its_beginning_are_seen() {
    let mut world = World::failed_over();
    let last = world.events.len() - 1;
    world.events[last].time = Time(1);
    finds(&world.events, "time", "is before");
    finds(&World::failed_over().events[1..], "replay", "does not begin with the first event");
}

#[test]
fn an_event_that_fits_nothing_is_a_finding_and_no_crash() {
    let mut world = World::failed_over();
    world.events.remove(world.position("HostAdded"));
    finds(&world.events, "replay", "does not fit the history before it");
}

#[test]
fn what_another_volumes_lease_breaks_does_not_concern_this_one() {
    let mut world = World::failed_over();
    let at = world.position("LeaseFenced");
    let Fact::LeaseFenced { evidence, .. } = &mut world.events[at].fact else { panic!() };
    *evidence = Evidence::PoweredOff;
    let other = VolumeId::new("w").unwrap();
    let mut prover = Prover::default();
    feed(&mut prover, &world.events);
    assert!(prover.finish(&other).is_none(), "nothing is known of it, and nothing is wrong with it");
    finds(&world.events, "L15", "never started");
}

#[test]
fn findings_are_bounded_and_the_rest_is_counted() {
    let mut world = World::failed_over();
    let mut last = world.events.last().unwrap().clone();
    last.time = Time(9_000_000_000);
    last.fact = Fact::HostSchedulingChanged { host: h("h1"), scheduling: berth_state::noun::host::Scheduling::Open };
    for n in 0..300 {
        last.revision = Revision(world.at + 1 + n);
        world.events.push(last.clone());
        last.time = Time(1);
    }
    let proof = prove(&world.events);
    assert_eq!(proof.findings.len(), 101);
    assert!(proof.findings[100].what.starts_with("199 more findings"), "{:?}", proof.findings[100]);
}
