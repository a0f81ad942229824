//! A table for each rule of the plan.

use berth_state::ids::{Revision, Time};
use berth_state::noun::lease::{Exit, InstanceHealth, Lease, Phase, RevokeReason, Revoked};

use super::*;
use crate::deadline::{Lost, Right};
use crate::testing::{lease, record, with_volume};
use crate::workload::Ending;

const NOW: HolderTime = HolderTime(1_000_000_000_000);

fn later() -> HolderTime {
    NOW.plus_ms(5_000)
}

fn book(tokens: &[(u64, Right)]) -> DeadlineBook {
    use berth_state::ids::{Seq, SessionId};
    use berth_state::outcome::{KeepaliveAnswer, LeaseVerdict, SessionVerdict};
    let mut book = DeadlineBook::new(500);
    book.begin_session(SessionId(1));
    for (n, (token, right)) in tokens.iter().enumerate() {
        let token = Token(*token);
        match right {
            Right::Never => {}
            Right::Open => book.adopt_open(token),
            Right::Over(why) => book.lose(token, *why),
            Right::Until(deadline) => {
                // hold(10 s) - m = 9 s
                let t_send = HolderTime(deadline.0 - 9_000_000_000);
                let seq = Seq(n as u64 + 1);
                book.sent(seq, t_send, &BTreeSet::from([token]));
                let verdict = SessionVerdict::Heard { ttl_ms: 10_000, leases: vec![(token, LeaseVerdict::Live { ttl_ms: 10_000 })] };
                book.answer(&KeepaliveAnswer { session: SessionId(1), seq, verdict });
            }
        }
    }
    book
}

struct Case {
    workloads: BTreeMap<Token, Workload>,
    book: DeadlineBook,
    session: bool,
    swept: BTreeSet<RuntimeKind>,
}

impl Case {
    fn of(workloads: impl IntoIterator<Item = Workload>, rights: &[(u64, Right)]) -> Self {
        let workloads = workloads.into_iter().map(|w| (w.token, w)).collect();
        Self { workloads, book: book(rights), session: true, swept: BTreeSet::from([RuntimeKind::Process, RuntimeKind::Docker]) }
    }

    fn plan(&self) -> Vec<(u64, Step)> {
        self.plan_at(NOW)
    }

    fn plan_at(&self, now: HolderTime) -> Vec<(u64, Step)> {
        let Self { workloads, book, session, swept } = self;
        plan(&World { workloads, book, session: *session, swept, now }).into_iter().map(|(token, step)| (token.0, step)).collect()
    }
}

fn live() -> [(u64, Right); 1] {
    [(11, Right::Until(later()))]
}

fn over() -> [(u64, Right); 1] {
    [(11, Right::Over(Lost::SessionGone))]
}

fn fresh() -> Workload {
    Workload::from_lease(&lease(11))
}

fn running() -> Workload {
    let mut workload = fresh();
    (workload.recorded, workload.prepared, workload.dead, workload.attempt) = (true, true, false, 1);
    workload.runs(NOW);
    workload
}

fn revoked(mut lease: Lease) -> Lease {
    lease.revoked = Some(Revoked { reason: RevokeReason::Stop, at: Revision(1), time: Time(0), drain_ms: 1 });
    lease
}

#[test]
fn nothing_begins_without_a_right() {
    assert_eq!(Case::of([fresh()], &[]).plan(), []);
    assert_eq!(Case::of([fresh()], &live()).plan(), [(11, Step::Prepare)]);
    // The deadline has come, whether or not the enforcer has noticed.
    assert_eq!(Case::of([fresh()], &live()).plan_at(later()), [(11, Step::Release)]);
}

#[test]
fn first_the_volumes_then_the_instance() {
    let mut workload = fresh();
    assert_eq!(Case::of([workload.clone()], &live()).plan(), [(11, Step::Prepare)]);
    workload.prepared = true;
    assert_eq!(Case::of([workload], &live()).plan(), [(11, Step::Launch { attempt: 1 })]);
    assert_eq!(Case::of([running()], &live()).plan(), []);
}

#[test]
fn a_launch_needs_time_to_spare() {
    let mut workload = fresh();
    workload.prepared = true;
    let case = Case::of([workload], &live());
    assert_eq!(case.plan_at(NOW.plus_ms(2_749)), [(11, Step::Launch { attempt: 1 })]);
    assert_eq!(case.plan_at(NOW.plus_ms(2_750)), []);
}

#[test]
fn an_exited_instance_waits_out_its_back_off() {
    let mut workload = running();
    workload.exited(Exit { code: 1, reason: String::new() }, NOW);
    let case = Case::of([workload], &live());
    assert_eq!(case.plan_at(NOW.plus_ms(99)), []);
    assert_eq!(case.plan_at(NOW.plus_ms(100)), [(11, Step::Launch { attempt: 2 })]);
}

#[test]
fn nothing_begins_before_leftovers_are_dealt_with() {
    let mut case = Case::of([fresh()], &live());
    case.swept = BTreeSet::from([RuntimeKind::Docker]);
    assert_eq!(case.plan(), []);
}

