//! L15, I14: a host that the storage keeps out is let in only after every token cut there is known to be gone, in two entries.

use std::collections::BTreeMap;

use berth_state::command::*;
use berth_state::ids::*;
use berth_state::noun::fence::FenceMethod;
use berth_state::noun::session::*;
use berth_state::noun::volume::*;
use berth_state::{Order, Rejection};

use crate::world::*;

fn barred() -> (World, Token) {
    let mut w = World::empty();
    w.add_host("h1");
    let declared = Declaration { drivers: BTreeMap::from([(Driver::Glusterfs, Cut::FuseAbort)]), ..declaration(Guard::HostProcess) };
    w.done(Order::OpenSession(OpenSession { host: host("h1"), boot: BOOT, ledger: ledger("h1"), predecessor: None, declared }));
    let options = [("servers", "g1"), ("volume", "gv"), ("fence", "auth-reject")];
    let options = options.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    let gl = VolumeSpec { driver: Driver::Glusterfs, options, takeover: Takeover::AfterFence, coherent: false, lock_delay_ms: 0 };
    w.done(Order::AddVolume(AddVolume { volume: volume("gl"), spec: gl }));
    w.add_container("db", spec(&["gl"]));
    let held = w.running("db", "h1");
    w.fenced("h1", held, FenceMethod::StorageCut);
    (w, held.1)
}

fn start() -> Order {
    Order::StartLift(StartLift { volume: volume("gl"), host: host("h1") })
}

fn finish(newest: Token) -> Order {
    Order::FinishLift(FinishLift { volume: volume("gl"), host: host("h1"), newest })
}

#[test]
fn a_lift_needs_proof_of_death_then_its_start_and_then_the_newest_token() {
    let (mut w, token) = barred();
    assert!(matches!(w.refused(start()), Rejection::LiftRefused { .. }), "not known to be gone");
    assert!(matches!(w.refused(finish(token)), Rejection::LiftRefused { .. }));
    w.done(Order::UnfenceHost(UnfenceHost { host: host("h1"), name: "ann".to_owned(), reason: "reinstalled".to_owned() }));
    assert!(matches!(w.refused(finish(token)), Rejection::LiftRefused { .. }), "not started");
    w.done(start());
    let events = w.events.len();
    w.done(start());
    assert_eq!(w.events.len(), events, "once is enough");
    assert!(matches!(w.refused(finish(Token(token.0 - 1))), Rejection::LiftRefused { .. }), "of an older cut");
    w.done(finish(token));
    for order in [start(), finish(token)] {
        assert!(matches!(w.refused(order), Rejection::NotBarred { .. }));
    }
}
