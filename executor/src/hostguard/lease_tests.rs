//! One lease under guard, with a clock and a world that are moved by hand.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::hostguard::order::{FORMAT, Needs};
use crate::hostguard::target::KillTarget;
use crate::volumes::{CutError, CutMeans, CutPlan, CutReport};

const MS: u64 = 1_000_000;

#[derive(Default)]
struct World {
    now_ns: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    alive: BTreeSet<String>,
    unkillable: BTreeSet<String>,
    mounted: BTreeSet<String>,
    uncuttable: BTreeSet<String>,
    did: Vec<String>,
}

impl World {
    fn new() -> Arc<Self> {
        let world = Self::default();
        world.now_ns.store(1_000 * MS, Ordering::SeqCst);
        Arc::new(world)
    }

    fn advance_ms(&self, ms: u64) {
        self.now_ns.fetch_add(ms * MS, Ordering::SeqCst);
    }

    fn with<R>(&self, act: impl FnOnce(&mut State) -> R) -> R {
        act(&mut self.state.lock().unwrap())
    }

    fn runs(&self, group: &str) {
        self.with(|state| state.alive.insert(KillTarget::group(group.into()).words()));
    }

    fn did(&self) -> Vec<String> {
        self.with(|state| state.did.clone())
    }
}

impl Hands for World {
    fn now_ns(&self) -> u64 {
        self.now_ns.load(Ordering::SeqCst)
    }

    fn kill(&self, target: &KillTarget) -> Result<(), String> {
        self.with(|state| {
            state.did.push(format!("kill {}", target.words()));
            if !state.unkillable.contains(&target.words()) {
                state.alive.remove(&target.words());
            }
        });
        Ok(())
    }

    fn is_gone(&self, target: &KillTarget) -> Result<bool, String> {
        Ok(self.with(|state| !state.alive.contains(&target.words())))
    }

    fn cut(&self, plan: &CutPlan) -> Result<CutReport, CutError> {
        self.with(|state| {
            state.did.push(format!("cut {}", plan.volume));
            if state.uncuttable.contains(&plan.volume) {
                Err(CutError::TooSlow { what: "the cut", ms: 1 })
            } else {
                Ok(CutReport::ShutDown)
            }
        })
    }

    fn unmount(&self, plan: &CutPlan) -> Result<CutReport, CutError> {
        self.with(|state| {
            state.did.push(format!("unmount {}", plan.volume));
            state.mounted.remove(&plan.volume);
        });
        Ok(CutReport::NotMounted)
    }

    fn is_mounted(&self, plan: &CutPlan) -> bool {
        self.with(|state| state.mounted.contains(&plan.volume))
    }
}

#[derive(Clone)]
struct FakePage(Arc<AtomicU64>);

impl FakePage {
    fn at_ms(ms: u64) -> Self {
        Self(Arc::new(AtomicU64::new(ms * MS)))
    }

    fn store(&self, word: u64) {
        self.0.store(word, Ordering::SeqCst);
    }
}

impl Page for FakePage {
    fn deadline(&self) -> Deadline {
        Deadline::from_word(self.0.load(Ordering::SeqCst))
    }
}

fn order(groups: &[&str], volumes: &[&str]) -> Order {
    let plan = |volume: &&str| CutPlan { volume: (*volume).to_owned(), token: 7, mount_point: None, means: CutMeans::None };
    let (kills, cuts) = (groups.iter().map(|group| KillTarget::group(group.into())).collect(), volumes.iter().map(plan).collect());
    Order { format: FORMAT, token: 7, lease: 3, container: "db".to_owned(), margin_ms: 500, needs: Needs::HostGuard, kills, cuts }
}

/// A lease with an instance and a volume, deadline at 2,000 ms; it is 1,000 ms.
fn rig() -> (Arc<World>, Arc<dyn Hands>, FakePage, Lease) {
    let world = World::new();
    world.runs("/g/db");
    world.with(|state| state.mounted.insert("pg".to_owned()));
    let page = FakePage::at_ms(2_000);
    let mut lease = Lease::new(7, Box::new(page.clone()));
    lease.ordered(order(&["/g/db"], &["pg"]));
    let hands: Arc<dyn Hands> = world.clone();
    (world, hands, page, lease)
}

