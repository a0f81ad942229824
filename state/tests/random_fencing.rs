//! Random histories about fencing: fence actions and their attempts, fenced hosts, bars and their lifts, suspicions, claims. Invariants hold after every
//! entry, the events alone give the same state, and each invariant of fencing is broken on purpose and must say so.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::wildcard_enum_match_arm, reason = "tests")]

#[path = "world/mod.rs"]
mod world;

use std::collections::{BTreeMap, BTreeSet};

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
use berth_state::{ClusterState, Event, Fact, Order, Outcome};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use world::*;

const HOSTS: [&str; 2] = ["h1", "h2"];
const VOLUMES: [&str; 3] = ["gl", "tok", "pow"];
const CONTAINERS: [&str; 2] = ["c1", "c2"];

#[derive(Clone, Copy, Debug)]
struct Step {
    kind: u8,
    a: u8,
    b: u8,
    c: u8,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (0..30_u8, any::<u8>(), any::<u8>(), any::<u8>()).prop_map(|(kind, a, b, c)| Step { kind, a, b, c });
    prop::collection::vec(step, 1..260)
}

fn pick<T: Copy>(of: &[T], by: u8) -> T {
    of[usize::from(by) % of.len()]
}

/// Storage that bars a host, storage that cuts a token, and a host that can be powered off; a container for two of them each.
fn furnished() -> World {
    let mut w = World::empty();
    for name in HOSTS {
        let secrets = Secrets(BTreeMap::from([("passwd".to_owned(), "s3cret".to_owned())]));
        let agent = FenceAgent { agent: "fence_dummy".to_owned(), options: BTreeMap::new(), secrets, timeout_ms: 5_000 };
        let spec = HostSpec { storage_address: format!("{name}.storage"), fence_agents: vec![agent], ..HostSpec::default() };
        w.done(Order::AddHost(AddHost { host: host(name), spec }));
        let open = open(&w, name, BOOT);
        w.done(open);
    }
    for (name, driver, options, takeover) in [
        ("gl", Driver::Glusterfs, vec![("servers", "g"), ("volume", "v"), ("fence", "auth-reject")], Takeover::AfterFence),
        ("tok", Driver::Exec, vec![("program", "/p"), ("fence", "token"), ("cut", "yes")], Takeover::AfterExpiry),
        ("pow", Driver::Path, vec![("path", "/srv/pow")], Takeover::AfterFence),
    ] {
        let options = options.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
        let spec = VolumeSpec { driver, options, takeover, coherent: false, lock_delay_ms: 500 };
        w.done(Order::AddVolume(AddVolume { volume: volume(name), spec }));
    }
    w.add_container("c1", spec(&["gl"]));
    w.add_container("c2", spec(&["pow"]));
    w
}

fn open(w: &World, name: &str, boot: BootId) -> Order {
    let cuts = [(Driver::Path, Cut::None), (Driver::Glusterfs, Cut::FuseAbort), (Driver::Exec, Cut::ServerRevoke)];
    let runtimes = BTreeSet::from([RuntimeKind::Process, RuntimeKind::External]);
    let declared = Declaration { guard: Guard::HostProcess, runtimes, drivers: BTreeMap::from(cuts), program: "test".to_owned() };
    let predecessor = w.state.host(&host(name)).and_then(|h| h.session);
    Order::OpenSession(OpenSession { host: host(name), boot, ledger: ledger(name), predecessor, declared })
}

