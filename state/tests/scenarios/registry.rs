//! The registry: add, update by version, remove; every refusal names what stands in the way.

use berth_state::command::*;
use berth_state::ids::*;
use berth_state::noun::cluster::Settings;
use berth_state::noun::container::*;
use berth_state::noun::volume::*;
use berth_state::{ClusterState, Command, Order, Outcome, Rejection};

use crate::world::*;

#[test]
fn nothing_is_decided_before_the_cluster_exists() {
    let mut state = ClusterState::default();
    let order = Order::RemoveHost(RemoveHost { host: host("h1") });
    let command = Command { time: Time(1), request: None, actor: String::new(), order };
    let applied = state.apply(Revision(1), &command);
    assert_eq!(applied.outcome, Outcome::Rejected(Rejection::NotInitialized));
}

#[test]
fn a_cluster_is_initialized_once() {
    let mut w = World::empty();
    let again = |cluster| Order::InitCluster(InitCluster { cluster, settings: Settings::default() });
    w.done(again(CLUSTER));
    assert_eq!(w.refused(again(ClusterId([9; 16]))), Rejection::AlreadyInitialized { cluster: CLUSTER });
}

#[test]
fn names_are_taken_once() {
    let mut w = World::small();
    let order = Order::AddHost(AddHost { host: host("h1"), spec: berth_state::noun::host::HostSpec::default() });
    assert!(matches!(w.refused(order), Rejection::HostExists { .. }));
    let order = Order::AddVolume(AddVolume { volume: volume("pg"), spec: path_volume("/data/other") });
    assert!(matches!(w.refused(order), Rejection::VolumeExists { .. }));
    let order = Order::AddContainer(AddContainer { container: container("db"), spec: spec(&[]), desired: Desired::Running });
    assert!(matches!(w.refused(order), Rejection::ContainerExists { .. }));
}

#[test]
fn an_update_needs_the_version_it_read() {
    let mut w = World::small();
    let update =
        |version| Order::UpdateContainer(UpdateContainer { container: container("db"), version: Version(version), spec: spec(&["pg"]) });
    w.done(update(1));
    assert_eq!(
        w.refused(update(1)),
        Rejection::VersionMismatch { object: "container db".to_owned(), expected: Version(1), actual: Version(2) }
    );
}

#[test]
fn what_a_lease_names_cannot_be_removed_or_changed_under_it() {
    let mut w = World::small();
    let held = w.running("db", "h1");
    w.expire(held);
    let order = Order::RemoveVolume(RemoveVolume { volume: volume("pg") });
    assert!(matches!(w.refused(order), Rejection::VolumeHeld { .. }));
    let order = Order::UpdateVolume(UpdateVolume { volume: volume("pg"), version: Version(1), spec: path_volume("/data/new") });
    assert!(matches!(w.refused(order), Rejection::VolumeHeld { .. }));
    let order = Order::RemoveContainer(RemoveContainer { container: container("db") });
    assert!(matches!(w.refused(order), Rejection::ContainerHeld { .. }));
    let order = Order::RemoveHost(RemoveHost { host: host("h1") });
    assert!(matches!(w.refused(order), Rejection::HostHoldsLease { .. }));
}

#[test]
fn a_volume_that_a_container_names_cannot_be_removed() {
    let mut w = World::small();
    let order = Order::RemoveVolume(RemoveVolume { volume: volume("pg") });
    assert_eq!(w.refused(order), Rejection::VolumeUsed { volume: volume("pg"), container: container("db") });
    w.done(Order::RemoveContainer(RemoveContainer { container: container("db") }));
    w.done(Order::RemoveVolume(RemoveVolume { volume: volume("pg") }));
}

#[test]
fn two_volumes_never_share_a_directory() {
    let mut w = World::small();
    for path in ["/data/pg", "/data", "/data/pg/base"] {
        let order = Order::AddVolume(AddVolume { volume: volume("twin"), spec: path_volume(path) });
        assert!(matches!(w.refused(order), Rejection::Invalid { .. }), "{path}");
    }
    w.done(Order::AddVolume(AddVolume { volume: volume("twin"), spec: path_volume("/data/pg2") }));
}

