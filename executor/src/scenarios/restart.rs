//! The executor restarted, upgraded, crashed; the host rebooted (L9, I12).

use berth_state::ids::BootId;
use berth_state::noun::lease::Phase;

use crate::error::ExecutorError;
use crate::ledger::LedgerError;
use crate::testing::control::Mode;
use crate::testing::rig::{HOLD, Rig, eventually, never};

#[tokio::test]
async fn a_restart_within_the_ttl_touches_nothing_and_goes_on() {
    let rig = Rig::new();
    rig.container_with_volume("db", "v1");
    let executor = rig.started().await;
    let session = executor.handle.session().unwrap().session;
    let token = rig.run("db").await;
    let log = rig.machine.log();
    executor.stop().await.unwrap();
    rig.clock.advance_ms(HOLD / 2);
    let executor = rig.started().await;
    eventually("renewed", || rig.control.keepalives().last().is_some_and(|k| k.session != session && k.tokens.contains(&token))).await;
    never("touched", || rig.machine.log() != log).await;
    let lease = rig.control.lease(token).unwrap();
    assert_eq!((lease.phase, lease.session), (Phase::Active, executor.handle.session().unwrap().session));
    // And it is enforced: by the handle from the ledger, and the renewed deadline.
    rig.control.set(Mode::Silent);
    rig.clock.advance_ms(HOLD);
    rig.nothing_runs().await;
    executor.stop().await.unwrap();
}

#[tokio::test]
async fn a_restart_goes_on_with_the_old_deadline_when_nobody_answers() {
    let rig = Rig::new();
    rig.container("db");
    let executor = rig.started().await;
    let token = rig.run("db").await;
    rig.control.set(Mode::Silent);
    executor.stop().await.unwrap();
    rig.clock.advance_ms(HOLD - 100);
    let executor = rig.start().await;
    never("killed before the deadline", || rig.machine.running().is_empty()).await;
    rig.clock.advance_ms(100);
    eventually("killed", || rig.machine.running().is_empty()).await;
    assert!(rig.control.lease(token).is_some(), "nobody could release it");
    executor.stop().await.unwrap();
}

#[tokio::test]
async fn a_restart_after_the_deadline_kills_first_and_releases() {
    let rig = Rig::new();
    rig.container_with_volume("db", "v1");
    let executor = rig.started().await;
    let token = rig.run("db").await;
    executor.stop().await.unwrap();
    rig.clock.advance_ms(HOLD);
    assert_eq!(rig.machine.running().len(), 1, "nobody enforces while the executor is down");
    let executor = rig.start().await;
    rig.nothing_runs().await;
    rig.ended(token).await;
    assert_eq!(rig.machine.count("unmount v1"), 1);
    executor.stop().await.unwrap();
}

#[tokio::test]
async fn another_boot_takes_nothing_over() {
    let mut rig = Rig::new();
    rig.container("db");
    let executor = rig.started().await;
    let session = executor.handle.session().unwrap().session;
    let token = rig.run("db").await;
    executor.stop().await.unwrap();
    // The runtime brings instances up again, as a badly configured machine might.
    rig.boot = BootId([2; 16]);
    let executor = rig.start().await;
    // The session of the former boot stands in the way, until it is silent long enough.
    eventually("tried", || rig.control.opened().len() > 1).await;
    assert!(executor.handle.session().is_none());
    rig.control.expire(token);
    rig.control.expire_session(session);
    rig.nothing_runs().await;
    rig.ended(token).await;
    executor.stop().await.unwrap();
}

#[tokio::test]
async fn an_instance_without_a_record_is_removed_before_anything_starts() {
    let rig = Rig::new();
    rig.container("db");
    rig.machine.plant("old", 3, 1);
    rig.machine.immortal("old", true);
    let executor = rig.started().await;
    let token = rig.control.grant("db");
    eventually("activated", || rig.control.lease(token).unwrap().phase == Phase::Active).await;
    never("started beside a leftover", || rig.machine.exists(&format!("db-{token}-1"))).await;
    rig.machine.immortal("old", false);
    rig.runs("db", token, 1).await;
    assert!(!rig.machine.exists("old-3-1"));
    executor.stop().await.unwrap();
}

#[tokio::test]
async fn after_a_restart_nothing_new_starts_before_a_live_of_this_process() {
    let rig = Rig::new();
    rig.container("db");
    let executor = rig.started().await;
    let token = rig.run("db").await;
    executor.stop().await.unwrap();
    rig.machine.exit(&format!("db-{token}-1"), 1);
    rig.control.set(Mode::Hold);
    let executor = rig.started().await;
    rig.clock.advance_ms(1_000);
    never("started on an old right", || rig.machine.exists(&format!("db-{token}-2"))).await;
    rig.control.set(Mode::Answer);
    rig.runs("db", token, 2).await;
    executor.stop().await.unwrap();
}

#[tokio::test]
async fn a_second_executor_on_the_same_ledger_is_refused() {
    let rig = Rig::new();
    let executor = rig.started().await;
    let error = rig.make().err().unwrap();
    assert!(matches!(error, ExecutorError::Ledger(LedgerError::InUse { .. })), "{error}");
    executor.stop().await.unwrap();
}

#[tokio::test]
async fn a_revoked_lease_is_stopped_softly_also_right_after_a_restart() {
    let rig = Rig::new();
    rig.container("db");
    let executor = rig.started().await;
    let token = rig.run("db").await;
    executor.stop().await.unwrap();
    rig.control.revoke(token);
    let executor = rig.start().await;
    rig.ended(token).await;
    assert_eq!(rig.machine.count(&format!("stop db-{token}-1")), 1);
    assert_eq!(rig.machine.count(&format!("kill db-{token}-1")), 0);
    executor.stop().await.unwrap();
}

#[tokio::test]
async fn a_release_whose_answer_is_lost_is_repeated_as_the_same_request() {
    let rig = Rig::new();
    rig.container("db");
    let executor = rig.started().await;
    let token = rig.run("db").await;
    rig.control.lose_releases(2);
    rig.control.revoke(token);
    rig.in_time("answered", || rig.control.releases().len() == 3).await;
    let ids: Vec<_> = rig.control.releases().iter().map(|r| r.request).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    executor.stop().await.unwrap();
}

#[tokio::test]
async fn a_release_that_was_not_answered_is_taken_up_by_the_next_process() {
    let rig = Rig::new();
    rig.container("db");
    let executor = rig.started().await;
    let token = rig.run("db").await;
    rig.control.lose_releases(1);
    rig.control.revoke(token);
    eventually("sent", || rig.control.releases().len() == 1).await;
    executor.stop().await.unwrap();
    let executor = rig.start().await;
    rig.in_time("sent again", || rig.control.releases().len() == 2).await;
    executor.stop().await.unwrap();
    let executor = rig.started().await;
    never("sent once more", || rig.control.releases().len() > 2).await;
    executor.stop().await.unwrap();
}
