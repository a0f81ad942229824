//! Fence actions whole: entry, action, acknowledgement, evidence, lift; and what a leader that dies or loses its lead leaves behind. Real programs as
//! agents, a fake storage, a manual clock.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::wildcard_enum_match_arm, reason = "tests")]

mod fencing_support;
#[path = "../../state/tests/world/mod.rs"]
mod world;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use berth_state::command::*;
use berth_state::ids::*;
use berth_state::noun::fence::FenceMethod;
use berth_state::noun::lease::*;
use berth_state::noun::session::*;
use berth_state::noun::volume::*;
use berth_state::{Order, Rejection};
use fencing_support::*;
use world::*;

type Held = (LeaseId, Token);

fn ruled(takeover: Takeover, path: &str) -> VolumeSpec {
    VolumeSpec { takeover, coherent: takeover == Takeover::AfterExpiry, ..path_volume(path) }
}

fn runs_with(w: &mut World, name: &str, takeover: Takeover) -> Held {
    w.done(Order::AddVolume(AddVolume { volume: volume(name), spec: ruled(takeover, &format!("/data/{name}")) }));
    w.add_container(name, spec(&[name]));
    w.running(name, "h1")
}

/// An after-fence holder on h1, with these agents in shell.
fn powered_bench(dir: &Path, bodies: &[&str]) -> (Bench, Held) {
    let mut w = World::small();
    let held = runs_with(&mut w, "af", Takeover::AfterFence);
    let mut bench = Bench::new(w);
    let agents = bodies.iter().enumerate().map(|(n, body)| agent(dir, &format!("fence_{n}"), body)).collect();
    bench.agents("h1", agents);
    (bench, held)
}

/// A holder on h1 of a volume whose servers can bar a host.
fn barring_bench() -> (Bench, Held) {
    let mut w = World::empty();
    for name in ["h1", "h2"] {
        w.add_host(name);
        let drivers = BTreeMap::from([(Driver::Glusterfs, Cut::FuseAbort)]);
        let declared = Declaration { drivers, ..declaration(Guard::HostProcess) };
        let order = OpenSession { host: host(name), boot: BOOT, ledger: ledger(name), predecessor: None, declared };
        w.done(Order::OpenSession(order));
    }
    let options = [("servers", "g1"), ("volume", "gv"), ("fence", "auth-reject")];
    let options = options.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    let spec_of = VolumeSpec { driver: Driver::Glusterfs, options, takeover: Takeover::AfterFence, coherent: false, lock_delay_ms: 0 };
    w.done(Order::AddVolume(AddVolume { volume: volume("gl"), spec: spec_of }));
    w.add_container("db", spec(&["gl"]));
    let held = w.running("db", "h1");
    (Bench::new(w), held)
}

fn evidence(bench: &Bench, token: Token) -> Option<Evidence> {
    bench.w.state.fence(token)?.done.as_ref().map(|done| done.evidence.clone())
}

#[tokio::test]
async fn the_second_agent_is_tried_at_once_when_the_first_fails() {
    let dir = tempfile::tempdir().unwrap();
    let (mut bench, (lease, token)) = powered_bench(dir.path(), &[FAILS, WORKS]);
    bench.pass(2_000);
    bench.settle();
    bench.action().await;
    assert!(bench.w.phase(lease).is_some(), "a failure is no evidence");
    bench.action().await;
    assert_eq!(bench.tries(token).iter().map(|(_, ok)| *ok).collect::<Vec<_>>(), [false, true]);
    assert!(bench.tries(token)[0].0.ends_with("fence_0#1") && bench.tries(token)[1].0.ends_with("fence_1#2"), "{:?}", bench.tries(token));
    assert_eq!(said(dir.path()), ["fence_0 off", "fence_1 off", "fence_1 status"]);
    assert_eq!((bench.w.phase(lease), evidence(&bench, token)), (None, Some(Evidence::PoweredOff)));
}

#[tokio::test]
async fn an_agent_that_fails_twice_is_asked_again_with_back_off_and_its_success_counts() {
    let dir = tempfile::tempdir().unwrap();
    let body = format!("if [ $action = off ] && [ $(grep -c off said) -lt 3 ]; then exit 1; fi; {WORKS}");
    let (mut bench, (lease, token)) = powered_bench(dir.path(), &[&body]);
    bench.pass(2_000);
    bench.settle();
    for wait in [1_000, 2_000] {
        bench.action().await;
        bench.pass(wait - 1);
        bench.settle();
        let before = bench.begun.len();
        bench.pass(1);
        bench.settle();
        assert_eq!(bench.begun.len(), before + 1, "the next one comes after {wait} ms, and not before");
    }
    bench.action().await;
    assert_eq!(bench.tries(token).iter().map(|(_, ok)| *ok).collect::<Vec<_>>(), [false, false, true]);
    assert_eq!((bench.w.phase(lease), bench.begun.len()), (None, 3));
}