fn order(w: &World, s: Step) -> Order {
    let (h, v) = (host(pick(&HOSTS, s.a)), volume(pick(&VOLUMES, s.b)));
    let leases: Vec<_> = w.state.leases().map(|l| (l.id, l.token)).collect();
    let (lease, token) = if leases.is_empty() { (LeaseId(9), Token(9)) } else { pick(&leases, s.b) };
    let held = w.state.lease(lease);
    let method = pick(&[FenceMethod::StorageCut, FenceMethod::PowerOff], s.c);
    let session = w.state.host(&h).and_then(|h| h.session).unwrap_or(SessionId(0));
    let known = w.state.host(&h).unwrap();
    match s.kind {
        0..=4 => w.grant_order(pick(&CONTAINERS, s.b), h.as_str()),
        5 | 6 => {
            let tokens: Vec<Token> = w.state.leases_of_host(&h).map(|l| l.token).collect();
            let seq = w.state.pulse(session).map_or(1, |p| p.seq.0 + 1);
            Order::RecordKeepalives(RecordKeepalives { keepalives: vec![raw_keepalive(session, seq, seq, &tokens)] })
        }
        7..=9 => Order::StartFence(StartFence { lease, token, method, heard: None }),
        10..=12 => {
            let tokens = w.state.leases_of_host(&h).filter(|l| w.state.fence(l.token).is_some_and(|f| f.method == Some(method)));
            let tokens = tokens.map(|l| l.token).collect();
            let instead = known.attempt.as_ref().filter(|_| s.b.is_multiple_of(2)).map(|a| a.id);
            let agent = "fence_dummy".to_owned();
            Order::BeginFenceAttempt(BeginFenceAttempt { host: h, method, agent, node: NodeId(1), tokens, timeout_ms: 5_000, instead })
        }
        13 | 14 => {
            let attempt = known.attempt.as_ref().map_or(Revision(1), |a| a.id);
            Order::EndFenceAttempt(EndFenceAttempt { host: h, attempt, ok: s.c.is_multiple_of(2), output: "said s3cret".to_owned() })
        }
        15..=17 => {
            let expired_at = held.and_then(|l| l.expired).unwrap_or_default();
            let words = || ("ann".to_owned(), "saw it".to_owned());
            let evidence = match s.c % 4 {
                0 => Evidence::StorageCut,
                1 => Evidence::PoweredOff,
                2 => Evidence::RanOut { expired_at },
                _ => Evidence::OperatorConfirmed { name: words().0, reason: words().1 },
            };
            w.fence_order((lease, token), evidence)
        }
        18 => Order::UnfenceHost(UnfenceHost { host: h, name: "ann".to_owned(), reason: "saw it".to_owned() }),
        19 if s.c.is_multiple_of(2) => w.release_order((lease, token), held.map_or(session, |l| l.session)),
        19 => {
            // After the fence: the executor says that the holder is gone.
            let gone = known.fenced.first().map_or((LeaseId(1), Token(1)), |holder| (holder.lease, holder.token));
            w.release_order(gone, session)
        }
        20 | 21 => Order::StartLift(StartLift { volume: v, host: h }),
        22 | 23 => {
            let newest = w.state.volume(&v).and_then(|v| v.bar(&h)).map_or(Token(0), |bar| bar.newest);
            Order::FinishLift(FinishLift { volume: v, host: h, newest })
        }
        24 => {
            let volume = held.and_then(|l| l.volumes.first()).map_or(v, |held| held.volume.clone());
            let session = held.map_or(session, |l| l.session);
            Order::SuspectSplitBrain(SuspectSplitBrain { session, lease, token, volume, other: Token(1) })
        }
        25 | 26 => Order::ClearSuspicion(ClearSuspicion { volume: v, name: "ann".to_owned(), reason: "equal".to_owned() }),
        27 => {
            let spec = ContainerSpec { runtime: RuntimeKind::External, command: Vec::new(), ..spec(&["tok"]) };
            Order::ClaimLease(ClaimLease { container: container("claim"), spec, session })
        }
        28 => {
            let renewed = w.state.pulse(session).map(|p| p.renewed).unwrap_or_default();
            Order::ExpireSession(ExpireSession { session, renewed })
        }
        _ => open(w, h.as_str(), pick(&[BOOT, LATER_BOOT], s.b)),
    }
}