/// Looks until it holds: cuts run on threads.
fn look_until(lease: &mut Lease, hands: &Arc<dyn Hands>, what: &str, holds: impl Fn(&Lease) -> bool) {
    for _ in 0..2_000 {
        lease.look(hands);
        if holds(lease) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    panic!("{what} did not happen");
}

fn finished(lease: &Lease) -> bool {
    lease.is_settled()
}

#[test]
fn nothing_is_done_before_the_deadline_and_all_in_order_after_it() {
    let (world, hands, _page, mut lease) = rig();
    world.advance_ms(999);
    assert_eq!(lease.look(&hands), None);
    assert_eq!(world.did(), Vec::<String>::new());
    world.advance_ms(1);
    look_until(&mut lease, &hands, "the end", finished);
    assert_eq!(world.did(), ["kill /g/db", "cut pg", "unmount pg"]);
    let facts = lease.over.as_ref().unwrap().facts.clone();
    assert_eq!((facts.deadline_ns, facts.noticed_ns), (2_000 * MS, 2_000 * MS));
    assert!(facts.verified_ns.is_some());
    assert_eq!(facts.acts.iter().map(|act| act.kind).collect::<Vec<_>>(), [ActKind::Kill, ActKind::Dead, ActKind::Cut, ActKind::Unmount]);
}

#[test]
fn a_page_taken_back_or_lowered_is_noticed_at_the_next_look_and_never_revived() {
    for word in [0, 1_500 * MS] {
        let (world, hands, page, mut lease) = rig();
        world.advance_ms(600);
        lease.look(&hands);
        assert!(!lease.is_over());
        page.store(word);
        lease.look(&hands);
        assert!(lease.is_over());
        page.store(u64::MAX);
        world.runs("/g/db");
        lease.look(&hands);
        assert!(lease.is_over(), "a right came back to life");
        assert!(world.with(|state| state.alive.is_empty()), "what started after the end lives");
    }
}

#[test]
fn a_lease_that_need_not_stop_on_silence_is_left_alone_until_it_is_taken_back() {
    let (world, hands, page, mut lease) = rig();
    page.store(u64::MAX);
    world.advance_ms(1_000_000);
    lease.look(&hands);
    assert!(!lease.is_over() && world.did().is_empty());
    assert_eq!(lease.view().until_ns, None);
    page.store(0);
    lease.look(&hands);
    assert!(lease.is_over());
}

#[test]
fn a_cut_does_not_wait_for_an_instance_that_does_not_die_and_nothing_is_called_verified() {
    let (world, hands, _page, mut lease) = rig();
    world.with(|state| state.unkillable.extend(state.alive.clone()));
    world.advance_ms(1_000);
    lease.look(&hands);
    assert!(!world.did().contains(&"cut pg".to_owned()), "the kill has its moment first");
    world.advance_ms(100);
    look_until(&mut lease, &hands, "the cut", |lease| lease.over.as_ref().is_some_and(|over| over.volumes[0].is_cut()));
    assert!(!world.did().contains(&"unmount pg".to_owned()));
    assert!(lease.is_unverified() && !lease.view().verified);
    world.advance_ms(5_000);
    look_until(&mut lease, &hands, "the unmount", |lease| lease.over.as_ref().is_some_and(|over| over.volumes[0].is_unmounted()));
    assert!(lease.is_unverified(), "an instance that lives is not dead");
    world.with(|state| state.unkillable.clear());
    lease.look(&hands);
    assert!(!lease.is_unverified() && lease.view().verified);
}

#[test]
fn one_volume_that_cannot_be_cut_holds_up_no_other_and_is_tried_again() {
    let (world, hands, _page, mut lease) = rig();
    lease.ordered(order(&["/g/db"], &["bad", "pg"]));
    world.with(|state| state.uncuttable.insert("bad".to_owned()));
    world.advance_ms(1_000);
    look_until(&mut lease, &hands, "the other's unmount", |lease| lease.over.as_ref().is_some_and(|over| over.volumes[1].is_unmounted()));
    assert!(lease.is_unverified());
    world.with(|state| state.uncuttable.clear());
    world.advance_ms(1_000);
    look_until(&mut lease, &hands, "the end", finished);
    assert!(!lease.is_unverified());
}

#[test]
fn a_start_or_a_mount_that_ends_after_all_was_done_is_undone_too() {
    let (world, hands, _page, mut lease) = rig();
    world.advance_ms(1_000);
    look_until(&mut lease, &hands, "the end", finished);
    world.runs("/g/db");
    world.with(|state| state.mounted.insert("pg".to_owned()));
    world.advance_ms(200);
    look_until(&mut lease, &hands, "the second end", |_| world.with(|state| state.alive.is_empty() && state.mounted.is_empty()));
}

#[test]
fn an_order_that_comes_after_the_deadline_is_carried_out() {
    let (world, hands, _page, mut lease) = rig();
    world.advance_ms(1_000);
    look_until(&mut lease, &hands, "the end", finished);
    world.runs("/g/second");
    world.with(|state| state.did.clear());
    lease.ordered(order(&["/g/second"], &["pg", "wal"]));
    look_until(&mut lease, &hands, "the second end", finished);
    let did = world.did();
    assert!(did.contains(&"kill /g/second".to_owned()) && did.contains(&"cut wal".to_owned()), "{did:?}");
}

#[test]
fn what_still_lives_or_is_mounted_is_not_harmless() {
    let (world, hands, _page, lease) = rig();
    assert!(!lease.is_harmless(&hands));
    world.with(|state| state.alive.clear());
    assert!(!lease.is_harmless(&hands));
    world.with(|state| state.mounted.clear());
    assert!(lease.is_harmless(&hands));
}

#[test]
fn a_renewal_tells_how_long_the_lease_is() {
    let (world, hands, page, mut lease) = rig();
    lease.look(&hands);
    assert_eq!(lease.view().lead_ns, None, "the first sight is no renewal");
    world.advance_ms(500);
    page.store(11_500 * MS);
    lease.look(&hands);
    assert_eq!(
        lease.view(),
        View { token: 7, until_ns: Some(11_500 * MS), margin_ns: 500 * MS, lead_ns: Some(10_000 * MS), verified: false }
    );
}
