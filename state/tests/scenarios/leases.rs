//! L11, L13, L14, L16: leases that exist.

use berth_state::Rejection;
use berth_state::command::*;
use berth_state::ids::*;
use berth_state::noun::container::*;
use berth_state::noun::host::*;
use berth_state::noun::lease::*;
use berth_state::noun::session::*;
use berth_state::outcome::*;
use berth_state::{Order, Outcome, placement};

use crate::world::*;

fn withdraw((lease, token): (LeaseId, Token)) -> Order {
    Order::WithdrawLease(WithdrawLease { lease, token, why: WithdrawReason::NotActivated })
}

fn revoke((lease, token): (LeaseId, Token)) -> Order {
    Order::RevokeLease(RevokeLease { lease, token, reason: RevokeReason::Stop })
}

fn close((lease, token): (LeaseId, Token)) -> Order {
    Order::CloseLease(CloseLease { lease, token })
}

#[test]
fn every_command_names_lease_and_token_both() {
    let mut w = World::small();
    let held = w.running("db", "h1");
    let wrong = (held.0, Token(held.1.0 + 1));
    for order in
        [withdraw(wrong), revoke(wrong), close(wrong), w.fence_order(wrong, Evidence::StorageCut), w.release_order(wrong, w.session("h1"))]
    {
        assert!(matches!(w.refused(order), Rejection::TokenMismatch { .. }));
    }
}

#[test]
fn a_withdrawn_grant_frees_the_container_and_the_late_keepalive_gets_gone() {
    let mut w = World::small();
    let held = w.grant("db", "h1");
    w.done(withdraw(held));
    let session = w.session("h1");
    let answer = w.keepalive(session, &[held.1]);
    assert_eq!(verdict_of(&answer, held.1), Some(LeaseVerdict::Gone(GoneReason::Ended)));
    w.grant("db", "h2");
}

#[test]
fn an_activated_lease_cannot_be_withdrawn() {
    let mut w = World::small();
    let held = w.running("db", "h1");
    assert!(matches!(w.refused(withdraw(held)), Rejection::WrongPhase { phase: Phase::Active, .. }));
}

#[test]
fn expire_is_a_compare_and_set_on_the_last_renewal() {
    let mut w = World::small();
    let held = w.running("db", "h1");
    let overtaken = w.expire_order(held);
    let session = w.session("h1");
    w.keepalive(session, &[held.1]);
    assert!(matches!(w.refused(overtaken), Rejection::RenewedSince { .. }), "decided, then overtaken by a renewal");
    w.expire(held);
    assert_eq!(w.phase(held.0), Some(Phase::Expired));
    let again = w.expire_order(held);
    assert!(matches!(w.refused(again), Rejection::WrongPhase { phase: Phase::Expired, .. }));
}

#[test]
fn a_granted_lease_is_withdrawn_and_never_expires() {
    let mut w = World::small();
    let held = w.grant("db", "h1");
    let order = Order::ExpireLease(ExpireLease { lease: held.0, token: held.1, renewed: Revision(held.0.0) });
    assert!(matches!(w.refused(order), Rejection::WrongPhase { phase: Phase::Granted, .. }));
}

#[test]
fn a_revoked_lease_stays_renewable_until_it_is_closed() {
    let mut w = World::small();
    let held = w.running("db", "h1");
    let session = w.session("h1");
    assert!(matches!(w.refused(close(held)), Rejection::WrongPhase { .. }), "close without a revoke");
    w.done(revoke(held));
    let answer = w.keepalive(session, &[held.1]);
    assert!(matches!(verdict_of(&answer, held.1), Some(LeaseVerdict::Live { .. })));
    w.done(close(held));
    let before = w.renewed(held.1);
    let answer = w.keepalive(session, &[held.1]);
    assert_eq!(verdict_of(&answer, held.1), Some(LeaseVerdict::Gone(GoneReason::Closing)));
    assert_eq!(w.renewed(held.1), before, "no renewal while closing");
    w.expire(held);
    let order = w.ran_out(held);
    w.done(order);
    assert_eq!(w.phase(held.0), None);
}

#[test]
fn release_works_in_every_unended_phase_and_is_idempotent() {
    for step in 0..4 {
        let mut w = World::small();
        let held = if step == 0 { w.grant("db", "h1") } else { w.running("db", "h1") };
        if step == 2 {
            w.done(revoke(held));
            w.done(close(held));
        }
        if step == 3 {
            w.expire(held);
        }
        let session = w.session("h1");
        let order = w.release_order(held, session);
        w.done(order.clone());
        assert_eq!(w.phase(held.0), None, "an expired lease too is freed by its holder's release");
        assert_eq!(w.done(order), Made::Unchanged);
        w.grant("db", "h2");
    }
}

