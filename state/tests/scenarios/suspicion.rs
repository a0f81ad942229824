//! A suspected split brain: said by the holder alone, and no new lease before an operator has looked.

use berth_state::command::*;
use berth_state::ids::*;
use berth_state::{Order, Rejection};

use crate::world::*;

#[test]
fn a_suspicion_is_the_holders_to_raise_and_an_operators_to_clear() {
    let mut w = World::small();
    let (lease, token) = w.running("db", "h1");
    let suspect = |session| Order::SuspectSplitBrain(SuspectSplitBrain { session, lease, token, volume: volume("pg"), other: Token(1) });
    let (own, other) = (w.session("h1"), w.session("h2"));
    assert!(matches!(w.refused(suspect(other)), Rejection::SessionReplaced { .. }));
    w.done(suspect(own));
    let events = w.events.len();
    w.done(suspect(own));
    assert_eq!(w.events.len(), events, "said once");
    let order = w.release_order((lease, token), own);
    w.done(order);
    let grant = w.grant_order("db", "h2");
    w.refused(grant);
    let clear =
        |reason: &str| Order::ClearSuspicion(ClearSuspicion { volume: volume("pg"), name: "ann".to_owned(), reason: reason.to_owned() });
    assert!(matches!(w.refused(clear("")), Rejection::Invalid { .. }));
    w.done(clear("data is equal"));
    assert!(matches!(w.refused(clear("again")), Rejection::NothingToClear { .. }));
    w.grant("db", "h2");
}
