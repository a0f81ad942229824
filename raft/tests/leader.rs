//! The pure part of the leader loops: notes, timers, placement, revocation, driven by a manual clock over a state that is driven by orders.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::wildcard_enum_match_arm, reason = "tests")]

#[path = "../../state/tests/world/mod.rs"]
mod world;

use std::collections::BTreeSet;

use berth_raft::clock::RawTime;
use berth_raft::leader::notes::{Noted, Notes};
use berth_raft::leader::{placement, revocation, timers};
use berth_state::command::*;
use berth_state::ids::*;
use berth_state::noun::container::*;
use berth_state::noun::host::*;
use berth_state::noun::lease::*;
use berth_state::noun::volume::*;
use berth_state::state::ObjectKey;
use berth_state::{ClusterState, Order};
use world::*;

/// A node: it applies, keeps notes, and can be asked what is due.
struct Node {
    w: World,
    notes: Notes,
    now: RawTime,
}

impl Node {
    fn new(w: World) -> Self {
        let mut node = Self { w, notes: Notes::default(), now: RawTime(1) };
        node.note();
        node
    }

    fn note(&mut self) {
        self.notes.refresh(&self.w.state, &every_key(&self.w.state), self.now);
    }

    fn pass(&mut self, ms: u64) {
        self.now = self.now.plus_ms(ms);
    }

    fn due(&self) -> Vec<Order> {
        timers::due(&self.w.state, &self.notes, self.now).orders
    }

    /// Does what is due, as the leader would, until nothing is.
    fn settle(&mut self) -> Vec<Order> {
        let mut done = Vec::new();
        for _ in 0..20 {
            let orders = self.due();
            if orders.is_empty() {
                break;
            }
            for order in orders {
                self.w.order(order.clone());
                done.push(order);
            }
            self.note();
        }
        done
    }
}

/// Every key a note can hang on; refreshing an unchanged one changes nothing.
fn every_key(state: &ClusterState) -> BTreeSet<ObjectKey> {
    let leases = (1..=400).map(|n| ObjectKey::Lease(LeaseId(n)));
    let renewals = (1..=400).map(|n| ObjectKey::Renewal(Token(n)));
    let pulses = (1..=400).map(|n| ObjectKey::Pulse(SessionId(n)));
    let keys: BTreeSet<_> = leases.chain(renewals).chain(pulses).collect();
    assert!(state.leases().all(|l| l.id.0 <= 400), "small histories only");
    keys
}

fn expires(orders: &[Order], token: Token) -> bool {
    orders.iter().any(|o| matches!(o, Order::ExpireLease(e) if e.token == token))
}

/// The other session of the world stays alive, so that only what a test is about falls due.
fn keep_h2(node: &mut Node) {
    let session = node.w.session("h2");
    node.w.keepalive(session, &[]);
    node.note();
}

#[test]
fn a_lease_expires_a_full_wait_after_the_note_and_not_a_moment_before() {
    let mut w = World::small();
    let held = w.running("db", "h1");
    let mut node = Node::new(w);
    node.pass(10_499);
    assert!(!expires(&node.due(), held.1));
    assert!(timers::due(&node.w.state, &node.notes, RawTime(1)).next.is_some(), "it knows when to look again");
    node.pass(1);
    assert!(expires(&node.due(), held.1));
}

#[test]
fn a_renewal_restarts_the_wait_and_a_repeated_refresh_does_not() {
    let mut w = World::small();
    let held = w.running("db", "h1");
    let mut node = Node::new(w);
    node.pass(10_000);
    let session = node.w.session("h1");
    node.w.keepalive(session, &[held.1]);
    node.note();
    node.pass(10_000);
    assert!(!expires(&node.due(), held.1));
    node.note();
    node.note();
    node.pass(500);
    assert!(expires(&node.due(), held.1), "a refresh of an unchanged fact keeps its time");
}

#[test]
fn a_restarted_node_begins_its_wait_anew_and_never_shortens_a_lease() {
    let mut w = World::small();
    let held = w.running("db", "h1");
    let mut node = Node::new(w);
    node.pass(10_400);
    node.notes = Notes::default();
    node.note();
    node.pass(200);
    assert!(!expires(&node.due(), held.1));
    node.pass(10_300);
    assert!(expires(&node.due(), held.1));
}

#[test]
fn a_note_of_an_older_renewal_is_not_used() {
    let mut w = World::small();
    let held = w.running("db", "h1");
    let mut node = Node::new(w);
    node.pass(10_600);
    let session = node.w.session("h1");
    node.w.keepalive(session, &[held.1]);
    assert_eq!(node.notes.get(&node.w.state, Noted::Renewed(held.1)), None, "applied, but not noted yet");
    assert!(!expires(&node.due(), held.1));
}

#[test]
fn a_dead_host_is_expired_waits_out_the_lock_delay_is_fenced_and_its_session_closed() {
    let mut w = World::small();
    let held = w.running("db", "h1");
    let old_session = w.session("h1");
    let mut node = Node::new(w);
    node.pass(7_000);
    keep_h2(&mut node);
    node.settle();
    assert_eq!(node.w.state.host(&host("h1")).unwrap().health, Health::Suspect);
    node.pass(3_500);
    keep_h2(&mut node);
    node.settle();
    assert_eq!(node.w.phase(held.0), Some(Phase::Expired));
    assert_eq!(node.w.state.session(old_session), None);
    assert_eq!(node.w.state.host(&host("h1")).unwrap().health, Health::Down);
    node.pass(499);
    node.settle();
    assert_eq!(node.w.phase(held.0), Some(Phase::Expired), "the lock delay is not over");
    node.pass(1);
    node.settle();
    assert_eq!(node.w.phase(held.0), None);
    let grant = placement::next(&node.w.state, &BTreeSet::new()).expect("the failover");
    assert_eq!((grant.container, grant.host), (container("db"), host("h2")));
}