#[test]
fn only_the_holding_session_or_its_successor_may_release() {
    let mut w = World::small();
    let held = w.running("db", "h1");
    let (other, own) = (w.session("h2"), w.session("h1"));
    let order = w.release_order(held, other);
    assert!(matches!(w.refused(order), Rejection::ReleaseRefused { .. }));
    let order = w.open_order("h1", BOOT, Some(own), Guard::HostProcess);
    w.done(order);
    let order = w.release_order(held, own);
    assert!(matches!(w.refused(order), Rejection::SessionNotFound { .. }), "the replaced session speaks no more");
    let order = w.release_order(held, w.session("h1"));
    w.done(order);
}

#[test]
fn a_later_boot_over_the_same_ledger_may_release_only_what_expired_or_closes() {
    let mut w = World::small();
    let held = w.running("db", "h1");
    let old = w.session("h1");
    w.expire(held);
    let renewed = w.state.pulse(old).unwrap().renewed;
    w.done(Order::ExpireSession(ExpireSession { session: old, renewed }));
    let order = w.open_order("h1", LATER_BOOT, Some(old), Guard::HostProcess);
    w.done(order);
    assert_eq!(w.phase(held.0), Some(Phase::Expired), "a reboot by itself ends no lease");
    let order = w.release_order(held, w.session("h1"));
    w.done(order);
    assert_eq!(w.phase(held.0), None);
}

#[test]
fn a_restart_is_a_new_lease_under_a_higher_token() {
    let mut w = World::small();
    let first = w.running("db", "h1");
    w.done(Order::RestartContainer(RestartContainer { container: container("db") }));
    w.done(Order::RevokeLease(RevokeLease { lease: first.0, token: first.1, reason: RevokeReason::Restart }));
    let order = w.release_order(first, w.session("h1"));
    w.done(order);
    let second = w.grant("db", "h1");
    assert!(second.1 > first.1);
    let lease = w.state.lease(second.0).unwrap();
    assert_eq!(lease.cause, GrantCause::Relocated { from: first.1 });
    assert_eq!(w.state.container(&container("db")).unwrap().relocation, None, "done once");
}

#[test]
fn a_move_goes_where_it_was_asked_to_and_elsewhere_only_when_that_is_not_possible() {
    let mut w = World::small();
    w.add_host("h3");
    w.open("h3");
    let held = w.running("db", "h1");
    w.done(Order::MoveContainer(MoveContainer { container: container("db"), to: Some(host("h3")) }));
    let order = w.release_order(held, w.session("h1"));
    w.done(order);
    let db = w.state.container(&container("db")).unwrap().clone();
    assert_eq!(placement::choose(&w.state, &db), Ok(host("h3")), "though h2 comes first by name");
    w.done(Order::SetScheduling(SetScheduling { host: host("h3"), scheduling: Scheduling::Cordoned }));
    assert_eq!(placement::choose(&w.state, &db), Ok(host("h1")), "a wish never keeps a container down");
    w.grant("db", "h2");
}

#[test]
fn an_observation_is_an_event_only_when_it_is_news() {
    let mut w = World::small();
    let held = w.running("db", "h1");
    let status = InstanceStatus {
        attempt: 1,
        state: InstanceState::Running,
        health: InstanceHealth::Unchecked,
        last_exit: None,
        message: String::new(),
    };
    let session = w.session("h1");
    let report = |session| {
        let instances = vec![ObservedInstance { lease: held.0, token: held.1, status: status.clone() }];
        Order::RecordObservation(RecordObservation { session, instances })
    };
    assert_eq!(w.done(report(session)), Made::Done);
    assert_eq!(w.done(report(session)), Made::Unchanged);
    assert_eq!(w.state.lease(held.0).unwrap().instance.as_ref(), Some(&status));
    let other = w.session("h2");
    assert_eq!(w.done(report(other)), Made::Unchanged, "another host's word about it does not count");
}

#[test]
fn an_update_reaches_only_the_next_lease() {
    let mut w = World::small();
    let held = w.running("db", "h1");
    let mut changed = spec(&["pg"]);
    changed.command = vec!["other".to_owned()];
    let outcome = w.order(Order::UpdateContainer(UpdateContainer { container: container("db"), version: Version(1), spec: changed }));
    assert!(matches!(outcome, Outcome::Accepted(Accepted { made: Made::Version(Version(2)), .. })));
    let lease = w.state.lease(held.0).unwrap();
    assert_eq!((lease.version, lease.spec.command[0].as_str()), (Version(1), "writer"));
    assert_eq!(w.state.container(&container("db")).unwrap().desired, Desired::Running);
}
