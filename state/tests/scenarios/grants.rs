//! L1-L3: who may get a lease.

use berth_state::Rejection;
use berth_state::command::*;
use berth_state::ids::*;
use berth_state::noun::container::*;
use berth_state::noun::host::*;
use berth_state::noun::lease::*;
use berth_state::noun::session::*;
use berth_state::noun::volume::*;
use berth_state::{Event, Fact, Order, Outcome, placement};

use crate::world::*;

#[test]
fn a_grant_takes_the_log_index_as_token_and_starts_no_clock() {
    let mut w = World::small();
    let (lease, token) = w.grant("db", "h1");
    assert_eq!(token.0, w.index);
    assert_eq!(w.phase(lease), Some(Phase::Granted));
    assert_eq!(w.state.renewal(token), None, "a grant starts no clock");
}

#[test]
fn a_held_container_gets_no_second_lease() {
    let mut w = World::small();
    let (lease, token) = w.grant("db", "h1");
    let order = w.grant_order("db", "h2");
    let expected = Rejection::ContainerHeld { container: container("db"), lease, token, host: host("h1"), phase: Phase::Granted };
    assert_eq!(w.refused(order), expected);
}

#[test]
fn an_expired_holder_still_blocks_a_grant_on_its_volume() {
    let mut w = World::small();
    w.add_container("other", spec(&["pg"]));
    let held = w.running("db", "h1");
    w.expire(held);
    let order = w.grant_order("other", "h2");
    let expected = Rejection::VolumeHeld {
        volume: volume("pg"),
        lease: held.0,
        token: held.1,
        container: container("db"),
        host: host("h1"),
        phase: Phase::Expired,
    };
    assert_eq!(w.refused(order), expected);
}

#[test]
fn a_read_only_mount_holds_the_volume_as_well() {
    let mut w = World::small();
    let mut reader = spec(&["pg"]);
    reader.volumes[0].read_only = true;
    w.add_container("reader", reader);
    w.running("db", "h1");
    let order = w.grant_order("reader", "h2");
    assert!(matches!(w.refused(order), Rejection::VolumeHeld { .. }));
}

#[test]
fn a_grant_decided_on_an_old_spec_or_session_is_refused() {
    let mut w = World::small();
    let stale_spec = w.grant_order("db", "h1");
    w.done(Order::UpdateContainer(UpdateContainer { container: container("db"), version: Version(1), spec: spec(&["pg"]) }));
    assert!(matches!(w.refused(stale_spec), Rejection::VersionMismatch { actual: Version(2), .. }));
    let stale_session = w.grant_order("db", "h1");
    let order = w.open_order("h1", BOOT, Some(w.session("h1")), Guard::HostProcess);
    w.done(order);
    assert!(matches!(w.refused(stale_session), Rejection::SessionReplaced { .. }));
}

#[test]
fn after_expiry_needs_a_guard_that_outlives_the_executor() {
    for (guard, may) in [(Guard::Executor, false), (Guard::Init, true), (Guard::HostProcess, true)] {
        let mut w = World::small();
        let order = w.open_order("h1", BOOT, Some(w.session("h1")), guard);
        w.done(order);
        let order = w.grant_order("db", "h1");
        match w.order(order) {
            Outcome::Accepted(_) => assert!(may, "{guard:?}"),
            Outcome::Rejected(why) => assert!(!may && matches!(why, Rejection::NotGuarded { .. }), "{guard:?}: {why}"),
            Outcome::Keepalives(_) => unreachable!(),
        }
    }
}

#[test]
fn write_back_is_cut_only_by_a_guard_outside_of_the_instance() {
    for (guard, may) in [(Guard::Init, false), (Guard::HostProcess, true), (Guard::Watchdog, true)] {
        let mut w = World::small();
        let Order::OpenSession(mut order) = w.open_order("h1", BOOT, Some(w.session("h1")), guard) else { unreachable!() };
        order.declared.drivers.insert(Driver::Image, Cut::FileSystemShutdown);
        w.done(Order::OpenSession(order));
        let image = VolumeSpec {
            driver: Driver::Image,
            options: [("file".to_owned(), "/images/x.img".to_owned())].into(),
            coherent: false,
            ..path_volume("/unused")
        };
        w.done(Order::AddVolume(AddVolume { volume: volume("x"), spec: image }));
        w.add_container("x", spec(&["x"]));
        let order = w.grant_order("x", "h1");
        let granted = matches!(w.order(order), Outcome::Accepted(_));
        assert_eq!(granted, may, "{guard:?}");
    }
}

#[test]
fn a_host_without_a_guard_or_with_an_uncut_volume_is_not_guarded() {
    let mut w = World::small();
    let order = w.open_order("h1", BOOT, Some(w.session("h1")), Guard::None);
    w.done(order);
    let order = w.grant_order("db", "h1");
    assert_eq!(w.refused(order), Rejection::NoGuard { host: host("h1") });
    // Such a volume is refused when it is added; one from an older format would still not be granted.
    let spec = VolumeSpec { coherent: false, ..path_volume("/data/pg") };
    let fact = Fact::VolumeUpdated { volume: volume("pg"), version: Version(2), spec };
    w.state.evolve(&Event { revision: Revision(w.index), time: Time(0), actor: String::new(), fact });
    let order = w.grant_order("db", "h2");
    let refused = w.order(order);
    assert!(matches!(refused, Outcome::Rejected(Rejection::NotGuarded { takeover: Takeover::AfterExpiry, cut: Cut::None, .. })));
}