#[test]
fn one_step_at_a_time_towards_a_start() {
    let mut workload = fresh();
    workload.busy.start = true;
    assert_eq!(Case::of([workload], &live()).plan(), []);
}

#[test]
fn a_lost_right_kills_whatever_is_wished_or_under_way() {
    for busy_start in [false, true] {
        let mut workload = running();
        (workload.busy.start, workload.busy.stop) = (busy_start, true);
        assert_eq!(Case::of([workload], &over()).plan(), [(11, Step::Kill)], "start under way: {busy_start}");
    }
    assert_eq!(Case::of([running()], &live()).plan_at(later()), [(11, Step::Kill)]);
}

#[test]
fn a_closed_or_ended_lease_is_killed_at_once() {
    for phase in [Phase::Closing, Phase::Expired] {
        let mut workload = running();
        workload.assign(&Lease { phase, ..lease(11) });
        assert_eq!(Case::of([workload], &live()).plan(), [(11, Step::Kill)]);
    }
    let mut workload = running();
    workload.wish = Wish::Ended;
    assert_eq!(Case::of([workload], &live()).plan(), [(11, Step::Kill)]);
}

#[test]
fn a_revoked_lease_is_stopped_softly() {
    let mut workload = running();
    workload.assign(&revoked(lease(11)));
    assert_eq!(Case::of([workload.clone()], &live()).plan(), [(11, Step::StopSoft)]);
    workload.busy.stop = true;
    assert_eq!(Case::of([workload], &live()).plan(), []);
}

#[test]
fn a_revoked_lease_of_which_nothing_was_begun_is_released_at_once() {
    let workload = Workload::from_lease(&revoked(lease(11)));
    assert_eq!(Case::of([workload], &[]).plan(), [(11, Step::Release)]);
}

#[test]
fn what_an_earlier_process_left_is_seen_before_it_is_stopped_softly() {
    let mut workload = Workload::from_record(&record(11, berth_state::ids::BootId([1; 16]), later()));
    workload.assign(&revoked(lease(11)));
    let mut case = Case::of([workload], &live());
    case.swept.clear();
    assert_eq!(case.plan(), []);
}

#[test]
fn what_is_not_assigned_yet_goes_on_untouched() {
    let workload = Workload::from_record(&record(11, berth_state::ids::BootId([1; 16]), later()));
    assert_eq!(Case::of([workload], &live()).plan(), []);
}

#[test]
fn release_comes_after_death_and_unmount_and_needs_a_session() {
    let mut workload = running();
    workload.mounted = true;
    workload.ending = Some(Ending { exit: None, finished: true });
    workload.dead = true;
    assert_eq!(Case::of([workload.clone()], &live()).plan(), [(11, Step::Unmount { cut: false })]);
    assert_eq!(Case::of([workload.clone()], &over()).plan(), [(11, Step::Unmount { cut: true })]);
    workload.mounted = false;
    assert_eq!(Case::of([workload.clone()], &live()).plan(), [(11, Step::Release)]);
    let mut case = Case::of([workload.clone()], &live());
    case.session = false;
    assert_eq!(case.plan(), []);
    for busy in [|w: &mut Workload| w.busy.start = true, |w: &mut Workload| w.busy.stop = true, |w: &mut Workload| w.busy.kill = true] {
        let mut workload = workload.clone();
        busy(&mut workload);
        assert_eq!(Case::of([workload], &live()).plan(), [], "released with a step under way");
    }
}

#[test]
fn an_ended_lease_of_which_nothing_was_begun_is_forgotten() {
    let mut workload = fresh();
    workload.wish = Wish::Ended;
    assert_eq!(Case::of([workload], &[]).plan(), [(11, Step::Forget)]);
}

#[test]
fn an_unhealthy_instance_is_stopped_softly() {
    let mut workload = running();
    workload.health = InstanceHealth::Unhealthy;
    assert_eq!(Case::of([workload], &live()).plan(), [(11, Step::StopSoft)]);
}

#[test]
fn a_younger_lease_waits_for_the_older_one_on_its_volume_or_container() {
    let path = std::path::Path::new("/shared");
    let mut old = Workload::from_lease(&with_volume(lease(11), "v1", path));
    (old.recorded, old.dead) = (true, true);
    old.wish = Wish::Unknown;
    let young = Workload::from_lease(&with_volume(lease(12), "v1", path));
    let other = Workload::from_lease(&with_volume(lease(13), "v2", path));
    let rights = [(11, Right::Until(later())), (12, Right::Until(later())), (13, Right::Until(later()))];
    assert_eq!(Case::of([old, young, other], &rights).plan(), [(13, Step::Prepare)]);
}

#[test]
fn stop_steps_come_before_start_steps() {
    let mut dying = running();
    dying.token = Token(12);
    let rights = [(11, Right::Until(later())), (12, Right::Over(Lost::SessionGone))];
    let mut young = fresh();
    young.container = berth_state::ids::ContainerId::new("other").unwrap();
    assert_eq!(Case::of([young, dying], &rights).plan(), [(12, Step::Kill), (11, Step::Prepare)]);
}
