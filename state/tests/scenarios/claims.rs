//! Claims: a lease for a workload that somebody else starts on that very host.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use berth_state::command::*;
use berth_state::ids::*;
use berth_state::noun::container::*;
use berth_state::noun::session::*;
use berth_state::noun::volume::Driver;
use berth_state::{Order, Rejection};

use crate::world::*;

fn furnished() -> World {
    let mut w = World::small();
    w.add_host("h3");
    let runtimes = BTreeSet::from([RuntimeKind::External]);
    let drivers = BTreeMap::from([(Driver::Path, Cut::None)]);
    let declared = Declaration { guard: Guard::HostProcess, runtimes, drivers, program: "test".to_owned() };
    w.done(Order::OpenSession(OpenSession { host: host("h3"), boot: BOOT, ledger: ledger("h3"), predecessor: None, declared }));
    w
}

fn claim(w: &World, name: &str, runtime: RuntimeKind, volumes: &[&str]) -> Order {
    let spec = ContainerSpec { runtime, command: Vec::new(), ..spec(volumes) };
    Order::ClaimLease(ClaimLease { container: container(name), spec, session: w.session("h3") })
}

#[test]
fn a_claim_makes_its_container_and_the_end_of_its_lease_removes_it() {
    let mut w = furnished();
    let order = claim(&w, "run", RuntimeKind::External, &["pg"]);
    w.done(order.clone());
    let held = w.state.lease_of_container(&container("run")).map(|l| (l.id, l.token)).unwrap();
    assert!(matches!(w.refused(order), Rejection::VolumeHeld { .. }), "who holds it is said");
    let session = w.session("h3");
    let release = w.release_order(held, session);
    w.done(release);
    assert!(w.state.container(&container("run")).is_none());
}

#[test]
fn a_claim_is_external_names_a_volume_and_takes_no_name_that_is_used() {
    let mut w = furnished();
    for (runtime, volumes) in [(RuntimeKind::Process, vec!["pg"]), (RuntimeKind::External, vec![])] {
        let order = claim(&w, "run", runtime, &volumes);
        assert!(matches!(w.refused(order), Rejection::Invalid { .. }));
    }
    let order = claim(&w, "db", RuntimeKind::External, &["pg"]);
    assert!(matches!(w.refused(order), Rejection::ContainerExists { .. }));
    let held: (LeaseId, Token) = w.running("db", "h1");
    let order = claim(&w, "run", RuntimeKind::External, &["pg"]);
    assert!(matches!(w.refused(order), Rejection::VolumeHeld { token, .. } if token == held.1));
}