#[test]
fn the_declaration_at_the_grant_is_frozen_in_the_lease() {
    let mut w = World::small();
    let held = w.running("db", "h1");
    let order = w.open_order("h1", BOOT, Some(w.session("h1")), Guard::None);
    w.done(order);
    assert_eq!(w.state.lease(held.0).unwrap().guard, Guard::HostProcess);
}

#[test]
fn nothing_is_placed_on_a_cordoned_or_draining_host() {
    for scheduling in [Scheduling::Cordoned, Scheduling::Draining] {
        let mut w = World::small();
        w.done(Order::SetScheduling(SetScheduling { host: host("h1"), scheduling }));
        let order = w.grant_order("db", "h1");
        assert_eq!(w.refused(order), Rejection::HostNotOpen { host: host("h1"), scheduling });
    }
}

#[test]
fn a_stopped_or_finished_container_gets_no_lease() {
    let mut w = World::small();
    w.done(Order::SetDesired(SetDesired { container: container("db"), desired: Desired::Stopped }));
    let order = w.grant_order("db", "h1");
    assert!(matches!(w.refused(order), Rejection::NotWanted { .. }));
    w.done(Order::SetDesired(SetDesired { container: container("db"), desired: Desired::Running }));
    let held = w.running("db", "h1");
    let exit = Some(Exit { code: 0, reason: "exited".to_owned() });
    let session = w.session("h1");
    w.done(Order::ReleaseLease(ReleaseLease { lease: held.0, token: held.1, session, exit, finished: true }));
    let order = w.grant_order("db", "h1");
    assert!(matches!(w.refused(order), Rejection::NotWanted { .. }));
    w.done(Order::RestartContainer(RestartContainer { container: container("db") }));
    w.grant("db", "h1");
}

#[test]
fn placement_respects_constraints_anti_affinity_ports_and_capacity() {
    let mut w = World::empty();
    let labelled = HostSpec {
        labels: [("disk".to_owned(), "ssd".to_owned())].into(),
        capacity: Capacity { cpu_millis: Some(1_000), memory_bytes: None },
        ..HostSpec::default()
    };
    w.done(Order::AddHost(AddHost { host: host("h1"), spec: labelled }));
    w.add_host("h2");
    w.open("h1");
    w.open("h2");
    let port = Port { host_address: String::new(), host_port: 5432, container_port: 5432, protocol: Protocol::Tcp };
    let mut a = spec(&[]);
    a.constraints = vec![Constraint { key: "disk".to_owned(), equal: true, value: "ssd".to_owned() }];
    a.ports = vec![port.clone()];
    a.limits.cpu_millis = Some(600);
    w.add_container("a", a.clone());
    let order = w.grant_order("a", "h2");
    assert!(matches!(w.refused(order), Rejection::DoesNotFit { why: placement::Unfit::Constraint { .. }, .. }));
    w.running("a", "h1");

    let mut same_port = spec(&[]);
    same_port.ports = vec![Port { host_address: "127.0.0.1".to_owned(), ..port }];
    w.add_container("same-port", same_port);
    let order = w.grant_order("same-port", "h1");
    assert!(matches!(w.refused(order), Rejection::DoesNotFit { why: placement::Unfit::PortTaken { port: 5432, .. }, .. }));

    let mut apart = spec(&[]);
    apart.anti_affinity = vec![container("a")];
    w.add_container("apart", apart);
    let order = w.grant_order("apart", "h1");
    assert!(matches!(w.refused(order), Rejection::DoesNotFit { why: placement::Unfit::AntiAffinity { .. }, .. }));

    let mut big = spec(&[]);
    big.limits.cpu_millis = Some(500);
    w.add_container("big", big);
    let order = w.grant_order("big", "h1");
    let why = placement::Unfit::Cpu { needed: 500, free: 400 };
    assert_eq!(w.refused(order), Rejection::DoesNotFit { container: container("big"), host: host("h1"), why });
    let chosen = placement::choose(&w.state, w.state.container(&container("big")).unwrap());
    assert_eq!(chosen, Ok(host("h2")));
}

#[test]
fn placement_spreads_and_says_why_nothing_fits() {
    let mut w = World::small();
    w.running("db", "h1");
    w.add_container("web", spec(&[]));
    let web = w.state.container(&container("web")).unwrap().clone();
    assert_eq!(placement::choose(&w.state, &web), Ok(host("h2")), "the emptier host");
    for name in ["h1", "h2"] {
        w.done(Order::SetScheduling(SetScheduling { host: host(name), scheduling: Scheduling::Cordoned }));
    }
    let reasons = placement::choose(&w.state, &web).unwrap_err();
    assert_eq!(reasons.len(), 2, "one reason for each host");
}
