//! L15, L21: an attempt is an entry before the action and one after it; one at a time for a host.

use berth_state::ids::*;
use berth_state::noun::fence::FenceMethod;
use berth_state::{Order, Rejection};

use crate::world::*;

const POWER: FenceMethod = FenceMethod::PowerOff;

#[test]
fn a_host_has_one_attempt_at_a_time_and_another_comes_instead_only_by_its_name() {
    let mut w = World::small();
    let held = w.running("db", "h1");
    w.start_fence(held, POWER);
    let begin = w.begin_order("h1", POWER, &[held.1]);
    w.done(begin.clone());
    let open = Revision(w.index);
    assert!(matches!(w.refused(begin.clone()), Rejection::AttemptOpen { attempt, .. } if attempt == open));
    let Order::BeginFenceAttempt(mut instead) = begin else { panic!() };
    instead.instead = Some(open);
    w.done(Order::BeginFenceAttempt(instead.clone()));
    assert!(matches!(w.refused(Order::BeginFenceAttempt(instead)), Rejection::AttemptOpen { .. }), "that one is not open any more");
    let late = w.end_order("h1", open, true);
    assert!(matches!(w.refused(late), Rejection::AttemptUnknown { .. }), "the word of the former one is no acknowledgement");
}

#[test]
fn an_attempt_names_only_leases_of_its_host_whose_fence_by_that_method_was_started() {
    let mut w = World::small();
    let held = w.running("db", "h1");
    for (name, tokens) in [("h1", vec![held.1]), ("h1", vec![]), ("h2", vec![held.1]), ("h1", vec![Token(9_999)])] {
        let order = w.begin_order(name, POWER, &tokens);
        assert!(matches!(w.refused(order), Rejection::Invalid { .. }), "not started");
    }
    w.start_fence(held, POWER);
    let other = w.begin_order("h1", FenceMethod::StorageCut, &[held.1]);
    assert!(matches!(w.refused(other), Rejection::Invalid { .. }));
    let elsewhere = w.begin_order("h2", POWER, &[held.1]);
    assert!(matches!(w.refused(elsewhere), Rejection::Invalid { .. }));
    w.try_fence("h1", POWER, &[held.1], false);
    assert_eq!(w.state.fence(held.1).unwrap().failed, 1);
}
