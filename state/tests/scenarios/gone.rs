//! L15: what proves that a fenced holder is gone; until then its host gets no lease.

use berth_state::command::*;
use berth_state::ids::*;
use berth_state::noun::fence::FenceMethod;
use berth_state::unfit::Unfit;
use berth_state::{Order, Rejection};

use crate::world::*;

fn fenced() -> (World, (LeaseId, Token)) {
    let mut w = World::small();
    let held = w.running("db", "h1");
    w.fenced("h1", held, FenceMethod::PowerOff);
    (w, held)
}

fn holders(w: &World) -> usize {
    w.state.host(&host("h1")).unwrap().fenced.len()
}

#[test]
fn a_fenced_host_gets_no_lease_before_an_operator_says_that_the_holder_is_gone() {
    let (mut w, _) = fenced();
    let grant = w.grant_order("db", "h1");
    let why = w.refused(grant);
    assert!(matches!(why, Rejection::HostFenced { .. } | Rejection::DoesNotFit { why: Unfit::Fenced { .. }, .. }), "{why:?}");
    let unfence = |reason: &str| Order::UnfenceHost(UnfenceHost { host: host("h1"), name: "ann".to_owned(), reason: reason.to_owned() });
    assert!(matches!(w.refused(unfence(" ")), Rejection::Invalid { .. }));
    w.done(unfence("reinstalled"));
    assert!(matches!(w.refused(unfence("again")), Rejection::NothingToClear { .. }));
    w.grant("db", "h1");
}

#[test]
fn a_late_release_over_the_same_ledger_is_proof_and_one_of_another_host_is_not() {
    let (mut w, held) = fenced();
    let (own, other) = (w.session("h1"), w.session("h2"));
    let order = w.release_order(held, other);
    w.order(order);
    assert_eq!(holders(&w), 1, "h2 cannot know");
    let order = w.release_order(held, own);
    w.done(order.clone());
    assert_eq!(holders(&w), 0);
    w.done(order);
}

#[test]
fn a_later_boot_is_proof_and_the_same_boot_is_not() {
    for (boot, left) in [(BOOT, 1), (LATER_BOOT, 0)] {
        let (mut w, _) = fenced();
        let session = w.session("h1");
        w.done(Order::CloseSession(CloseSession { session }));
        let open = w.open_order("h1", boot, None, berth_state::noun::session::Guard::HostProcess);
        w.done(open);
        assert_eq!(holders(&w), left);
    }
}
