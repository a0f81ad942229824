//! L5-L7: keepalives. Each answer is the apply result of its own entry.

use berth_state::command::*;
use berth_state::ids::*;
use berth_state::noun::cluster::Settings;
use berth_state::noun::host::*;
use berth_state::noun::lease::*;
use berth_state::outcome::*;
use berth_state::{Fact, Order};

use crate::world::*;

#[test]
fn the_first_claim_activates_and_renews_at_its_own_index() {
    let mut w = World::small();
    let held = w.grant("db", "h1");
    let session = w.session("h1");
    w.keepalive(session, &[held.1]);
    assert_eq!(w.phase(held.0), Some(Phase::Active));
    assert_eq!(w.renewed(held.1), Revision(w.index));
}

#[test]
fn a_renewal_is_no_event() {
    let mut w = World::small();
    let held = w.running("db", "h1");
    let (session, events) = (w.session("h1"), w.events.len());
    w.keepalive(session, &[held.1]);
    assert_eq!(w.events.len(), events);
    assert_eq!(w.renewed(held.1), Revision(w.index));
}

#[test]
fn a_reordered_older_keepalive_changes_nothing() {
    let mut w = World::small();
    let held = w.grant("db", "h1");
    let session = w.session("h1");
    w.keepalives(vec![raw_keepalive(session, 5, 50, &[held.1])]);
    let (renewed, pulse) = (w.renewed(held.1), *w.state.pulse(session).unwrap());
    for seq in [1, 4] {
        let verdicts = w.keepalives(vec![raw_keepalive(session, seq, 10 + seq, &[held.1])]);
        assert_eq!(verdicts, [SessionVerdict::Stale]);
    }
    assert_eq!((w.renewed(held.1), *w.state.pulse(session).unwrap()), (renewed, pulse));
    assert_eq!(w.phase(held.0), Some(Phase::Active), "it must not kill a live holder");
}

#[test]
fn the_same_number_and_nonce_again_is_stale_the_same_number_with_another_nonce_is_a_clone() {
    let mut w = World::small();
    let held = w.grant("db", "h1");
    let session = w.session("h1");
    w.keepalives(vec![raw_keepalive(session, 1, 11, &[held.1])]);
    assert_eq!(w.keepalives(vec![raw_keepalive(session, 1, 11, &[held.1])]), [SessionVerdict::Stale]);
    assert_eq!(w.keepalives(vec![raw_keepalive(session, 1, 12, &[held.1])]), [SessionVerdict::Gone]);
    assert_eq!(w.phase(held.0), Some(Phase::Closing), "neither of the two may go on");
    assert!(w.events.iter().any(|e| matches!(e.fact, Fact::SessionCloned { .. })), "an alarm");
}

#[test]
fn keepalives_of_one_batch_count_for_each_other() {
    let mut w = World::small();
    let held = w.grant("db", "h1");
    let session = w.session("h1");
    let verdicts = w.keepalives(vec![raw_keepalive(session, 2, 22, &[held.1]), raw_keepalive(session, 1, 21, &[held.1])]);
    assert!(matches!(verdict_of(&verdicts[0], held.1), Some(LeaseVerdict::Live { .. })));
    assert_eq!(verdicts[1], SessionVerdict::Stale);
    let activations = w.events.iter().filter(|e| matches!(e.fact, Fact::LeaseActivated { .. })).count();
    assert_eq!(activations, 1);
}

#[test]
fn an_unknown_session_or_another_incarnation_gets_gone() {
    let mut w = World::small();
    let held = w.running("db", "h1");
    assert_eq!(w.keepalives(vec![raw_keepalive(SessionId(999), 1, 1, &[held.1])]), [SessionVerdict::Gone]);
    let mut other_life = raw_keepalive(w.session("h1"), 9, 9, &[held.1]);
    other_life.incarnation = Incarnation(2);
    assert_eq!(w.keepalives(vec![other_life]), [SessionVerdict::Gone]);
}

#[test]
fn a_claim_on_anothers_lease_is_gone_and_does_not_renew_it() {
    let mut w = World::small();
    let held = w.running("db", "h1");
    let before = w.renewed(held.1);
    let other = w.session("h2");
    let answer = w.keepalive(other, &[held.1, Token(77_777)]);
    assert_eq!(verdict_of(&answer, held.1), Some(LeaseVerdict::Gone(GoneReason::NotYours)));
    assert_eq!(verdict_of(&answer, Token(77_777)), Some(LeaseVerdict::Gone(GoneReason::Ended)));
    assert_eq!(w.renewed(held.1), before);
}

#[test]
fn a_lease_that_is_not_claimed_is_not_renewed() {
    let mut w = World::small();
    let held = w.running("db", "h1");
    let before = w.renewed(held.1);
    let session = w.session("h1");
    w.keepalive(session, &[]);
    assert_eq!(w.renewed(held.1), before);
    assert_eq!(w.state.pulse(session).unwrap().renewed, Revision(w.index), "the session itself was heard of");
}

#[test]
fn an_expired_lease_is_not_revived_by_a_keepalive() {
    let mut w = World::small();
    let held = w.running("db", "h1");
    w.expire(held);
    let session = w.session("h1");
    let answer = w.keepalive(session, &[held.1]);
    assert_eq!(verdict_of(&answer, held.1), Some(LeaseVerdict::Gone(GoneReason::Expired)));
    assert_eq!(w.phase(held.0), Some(Phase::Expired));
}

#[test]
fn a_changed_ttl_takes_effect_with_the_next_renewal_for_both_sides() {
    let mut w = World::small();
    let held = w.running("db", "h1");
    w.done(Order::ChangeSettings(ChangeSettings { settings: Settings { ttl_ms: 3_000, ..Settings::default() } }));
    assert_eq!(w.state.renewal(held.1).unwrap().ttl_ms, 10_000, "never for one already applied");
    let session = w.session("h1");
    let answer = w.keepalive(session, &[held.1]);
    assert_eq!(verdict_of(&answer, held.1), Some(LeaseVerdict::Live { ttl_ms: 3_000 }));
    assert_eq!(w.state.renewal(held.1).unwrap().ttl_ms, 3_000);
}

#[test]
fn a_suspect_host_is_live_again_with_its_next_keepalive() {
    let mut w = World::small();
    let session = w.session("h1");
    let renewed = w.state.pulse(session).unwrap().renewed;
    w.done(Order::SetHealth(SetHealth { session, renewed, health: Health::Suspect }));
    w.keepalive(session, &[]);
    assert_eq!(w.state.host(&host("h1")).unwrap().health, Health::Live);
    let late = Order::SetHealth(SetHealth { session, renewed, health: Health::Down });
    assert!(matches!(w.refused(late), berth_state::Rejection::RenewedSince { .. }));
}
