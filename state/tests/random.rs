//! Random command sequences: invariants hold after every entry (`apply` checks them in debug builds), nodes agree, and the event log
//! replayed alone gives the same state but for what keepalives changed, which is no event (L6).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::wildcard_enum_match_arm, reason = "tests")]

#[path = "world/mod.rs"]
mod world;

use std::collections::BTreeMap;

use berth_state::command::*;
use berth_state::ids::*;
use berth_state::invariants::{Before, check};
use berth_state::noun::container::*;
use berth_state::noun::fence::FenceMethod;
use berth_state::noun::host::*;
use berth_state::noun::lease::*;
use berth_state::noun::secrets::Secrets;
use berth_state::noun::session::*;
use berth_state::noun::volume::*;
use berth_state::{ClusterState, Command, Event, Fact, Order, Outcome};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use world::*;

/// One random step: small numbers that are turned into an order that fits (or nearly fits) the state of the moment.
#[derive(Clone, Copy, Debug)]
struct Step {
    kind: u8,
    a: u8,
    b: u8,
    c: u8,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (0..34_u8, any::<u8>(), any::<u8>(), any::<u8>()).prop_map(|(kind, a, b, c)| Step { kind, a, b, c });
    prop::collection::vec(step, 1..220)
}

const HOSTS: [&str; 3] = ["h1", "h2", "h3"];
const VOLUMES: [&str; 3] = ["v1", "v2", "v3"];
const CONTAINERS: [&str; 4] = ["c1", "c2", "c3", "c4"];

fn pick<T: Copy>(of: &[T], by: u8) -> T {
    of[usize::from(by) % of.len()]
}

/// An un-ended lease of the state, or one that never was.
fn lease(w: &World, by: u8) -> (LeaseId, Token) {
    let leases: Vec<_> = w.state.leases().map(|l| (l.id, l.token)).collect();
    if leases.is_empty() { (LeaseId(u64::from(by)), Token(u64::from(by))) } else { pick(&leases, by) }
}

fn session(w: &World, by: u8) -> SessionId {
    let sessions: Vec<_> = w.state.sessions().map(|s| s.id).collect();
    if sessions.is_empty() { SessionId(u64::from(by)) } else { pick(&sessions, by) }
}

fn order(w: &World, s: Step) -> Order {
    let (h, v, c) = (host(pick(&HOSTS, s.a)), volume(pick(&VOLUMES, s.b)), container(pick(&CONTAINERS, s.c)));
    let (lease, token) = lease(w, s.a);
    let version = w.state.container(&c).map_or(Version(1), |c| c.version);
    match s.kind {
        0 | 1 => Order::AddHost(AddHost { host: h, spec: host_spec(s) }),
        2 => Order::RemoveHost(RemoveHost { host: h }),
        3 => Order::SetScheduling(SetScheduling {
            host: h,
            scheduling: pick(&[Scheduling::Open, Scheduling::Cordoned, Scheduling::Draining], s.b),
        }),
        4 | 5 => Order::AddVolume(AddVolume { spec: volume_spec(&v, s.c), volume: v }),
        6 => Order::RemoveVolume(RemoveVolume { volume: v }),
        7 => Order::UpdateVolume(UpdateVolume { version: Version(u64::from(s.a % 3)), spec: volume_spec(&v, s.c), volume: v }),
        8..=10 => Order::AddContainer(AddContainer { container: c, spec: container_spec(s), desired: Desired::Running }),
        11 => Order::RemoveContainer(RemoveContainer { container: c }),
        12 => Order::UpdateContainer(UpdateContainer { container: c, version, spec: container_spec(s) }),
        13 => Order::SetDesired(SetDesired { container: c, desired: pick(&[Desired::Running, Desired::Stopped], s.a) }),
        14 => Order::RestartContainer(RestartContainer { container: c }),
        15 => Order::MoveContainer(MoveContainer { container: c, to: if s.b.is_multiple_of(2) { Some(h) } else { None } }),
        16..=19 => w.grant_order(c.as_str(), h.as_str()),
        20 => Order::WithdrawLease(WithdrawLease { lease, token, why: WithdrawReason::NotActivated }),
        21 => Order::RevokeLease(RevokeLease { lease, token, reason: RevokeReason::Operator }),
        22 => Order::CloseLease(CloseLease { lease, token }),
        23 | 24 => {
            let renewed = w.state.renewal(token).map(|r| r.renewed).unwrap_or_default();
            Order::ExpireLease(ExpireLease {
                lease,
                token,
                renewed: Revision(renewed.0 - u64::from(s.b.is_multiple_of(8) && renewed.0 > 0)),
            })
        }
        25 => fence_action(w, (lease, token), s),
        26 | 27 => w.fence_order((lease, token), evidence(w, lease, s.b)),
        28 => w.release_order(
            (lease, token),
            w.state.lease(lease).map_or(session(w, s.b), |l| if s.b.is_multiple_of(4) { session(w, s.c) } else { l.session }),
        ),
        29 | 30 => open(w, &h, s),
        31 => expire_session(w, session(w, s.a), s.b),
        32 => Order::CloseSession(CloseSession { session: session(w, s.a) }),
        _ => keepalive(w, s),
    }
}