#[tokio::test]
async fn one_power_off_ends_all_leases_of_the_host_but_manual_ones() {
    let dir = tempfile::tempdir().unwrap();
    let mut w = World::small();
    let manual = runs_with(&mut w, "man", Takeover::Manual);
    let ended = [
        runs_with(&mut w, "af1", Takeover::AfterFence),
        runs_with(&mut w, "af2", Takeover::AfterFence),
        runs_with(&mut w, "ae", Takeover::AfterExpiry),
    ];
    let elsewhere = w.running("db", "h2");
    let mut bench = Bench::new(w);
    bench.agents("h1", vec![agent(dir.path(), "fence_0", WORKS)]);
    bench.pass(2_000);
    bench.hear("h2");
    bench.settle();
    bench.action().await;
    assert_eq!(said(dir.path()), ["fence_0 off", "fence_0 status"], "one action");
    for (lease, token) in ended {
        assert_eq!((bench.w.phase(lease), evidence(&bench, token)), (None, Some(Evidence::PoweredOff)));
    }
    assert_eq!((bench.w.phase(manual.0), bench.w.phase(elsewhere.0)), (Some(Phase::Active), Some(Phase::Active)));
    assert!(bench.w.state.host(&host("h1")).unwrap().fenced.len() >= 3, "no lease goes there before it has booted");
}

#[tokio::test]
async fn the_success_is_in_the_log_before_the_evidence() {
    let dir = tempfile::tempdir().unwrap();
    let (mut bench, _) = powered_bench(dir.path(), &[WORKS]);
    let mark = bench.w.events.len();
    bench.pass(2_000);
    bench.settle();
    bench.action().await;
    assert_eq!(bench.kinds()[mark..], ["FenceStarted", "FenceAttempted", "FenceTried", "LeaseFenced"]);
}

#[tokio::test]
async fn a_leader_that_dies_between_the_success_and_the_evidence_leaves_nothing_to_be_done_twice() {
    let dir = tempfile::tempdir().unwrap();
    let (mut bench, (lease, token)) = powered_bench(dir.path(), &[WORKS]);
    bench.pass(2_000);
    bench.settle();
    let action = bench.fencer.next().await.unwrap();
    bench.fencer.ended(action, bench.now);
    bench.turn();
    assert!(bench.tries(token).iter().any(|(_, ok)| *ok) && bench.w.phase(lease).is_some());
    bench.dies_and_another_leads_after(3_000);
    bench.settle();
    assert_eq!((bench.w.phase(lease), bench.begun.len()), (None, 0));
    assert_eq!(said(dir.path()), ["fence_0 off", "fence_0 status"]);
}

#[tokio::test]
async fn the_next_leader_waits_out_the_action_of_a_dead_one_and_a_late_word_of_it_is_harmless() {
    let dir = tempfile::tempdir().unwrap();
    let body = format!("if [ ! -e quick ]; then exec sleep 600; fi; {WORKS}");
    let (mut bench, held) = powered_bench(dir.path(), &[&body]);
    bench.pass(2_000);
    bench.settle();
    let open = bench.begun[0];
    bench.dies_and_another_leads_after(0);
    std::fs::write(dir.path().join("quick"), "").unwrap();
    // Twice 20 s for off and status, 5 % of it and 500 ms.
    bench.pass(42_499);
    bench.settle();
    assert!(bench.begun.is_empty() && bench.tries(held.1).is_empty());
    bench.pass(1);
    bench.settle();
    assert_eq!(bench.tries(held.1).len(), 1, "given up");
    let late = bench.w.end_order("h1", open, true);
    assert!(matches!(bench.w.refused(late.clone()), Rejection::AttemptUnknown { .. }));
    let evidence = bench.w.fence_order(held, Evidence::PoweredOff);
    assert!(matches!(bench.w.refused(evidence.clone()), Rejection::EvidenceRefused { .. }));
    bench.pass(1_000);
    bench.settle();
    let second = *bench.begun.first().expect("its own attempt");
    bench.action().await;
    assert_eq!(bench.w.phase(held.0), None);
    let twice = bench.w.end_order("h1", second, true);
    for order in [late, twice] {
        assert!(matches!(bench.w.refused(order), Rejection::AttemptUnknown { .. }));
    }
    assert!(matches!(bench.w.refused(evidence), Rejection::LeaseNotFound { .. }));
}

