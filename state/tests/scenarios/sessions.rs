//! L17: sessions.

use berth_state::command::*;
use berth_state::ids::*;
use berth_state::noun::lease::*;
use berth_state::noun::session::*;
use berth_state::{Order, Rejection};

use crate::world::*;

fn expire_session(w: &World, session: SessionId) -> Order {
    Order::ExpireSession(ExpireSession { session, renewed: w.state.pulse(session).unwrap().renewed })
}

#[test]
fn a_restarted_executor_replaces_its_session_and_keeps_its_leases() {
    let mut w = World::small();
    let held = w.running("db", "h1");
    let old = w.session("h1");
    let renewed = w.renewed(held.1);
    let order = w.open_order("h1", BOOT, Some(old), Guard::HostProcess);
    w.done(order);
    let new = w.session("h1");
    assert_ne!(old, new);
    assert_eq!(w.state.lease(held.0).unwrap().session, new);
    assert_eq!(w.renewed(held.1), renewed, "opening a session is no renewal");
    assert_eq!(w.keepalive(old, &[held.1]), berth_state::outcome::SessionVerdict::Gone);
}

#[test]
fn another_boot_ledger_or_an_unknown_predecessor_is_a_conflict() {
    let mut w = World::small();
    w.running("db", "h1");
    let current = w.session("h1");
    let other_boot = w.open_order("h1", LATER_BOOT, Some(current), Guard::HostProcess);
    let unknown = w.open_order("h1", BOOT, None, Guard::HostProcess);
    let Order::OpenSession(mut other_ledger) = w.open_order("h1", BOOT, Some(current), Guard::HostProcess) else { panic!() };
    other_ledger.ledger = ledger("h2");
    for order in [other_boot, unknown, Order::OpenSession(other_ledger)] {
        assert!(matches!(w.refused(order), Rejection::SessionConflict { .. }));
    }
}

#[test]
fn a_silent_session_is_closed_only_after_its_leases_expired() {
    let mut w = World::small();
    let held = w.running("db", "h1");
    let session = w.session("h1");
    let order = expire_session(&w, session);
    assert!(matches!(w.refused(order), Rejection::SessionHoldsLease { phase: Phase::Active, .. }));
    w.expire(held);
    let order = expire_session(&w, session);
    w.done(order);
    assert_eq!(w.state.host(&host("h1")).unwrap().session, None);
    assert_eq!(w.phase(held.0), Some(Phase::Expired), "the lease is not ended by that");
    let order = w.open_order("h1", LATER_BOOT, None, Guard::HostProcess);
    w.done(order);
}

#[test]
fn a_granted_lease_too_keeps_its_session_from_being_closed() {
    let mut w = World::small();
    w.grant("db", "h1");
    let order = expire_session(&w, w.session("h1"));
    assert!(matches!(w.refused(order), Rejection::SessionHoldsLease { phase: Phase::Granted, .. }));
}

#[test]
fn closing_a_session_is_a_compare_and_set_on_its_last_keepalive() {
    let mut w = World::small();
    let session = w.session("h1");
    let overtaken = expire_session(&w, session);
    w.keepalive(session, &[]);
    assert!(matches!(w.refused(overtaken), Rejection::RenewedSince { .. }));
}

#[test]
fn a_clean_goodbye_needs_all_leases_ended() {
    let mut w = World::small();
    let held = w.running("db", "h1");
    let session = w.session("h1");
    let close = Order::CloseSession(CloseSession { session });
    assert!(matches!(w.refused(close.clone()), Rejection::SessionHoldsLease { .. }));
    let order = w.release_order(held, session);
    w.done(order);
    w.done(close);
    w.done(Order::RemoveHost(RemoveHost { host: host("h1") }));
}

#[test]
fn an_unknown_host_has_no_session() {
    let mut w = World::small();
    let order = w.open_order("h9", BOOT, None, Guard::HostProcess);
    assert!(matches!(w.refused(order), Rejection::HostNotFound { .. }));
}