/// The next step of a fence of this lease, if it is at it.
fn fence_action(w: &World, (lease, token): (LeaseId, Token), s: Step) -> Order {
    let holder = w.state.lease(lease).and_then(|l| w.state.host(&l.host));
    let method = pick(&[FenceMethod::PowerOff, FenceMethod::StorageCut], s.b);
    match (holder, w.state.fence(token)) {
        (Some(holder), Some(fence)) => match &holder.attempt {
            Some(open) => w.end_order(holder.id.as_str(), open.id, s.b.is_multiple_of(2)),
            None => w.begin_order(holder.id.as_str(), fence.method.unwrap_or(method), &[token]),
        },
        (Some(_) | None, _) => Order::StartFence(StartFence { lease, token, method, heard: None }),
    }
}

/// Half of the hosts can be fenced by power, with a secret that no event has.
fn host_spec(s: Step) -> HostSpec {
    let secrets = Secrets(BTreeMap::from([("passwd".to_owned(), format!("secret {}", s.b))]));
    let agent = FenceAgent { agent: "fence_dummy".to_owned(), options: BTreeMap::new(), secrets, timeout_ms: 5_000 };
    let fence_agents = if s.c.is_multiple_of(2) { vec![agent] } else { Vec::new() };
    HostSpec { fence_agents, ..HostSpec::default() }
}

fn volume_spec(id: &VolumeId, by: u8) -> VolumeSpec {
    VolumeSpec {
        takeover: pick(&[Takeover::AfterExpiry, Takeover::Manual], by),
        coherent: !by.is_multiple_of(16),
        ..path_volume(&format!("/data/{id}"))
    }
}

fn container_spec(s: Step) -> ContainerSpec {
    let volumes: Vec<&str> = VOLUMES.iter().copied().enumerate().filter(|(i, _)| s.b & (1 << i) != 0).map(|(_, v)| v).collect();
    let mut spec = spec(&volumes);
    if s.a.is_multiple_of(5) {
        spec.anti_affinity = vec![container("c1")];
    }
    spec
}

fn evidence(w: &World, lease: LeaseId, by: u8) -> Evidence {
    let expired_at = w.state.lease(lease).and_then(|l| l.expired).unwrap_or_default();
    match by % 4 {
        0 | 1 => Evidence::RanOut { expired_at },
        2 => Evidence::PoweredOff,
        _ => Evidence::OperatorConfirmed { name: "ann".to_owned(), reason: "saw it".to_owned() },
    }
}

fn open(w: &World, h: &HostId, s: Step) -> Order {
    let current = w.state.host(h).and_then(|h| h.session);
    let predecessor = if s.b.is_multiple_of(4) { None } else { current };
    w.open_order(
        h.as_str(),
        pick(&[BOOT, BOOT, BOOT, LATER_BOOT], s.c),
        predecessor,
        pick(&[Guard::HostProcess, Guard::HostProcess, Guard::None], s.b),
    )
}