#[tokio::test]
async fn loss_of_the_lead_kills_the_running_action() {
    let dir = tempfile::tempdir().unwrap();
    let (mut bench, _) = powered_bench(dir.path(), &["echo $$ > pid.new; mv pid.new pid; exec sleep 600"]);
    bench.pass(2_000);
    bench.settle();
    let pid = until(|| std::fs::read_to_string(dir.path().join("pid")).ok()).await;
    let process = Path::new("/proc").join(pid.trim());
    assert!(process.exists());
    bench.fencer.stop();
    until(|| {
        // Dead and not collected yet is dead.
        let state = std::fs::read_to_string(process.join("stat")).ok().and_then(|s| Some(s.rsplit_once(") ")?.1.starts_with('Z')));
        state.is_none_or(|zombie| zombie).then_some(())
    })
    .await;
}

async fn until<T>(found: impl Fn() -> Option<T>) -> T {
    for _ in 0..1_500 {
        if let Some(found) = found() {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("not within 30 s");
}

#[test]
fn a_host_that_speaks_again_after_the_order_is_not_powered_off() {
    let dir = tempfile::tempdir().unwrap();
    let (mut bench, (lease, _)) = powered_bench(dir.path(), &[WORKS]);
    bench.pass(2_000);
    bench.turn();
    assert_eq!(bench.w.phase(lease), Some(Phase::Closing));
    for _ in 0..30 {
        bench.hear("h1");
        bench.settle();
        bench.pass(1_000);
    }
    assert!(bench.begun.is_empty() && said(dir.path()).is_empty());
}

#[test]
fn a_manual_holder_is_never_fenced_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let mut w = World::small();
    let (lease, _) = runs_with(&mut w, "man", Takeover::Manual);
    let mut bench = Bench::new(w);
    bench.agents("h1", vec![agent(dir.path(), "fence_0", WORKS)]);
    for _ in 0..100 {
        bench.pass(60_000);
        assert_eq!(bench.due(), []);
    }
    assert_eq!(bench.w.phase(lease), Some(Phase::Active));
}

#[tokio::test]
async fn a_bar_stays_while_its_token_is_not_gone_and_is_then_lifted_after_its_entry() {
    let (mut bench, (lease, token)) = barring_bench();
    bench.pass(2_000);
    bench.settle();
    bench.action().await;
    let cut = format!("cut gl 10.0.0.1 {token}");
    assert_eq!((bench.w.phase(lease), evidence(&bench, token)), (None, Some(Evidence::StorageCut)));
    bench.pass(3_600_000);
    bench.settle();
    assert_eq!(bench.storage.asked(), std::slice::from_ref(&cut), "nothing is known of the holder");
    bench.w.done(Order::UnfenceHost(UnfenceHost { host: host("h1"), name: "ann".to_owned(), reason: "reinstalled".to_owned() }));
    let bars = |bench: &Bench| bench.w.state.volume(&volume("gl")).unwrap().bars.clone();
    assert_eq!(bars(&bench).len(), 1, "the storage still keeps it out");
    *bench.storage.refuses.lock().unwrap() = true;
    bench.settle();
    assert!(bars(&bench)[0].lifting.is_some());
    bench.action().await;
    assert_eq!(bars(&bench).len(), 1, "not acknowledged");
    *bench.storage.refuses.lock().unwrap() = false;
    bench.pass(10_000);
    bench.settle();
    bench.action().await;
    let lift = format!("lift gl 10.0.0.1 {token}");
    assert_eq!((bars(&bench).len(), bench.storage.asked()), (0, vec![cut, lift.clone(), lift]));
    assert!(bench.kinds().ends_with(&["CutLiftStarted", "CutLifted"]));
}

#[tokio::test]
async fn a_cut_that_fails_is_tried_again_and_then_gives_way_to_the_power() {
    let dir = tempfile::tempdir().unwrap();
    let (mut bench, (lease, token)) = barring_bench();
    bench.agents("h1", vec![agent(dir.path(), "fence_0", WORKS)]);
    *bench.storage.refuses.lock().unwrap() = true;
    bench.pass(2_000);
    bench.settle();
    for _ in 0..3 {
        bench.action().await;
        bench.pass(30_000);
        bench.settle();
    }
    assert_eq!(bench.w.state.fence(token).unwrap().method, Some(FenceMethod::PowerOff));
    bench.action().await;
    assert_eq!((bench.w.phase(lease), evidence(&bench, token)), (None, Some(Evidence::PoweredOff)));
    assert!(bench.w.state.volume(&volume("gl")).unwrap().bars[0].tokens.is_empty(), "its power is proof of death");
}
