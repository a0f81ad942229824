//! L12, L15: which evidence ends which lease.

use berth_state::command::*;
use berth_state::ids::*;
use berth_state::noun::fence::FenceMethod;
use berth_state::noun::host::HostSpec;
use berth_state::noun::lease::*;
use berth_state::noun::volume::*;
use berth_state::unfit::Unfit;
use berth_state::{Order, Rejection};

use crate::world::*;

fn operator(reason: &str) -> Evidence {
    Evidence::OperatorConfirmed { name: "ann@desk".to_owned(), reason: reason.to_owned() }
}

#[test]
fn ran_out_needs_the_expire_entry_itself() {
    let mut w = World::small();
    let held = w.running("db", "h1");
    let early = w.fence_order(held, Evidence::RanOut { expired_at: Revision(w.index) });
    assert!(matches!(w.refused(early), Rejection::EvidenceRefused { .. }));
    w.expire(held);
    let other = w.fence_order(held, Evidence::RanOut { expired_at: Revision(w.index - 1) });
    assert!(matches!(w.refused(other), Rejection::EvidenceRefused { .. }));
    let order = w.ran_out(held);
    w.done(order);
    assert_eq!(w.phase(held.0), None);
    let next = w.grant("db", "h2");
    assert_eq!(w.state.lease(next.0).unwrap().cause, GrantCause::Failover { from: held.1 });
}

#[test]
fn a_manual_volume_needs_an_operators_name_and_reason() {
    let mut w = World::small();
    let manual = VolumeSpec { takeover: Takeover::Manual, coherent: false, ..path_volume("/data/pg") };
    w.done(Order::UpdateVolume(UpdateVolume { volume: volume("pg"), version: Version(1), spec: manual }));
    let held = w.running("db", "h1");
    w.expire(held);
    let order = w.ran_out(held);
    assert!(matches!(w.refused(order), Rejection::EvidenceRefused { .. }));
    let order = w.fence_order(held, operator(" "));
    assert!(matches!(w.refused(order), Rejection::EvidenceRefused { .. }));
    let order = w.fence_order(held, operator("machine room burnt down"));
    w.done(order);
    assert_eq!(w.phase(held.0), None);
    let fence = w.state.fences().next().unwrap();
    assert!(matches!(&fence.done, Some(done) if done.evidence == operator("machine room burnt down")));
}

#[test]
fn an_operators_word_ends_a_lease_in_any_phase_so_nothing_is_stuck() {
    for expired in [false, true] {
        let mut w = World::small();
        let held = w.running("db", "h1");
        if expired {
            w.expire(held);
        }
        let order = w.fence_order(held, operator("power cord in my hand"));
        w.done(order);
        w.grant("db", "h2");
    }
}

#[test]
fn an_acknowledgement_counts_only_after_its_fence_was_started_and_a_try_of_it_has_succeeded() {
    let mut w = World::small();
    let held = w.running("db", "h1");
    let order = w.fence_order(held, Evidence::PoweredOff);
    assert!(matches!(w.refused(order), Rejection::EvidenceRefused { .. }));
    w.start_fence(held, FenceMethod::PowerOff);
    assert_eq!(w.phase(held.0), Some(Phase::Closing), "no renewal any more");
    let order = w.fence_order(held, Evidence::PoweredOff);
    assert!(matches!(w.refused(order.clone()), Rejection::EvidenceRefused { .. }), "not tried yet");
    w.try_fence("h1", FenceMethod::PowerOff, &[held.1], false);
    assert!(matches!(w.refused(order.clone()), Rejection::EvidenceRefused { .. }), "a failure is no evidence");
    w.try_fence("h1", FenceMethod::PowerOff, &[held.1], true);
    let wrong = w.fence_order(held, Evidence::StorageCut);
    assert!(matches!(w.refused(wrong), Rejection::EvidenceRefused { .. }));
    w.done(order);
    assert_eq!(w.phase(held.0), None);
}

#[test]
fn a_fence_of_an_expired_lease_does_not_take_it_back_to_closing() {
    let mut w = World::small();
    let held = w.running("db", "h1");
    w.expire(held);
    w.done(Order::StartFence(StartFence { lease: held.0, token: held.1, method: FenceMethod::PowerOff, heard: None }));
    assert_eq!(w.phase(held.0), Some(Phase::Expired));
    let order = w.ran_out(held);
    w.done(order);
}

#[test]
fn a_storage_that_cannot_cut_takes_no_after_expiry_rule_unless_its_owner_states_coherent() {
    let mut w = World::small();
    let unstated = VolumeSpec { coherent: false, ..path_volume("/data/x") };
    let order = Order::AddVolume(AddVolume { volume: volume("x"), spec: unstated });
    assert!(matches!(w.refused(order), Rejection::TakeoverUnsupported { takeover: Takeover::AfterExpiry, .. }));
}

#[test]
fn a_storage_that_cannot_fence_is_after_fence_only_where_the_host_has_an_agent() {
    let mut w = World::small();
    let rule = VolumeSpec { takeover: Takeover::AfterFence, ..path_volume("/data/x") };
    w.done(Order::AddVolume(AddVolume { volume: volume("x"), spec: rule }));
    w.add_container("x", spec(&["x"]));
    w.done(Order::UpdateHost(UpdateHost { host: host("h1"), version: Version(1), spec: HostSpec::default() }));
    let order = w.grant_order("x", "h1");
    assert!(matches!(w.refused(order), Rejection::DoesNotFit { why: Unfit::NoFence { .. }, .. }));
    let held = w.running("x", "h2");
    let order = Order::StartFence(StartFence { lease: held.0, token: held.1, method: FenceMethod::StorageCut, heard: None });
    assert!(matches!(w.refused(order), Rejection::EvidenceRefused { .. }));
}

#[test]
fn a_fenced_lease_stays_ended() {
    let mut w = World::small();
    let held = w.running("db", "h1");
    w.expire(held);
    let order = w.ran_out(held);
    w.done(order.clone());
    assert!(matches!(w.refused(order), Rejection::LeaseNotFound { .. }));
    let session = w.session("h1");
    let order = w.release_order(held, session);
    w.done(order);
    assert_eq!(w.state.fences().count(), 1);
}