#[test]
fn a_manual_volume_expires_but_is_never_fenced_by_time() {
    let mut w = World::small();
    let manual = VolumeSpec { takeover: Takeover::Manual, ..path_volume("/data/pg") };
    w.done(Order::UpdateVolume(UpdateVolume { volume: volume("pg"), version: Version(1), spec: manual }));
    let held = w.running("db", "h1");
    let mut node = Node::new(w);
    node.pass(1_000_000);
    keep_h2(&mut node);
    node.settle();
    node.pass(1_000_000);
    keep_h2(&mut node);
    node.settle();
    assert_eq!(node.w.phase(held.0), Some(Phase::Expired));
}

#[test]
fn a_grant_that_is_not_activated_is_withdrawn() {
    let mut w = World::small();
    let held = w.grant("db", "h1");
    let mut node = Node::new(w);
    node.pass(4_999);
    assert_eq!(node.due(), []);
    node.pass(1);
    node.settle();
    assert_eq!(node.w.phase(held.0), None);
    let grant = placement::next(&node.w.state, &BTreeSet::new()).unwrap();
    assert_eq!(grant.host, host("h2"), "not again where it was not taken up");
}

#[test]
fn a_revoked_lease_is_closed_when_its_drain_time_is_over() {
    let mut w = World::small();
    let held = w.running("db", "h1");
    w.done(Order::RevokeLease(RevokeLease { lease: held.0, token: held.1, reason: RevokeReason::Stop }));
    let mut node = Node::new(w);
    let renew = |node: &mut Node| {
        let session = node.w.session("h1");
        node.w.keepalive(session, &[held.1]);
        node.note();
        keep_h2(node);
    };
    for _ in 0..2 {
        node.pass(5_000);
        renew(&mut node);
    }
    assert_eq!(node.due(), [], "grace of 1 s and 10 s of slack are not over");
    node.pass(1_000);
    renew(&mut node);
    node.settle();
    assert_eq!(node.w.phase(held.0), Some(Phase::Closing));
}

#[test]
fn stop_restart_move_and_drain_revoke_what_runs() {
    let cases: [(Order, RevokeReason); 4] = [
        (Order::SetDesired(SetDesired { container: container("db"), desired: Desired::Stopped }), RevokeReason::Stop),
        (Order::RestartContainer(RestartContainer { container: container("db") }), RevokeReason::Restart),
        (Order::MoveContainer(MoveContainer { container: container("db"), to: None }), RevokeReason::Move),
        (Order::SetScheduling(SetScheduling { host: host("h1"), scheduling: Scheduling::Draining }), RevokeReason::Drain),
    ];
    for (order, reason) in cases {
        let mut w = World::small();
        let (lease, token) = w.running("db", "h1");
        assert_eq!(revocation::due(&w.state), []);
        w.done(order);
        let expected = Order::RevokeLease(RevokeLease { lease, token, reason });
        assert_eq!(revocation::due(&w.state), std::slice::from_ref(&expected));
        w.done(expected);
        assert_eq!(revocation::due(&w.state), [], "asked once");
    }
}

#[test]
fn a_drain_or_move_without_another_host_leaves_the_container_running() {
    let mut w = World::small();
    w.running("db", "h1");
    w.done(Order::SetScheduling(SetScheduling { host: host("h2"), scheduling: Scheduling::Cordoned }));
    w.done(Order::SetScheduling(SetScheduling { host: host("h1"), scheduling: Scheduling::Draining }));
    w.done(Order::MoveContainer(MoveContainer { container: container("db"), to: None }));
    assert_eq!(revocation::due(&w.state), []);
    w.done(Order::SetScheduling(SetScheduling { host: host("h2"), scheduling: Scheduling::Open }));
    assert_eq!(revocation::due(&w.state).len(), 1);
}

#[test]
fn a_move_that_waits_for_a_host_does_not_keep_a_failed_over_container_down() {
    let mut w = World::small();
    let held = w.running("db", "h1");
    w.done(Order::SetScheduling(SetScheduling { host: host("h2"), scheduling: Scheduling::Cordoned }));
    w.done(Order::MoveContainer(MoveContainer { container: container("db"), to: None }));
    let order = w.release_order(held, w.session("h1"));
    w.done(order);
    assert_eq!(placement::next(&w.state, &BTreeSet::new()).unwrap().host, host("h1"));
}

#[test]
fn a_restarted_container_goes_back_to_its_host() {
    let mut w = World::small();
    w.add_container("filler", spec(&[]));
    let held = w.running("db", "h1");
    w.running("filler", "h1");
    w.done(Order::RestartContainer(RestartContainer { container: container("db") }));
    let order = w.release_order(held, w.session("h1"));
    w.done(order);
    let grant = placement::next(&w.state, &BTreeSet::new()).unwrap();
    assert_eq!(grant.host, host("h1"), "though h2 is emptier");
}

#[test]
fn a_container_that_is_held_back_does_not_hold_up_another() {
    let mut w = World::small();
    w.add_container("web", spec(&[]));
    let held_back = BTreeSet::from([container("db")]);
    assert_eq!(placement::next(&w.state, &held_back).unwrap().container, container("web"));
}