fn expire_session(w: &World, session: SessionId, by: u8) -> Order {
    let renewed = w.state.pulse(session).map(|p| p.renewed).unwrap_or_default();
    if by.is_multiple_of(3) {
        return Order::SetHealth(SetHealth { session, renewed, health: pick(&[Health::Suspect, Health::Down, Health::Live], by) });
    }
    Order::ExpireSession(ExpireSession { session, renewed })
}

fn keepalive(w: &World, s: Step) -> Order {
    let session = session(w, s.a);
    let last = w.state.pulse(session).map_or(0, |p| p.seq.0);
    let seq = last + u64::from(!s.b.is_multiple_of(8));
    let tokens: Vec<Token> = w.state.leases().filter(|l| l.session == session || s.c.is_multiple_of(16)).map(|l| l.token).collect();
    Order::RecordKeepalives(RecordKeepalives { keepalives: vec![raw_keepalive(session, seq, u64::from(s.c), &tokens)] })
}

fn run(steps: &[Step]) -> World {
    let mut w = World::empty();
    for step in steps {
        let order = order(&w, *step);
        let before = w.state.clone();
        let mark = w.events.len();
        let outcome = w.order(order);
        // Also in release builds: apply checks by itself only in debug ones.
        assert_eq!(check(&Before::copy(&before), &w.events[mark..], &w.state), Vec::new());
        if let Outcome::Rejected(_) = outcome {
            assert_eq!(w.events.len(), mark, "a refusal wrote an event");
        }
    }
    w
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn invariants_hold_after_every_entry_of_any_history(steps in steps()) {
        run(&steps);
    }

    #[test]
    fn the_event_log_alone_gives_the_same_state(steps in steps()) {
        let w = run(&steps);
        let mut replayed = ClusterState::default();
        for event in &w.events {
            replayed.evolve(event);
        }
        prop_assert_eq!(facts(&replayed), facts(&w.state));
    }
}

/// The state without what is replicated but no event (renewals, pulses, requests).
fn facts(state: &ClusterState) -> String {
    let all = (
        (state.cluster(), state.clock(), state.hosts().collect::<Vec<_>>(), state.volumes().collect::<Vec<_>>()),
        (
            state.containers().collect::<Vec<_>>(),
            state.leases().collect::<Vec<_>>(),
            state.sessions().collect::<Vec<_>>(),
            state.fences().collect::<Vec<_>>(),
        ),
    );
    format!("{all:#?}")
}

/// How often each kind of order is accepted over many histories: a generator that never gets past the door would prove nothing.
#[test]
fn random_histories_reach_every_kind_of_event() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut kinds = std::collections::BTreeSet::new();
    for _ in 0..600 {
        let steps = steps().new_tree(&mut runner).unwrap().current();
        kinds.extend(run(&steps).events.iter().map(|e| e.fact.kind()));
    }
    for kind in [
        "LeaseGranted",
        "LeaseActivated",
        "LeaseWithdrawn",
        "LeaseRevoked",
        "LeaseClosed",
        "LeaseExpired",
        "FenceStarted",
        "LeaseFenced",
        "LeaseReleased",
        "SessionOpened",
        "SessionClosed",
        "SessionCloned",
        "HostHealthChanged",
        "ContainerRelocationRequested",
    ] {
        assert!(kinds.contains(kind), "{kind} never happened in {kinds:?}");
    }
}

/// A check that cannot fail is no check: each invariant is broken on purpose and must say so.
mod broken_on_purpose {
    use super::*;