fn run(steps: &[Step]) -> World {
    let mut w = furnished();
    for step in steps {
        let (before, mark) = (w.state.clone(), w.events.len());
        let next = order(&w, *step);
        let outcome = w.order(next);
        assert_eq!(check(&Before::copy(&before), &w.events[mark..], &w.state), Vec::new());
        if let Outcome::Rejected(_) = outcome {
            assert_eq!(w.events.len(), mark, "a refusal wrote an event");
        }
    }
    w
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn invariants_hold_and_the_events_alone_give_the_same_state(steps in steps()) {
        let w = run(&steps);
        let mut replayed = ClusterState::default();
        for event in &w.events {
            replayed.evolve(event);
            let bytes = berth_state::codec::encode_event(event);
            prop_assert!(!bytes.windows(6).any(|window| window == b"s3cret"));
        }
        // But for secrets, which print as stars, and what keepalives changed.
        let all = |s: &ClusterState| {
            let hosts: Vec<_> = s.hosts().cloned().collect();
            let volumes: Vec<_> = s.volumes().cloned().collect();
            format!("{hosts:?}{volumes:?}{:?}{:?}", s.leases().collect::<Vec<_>>(), s.fences().collect::<Vec<_>>())
        };
        prop_assert_eq!(all(&replayed), all(&w.state));
    }

    /// Whatever happened, one word of a person ends every lease, cleans every host and every volume (I16 as far as the state shows it).
    #[test]
    fn nothing_is_stuck_for_ever(steps in steps()) {
        let mut w = run(&steps);
        let (name, reason) = ("ann".to_owned(), "burnt down".to_owned());
        let leases: Vec<_> = w.state.leases().map(|l| (l.id, l.token)).collect();
        for held in leases {
            let evidence = Evidence::OperatorConfirmed { name: name.clone(), reason: reason.clone() };
            let order = w.fence_order(held, evidence);
            w.done(order);
        }
        for h in HOSTS.map(host) {
            if !w.state.host(&h).unwrap().fenced.is_empty() {
                w.done(Order::UnfenceHost(UnfenceHost { host: h, name: name.clone(), reason: reason.clone() }));
            }
        }
        let volumes: Vec<_> = w.state.volumes().cloned().collect();
        for v in volumes {
            if v.suspicion.is_some() {
                w.done(Order::ClearSuspicion(ClearSuspicion { volume: v.id.clone(), name: name.clone(), reason: reason.clone() }));
            }
            for bar in &v.bars {
                w.done(Order::StartLift(StartLift { volume: v.id.clone(), host: bar.host.clone() }));
                w.done(Order::FinishLift(FinishLift { volume: v.id.clone(), host: bar.host.clone(), newest: bar.newest }));
            }
        }
        prop_assert_eq!(w.state.leases().count(), 0);
        prop_assert!(w.state.volumes().all(|v| v.bars.is_empty() && v.suspicion.is_none()));
        prop_assert!(w.state.hosts().all(|h| h.fenced.is_empty()));
    }
}

#[test]
fn random_histories_reach_every_kind_of_event_about_fencing() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut kinds = BTreeSet::new();
    for _ in 0..150 {
        kinds.extend(run(&steps().new_tree(&mut runner).unwrap().current()).events.iter().map(|e| e.fact.kind()));
    }
    for kind in [
        "FenceStarted",
        "FenceAttempted",
        "FenceTried",
        "LeaseFenced",
        "HolderGone",
        "CutLiftStarted",
        "CutLifted",
        "SplitBrainSuspected",
        "SuspicionCleared",
        "ContainerRemoved",
        "LeaseReleased",
        "SessionClosed",
    ] {
        assert!(kinds.contains(kind), "{kind} never happened in {kinds:?}");
    }
}

/// A check that cannot fail is no check.
mod broken_on_purpose {
    use super::*;

    fn forced(w: &World, fact: Fact) -> Vec<&'static str> {
        let event = Event { revision: Revision(w.index + 1), time: Time(9_999_999), actor: "mutant".to_owned(), fact };
        let mut after = w.state.clone();
        after.evolve(&event);
        check(&Before::copy(&w.state), &[event], &after).into_iter().map(|v| v.name).collect()
    }

    /// c1 was cut off on h1 by its storage; nothing is known of the holder since.
    fn cut() -> World {
        let mut w = furnished();
        let (lease, token) = w.running("c1", "h1");
        w.fenced("h1", (lease, token), FenceMethod::StorageCut);
        w
    }

    #[test]
    fn a_bar_that_is_lifted_before_proof_of_death_breaks_i14() {
        let w = cut();
        let newest = w.state.volume(&volume("gl")).unwrap().bars[0].newest;
        for fact in [
            Fact::CutLiftStarted { volume: volume("gl"), host: host("h1"), newest },
            Fact::CutLifted { volume: volume("gl"), host: host("h1"), newest },
        ] {
            assert!(forced(&w, fact).contains(&"I14 cut-order"));
        }
    }

    #[test]
    fn a_grant_on_a_fenced_and_barred_host_breaks_i14_and_s4() {
        let w = cut();
        let (id, session) = (w.index + 1, w.session("h1"));
        let names = forced(
            &w,
            Fact::LeaseGranted {
                lease: LeaseId(id),
                token: Token(id),
                container: container("c1"),
                version: Version(1),
                host: host("h1"),
                session,
                cause: GrantCause::Placed,
            },
        );
        assert!(names.contains(&"I14 cut-order") && names.contains(&"S4 clean-host"), "{names:?}");
    }
}