#[test]
fn a_container_names_only_volumes_that_exist() {
    let mut w = World::empty();
    let order = Order::AddContainer(AddContainer { container: container("db"), spec: spec(&["nope"]), desired: Desired::Running });
    assert_eq!(w.refused(order), Rejection::VolumeNotFound { volume: volume("nope") });
}

/// Spoils one field of a spec.
type Spoil = Box<dyn Fn(&mut ContainerSpec)>;

#[test]
fn malformed_specs_are_refused_by_field() {
    let cases: Vec<(&str, Spoil)> = vec![
        ("command", Box::new(|s| s.command.clear())),
        ("image", Box::new(|s| s.image = "x".to_owned())),
        ("environment", Box::new(|s| drop(s.environment.insert("A=B".to_owned(), String::new())))),
        ("environment", Box::new(|s| drop(s.environment.insert("BERTH_TOKEN".to_owned(), String::new())))),
        ("volumes.path", Box::new(|s| s.volumes[0].path = "relative".to_owned())),
        ("volumes.path", Box::new(|s| s.volumes[0].path = "/a/../b".to_owned())),
        ("volumes", Box::new(|s| s.volumes.push(VolumeMount { path: "/again".to_owned(), ..s.volumes[0].clone() }))),
        ("limits", Box::new(|s| s.limits.memory_bytes = Some(0))),
        ("stop_signal", Box::new(|s| s.stop_signal = Some("TERM".to_owned()))),
        (
            "ports",
            Box::new(|s| {
                s.ports.push(Port { host_address: String::new(), host_port: 0, container_port: 1, protocol: Protocol::Tcp });
            }),
        ),
        (
            "health_check.command",
            Box::new(|s| {
                s.health_check =
                    Some(HealthCheck { command: vec![], interval_ms: 1_000, timeout_ms: 1_000, retries: 3, start_period_ms: 0 });
            }),
        ),
    ];
    for (field, spoil) in cases {
        let mut w = World::small();
        let mut bad = spec(&["pg"]);
        spoil(&mut bad);
        let order = Order::AddContainer(AddContainer { container: container("bad"), spec: bad, desired: Desired::Running });
        match w.refused(order) {
            Rejection::Invalid { field: named, .. } => assert_eq!(named, field),
            other => panic!("{field}: {other:?}"),
        }
    }
}

#[test]
fn a_path_volume_needs_an_absolute_path_and_nothing_else() {
    let mut w = World::empty();
    for path in ["relative", "/", "/a//b", "/a/", "/a/./b", "/a,b"] {
        let order = Order::AddVolume(AddVolume { volume: volume("v"), spec: path_volume(path) });
        assert!(matches!(w.refused(order), Rejection::Invalid { .. }), "{path}");
    }
    let mut extra = path_volume("/data/v");
    extra.options.insert("size".to_owned(), "1".to_owned());
    let order = Order::AddVolume(AddVolume { volume: volume("v"), spec: VolumeSpec { ..extra } });
    assert!(matches!(w.refused(order), Rejection::Invalid { .. }));
}

#[test]
fn removing_the_target_of_a_move_forgets_the_move() {
    let mut w = World::small();
    w.running("db", "h1");
    w.add_host("h3");
    w.done(Order::MoveContainer(MoveContainer { container: container("db"), to: Some(host("h3")) }));
    w.done(Order::RemoveHost(RemoveHost { host: host("h3") }));
    assert_eq!(w.state.container(&container("db")).unwrap().relocation, None);
}

#[test]
fn a_format_is_never_lowered_and_never_raised_beyond_what_this_build_knows() {
    let mut w = World::empty();
    for format in [0, 99] {
        assert!(matches!(w.refused(Order::RaiseFormat(RaiseFormat { format })), Rejection::FormatRefused { .. }));
    }
}