    fn names(before: &ClusterState, events: &[Event], after: &ClusterState) -> Vec<&'static str> {
        check(&Before::copy(before), events, after).into_iter().map(|v| v.name).collect()
    }

    fn event(w: &World, fact: Fact) -> Event {
        Event { revision: Revision(w.index + 1), time: Time(9_999_999), actor: "mutant".to_owned(), fact }
    }

    /// Evolves a fact that `decide` would have refused.
    fn forced(w: &World, fact: Fact) -> Vec<&'static str> {
        let event = event(w, fact);
        let mut after = w.state.clone();
        after.evolve(&event);
        names(&w.state, &[event], &after)
    }

    fn granted(w: &World, name: &str, on: &str, token: u64) -> Fact {
        Fact::LeaseGranted {
            lease: LeaseId(token),
            token: Token(token),
            container: container(name),
            version: Version(1),
            host: host(on),
            session: w.session(on),
            cause: GrantCause::Placed,
        }
    }

    #[test]
    fn two_leases_on_one_volume_break_i3() {
        let mut w = World::small();
        w.add_container("other", spec(&["pg"]));
        w.running("db", "h1");
        let names = forced(&w, granted(&w, "other", "h2", w.index + 1));
        assert!(names.contains(&"I3 one-unended"), "{names:?}");
    }

    #[test]
    fn a_token_that_does_not_rise_breaks_i4() {
        let mut w = World::small();
        w.add_container("other", spec(&[]));
        let held = w.running("db", "h1");
        let names = forced(&w, granted(&w, "other", "h2", held.1.0 - 1));
        assert!(names.contains(&"I4 token-monotone"), "{names:?}");
    }

    #[test]
    fn an_active_lease_that_is_withdrawn_or_runs_out_breaks_i5() {
        let mut w = World::small();
        let (lease, token) = w.running("db", "h1");
        let names = forced(&w, Fact::LeaseWithdrawn { lease, token, why: WithdrawReason::NotActivated });
        assert!(names.contains(&"I5 ended-needs-cause"), "{names:?}");
        let names = forced(&w, Fact::LeaseFenced { lease, token, evidence: Evidence::RanOut { expired_at: Revision(1) } });
        assert!(names.contains(&"I5 ended-needs-cause"), "{names:?}");
    }

    #[test]
    fn an_expired_lease_that_is_active_again_breaks_i6() {
        let mut w = World::small();
        let held = w.running("db", "h1");
        w.expire(held);
        let names = forced(&w, Fact::LeaseActivated { lease: held.0, token: held.1 });
        assert!(names.contains(&"I6 ended-is-final"), "{names:?}");
    }

    #[test]
    fn an_expiry_by_an_older_renewal_breaks_i9() {
        let mut w = World::small();
        let (lease, token) = w.running("db", "h1");
        let names = forced(&w, Fact::LeaseExpired { lease, token, renewed: Revision(w.index - 1) });
        assert!(names.contains(&"I9 expire-names-last"), "{names:?}");
    }

    #[test]
    fn a_second_session_of_a_host_breaks_i13() {
        let w = World::small();
        let mut session = w.state.session(w.session("h1")).unwrap().clone();
        session.id = SessionId(w.index + 1);
        let names = forced(&w, Fact::SessionOpened { session, predecessor: None });
        assert!(names.contains(&"I13 one-session"), "{names:?}");
    }

    #[test]
    fn a_removed_volume_that_is_still_named_breaks_s1() {
        let w = World::small();
        let names = forced(&w, Fact::VolumeRemoved { volume: volume("pg") });
        assert!(names.contains(&"S1 no-dangling"), "{names:?}");
    }

    #[test]
    fn a_grant_on_a_cordoned_host_breaks_s2() {
        let mut w = World::small();
        w.done(Order::SetScheduling(SetScheduling { host: host("h1"), scheduling: Scheduling::Cordoned }));
        let names = forced(&w, granted(&w, "db", "h1", w.index + 1));
        assert!(names.contains(&"S2 not-on-cordoned"), "{names:?}");
    }
}

#[test]
fn two_nodes_that_apply_the_same_entries_have_the_same_state() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let steps = steps().new_tree(&mut runner).unwrap().current();
    let (a, b) = (run(&steps), run(&steps));
    assert_eq!(a.state, b.state);
    let command =
        Command { time: Time(1), request: None, actor: "x".to_owned(), order: Order::RemoveHost(RemoveHost { host: host("none") }) };
    let (mut a, mut b) = (a.state, b.state);
    assert_eq!(a.apply(Revision(99_999), &command).outcome, b.apply(Revision(99_999), &command).outcome);
}
