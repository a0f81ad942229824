//! First Live, keepalives, deadlines, Gone.

use berth_state::noun::lease::Phase;

use crate::testing::control::Mode;
use crate::testing::rig::{HOLD, Rig, eventually, never};

#[tokio::test]
async fn nothing_is_attached_or_started_before_the_first_live() {
    let rig = Rig::new();
    rig.container_with_volume("db", "v1");
    let executor = rig.started().await;
    rig.control.set(Mode::Hold);
    let token = rig.control.grant("db");
    // The control plane has activated it; the answer is still on its way.
    eventually("activated", || rig.control.lease(token).unwrap().phase == Phase::Active).await;
    never("attached before Live", || !rig.machine.log().is_empty()).await;
    rig.control.set(Mode::Answer);
    rig.runs("db", token, 1).await;
    let log = rig.machine.log();
    assert_eq!(log, ["attach v1", "mount v1", &format!("create db-{token}-1"), &format!("start db-{token}-1")]);
    executor.stop().await.unwrap();
}

#[tokio::test]
async fn the_fence_file_carries_the_token_before_the_start() {
    let rig = Rig::new();
    rig.container_with_volume("db", "v1");
    let executor = rig.started().await;
    rig.machine.hang_start("db", true);
    let token = rig.control.grant("db");
    eventually("created", || rig.machine.exists(&format!("db-{token}-1"))).await;
    let fence = std::fs::read_to_string(rig.data.path().join("v1/.berth/fence")).unwrap();
    assert!(fence.contains(&format!("\"token\":{token}")), "{fence}");
    rig.machine.hang_start("db", false);
    executor.stop().await.unwrap();
}

#[tokio::test]
async fn a_newer_token_on_the_volume_is_never_overruled() {
    let rig = Rig::new();
    rig.container_with_volume("db", "v1");
    std::fs::create_dir(rig.data.path().join("v1/.berth")).unwrap();
    std::fs::write(rig.data.path().join("v1/.berth/fence"), r#"{"token":9000,"holder":"h9/db","since":1}"#).unwrap();
    let executor = rig.started().await;
    let token = rig.control.grant("db");
    eventually("reported", || {
        rig.control.state(|s| s.lease_by_token(token).and_then(|l| l.instance.clone()).is_some_and(|i| i.message.contains("9000")))
    })
    .await;
    assert_eq!(rig.machine.running(), Vec::<String>::new());
    executor.stop().await.unwrap();
}

#[tokio::test]
async fn a_silent_control_plane_means_death_at_the_deadline_and_not_before() {
    let rig = Rig::new();
    rig.container("db");
    let executor = rig.started().await;
    let token = rig.run("db").await;
    rig.control.set(Mode::Silent);
    rig.clock.advance_ms(HOLD - 1);
    never("killed before the deadline", || rig.machine.running().is_empty()).await;
    rig.clock.advance_ms(1);
    eventually("killed", || rig.machine.running().is_empty()).await;
    // Back again: it is released, not started again under the same token.
    rig.control.set(Mode::Answer);
    rig.ended(token).await;
    assert_eq!(rig.machine.count(&format!("create db-{token}-2")), 0);
    executor.stop().await.unwrap();
}

#[tokio::test]
async fn a_deadline_counts_from_the_sending_however_late_the_answer_comes() {
    let rig = Rig::new();
    rig.container("db");
    let executor = rig.started().await;
    rig.control.set(Mode::Hold);
    let token = rig.control.grant("db");
    eventually("activated", || rig.control.lease(token).unwrap().phase == Phase::Active).await;
    // The answer takes longer than the right lasts: it gives none.
    rig.clock.advance_ms(HOLD);
    rig.control.set(Mode::Silent);
    never("started on an answer that came too late", || !rig.machine.running().is_empty()).await;
    executor.stop().await.unwrap();
}

#[tokio::test]
async fn a_lost_answer_renews_nothing_and_the_next_one_does() {
    let rig = Rig::new();
    rig.container("db");
    let executor = rig.started().await;
    rig.control.set(Mode::LoseAnswer);
    let token = rig.control.grant("db");
    eventually("activated", || rig.control.lease(token).unwrap().phase == Phase::Active).await;
    never("started without an answer", || !rig.machine.log().is_empty()).await;
    rig.control.set(Mode::Answer);
    rig.runs("db", token, 1).await;
    executor.stop().await.unwrap();
}

#[tokio::test]
async fn every_transmission_has_a_number_of_its_own() {
    let rig = Rig::with_ttl(1_000);
    rig.container("db");
    let executor = rig.started().await;
    rig.control.set(Mode::LoseAnswer);
    eventually("several", || rig.control.keepalives().len() > 5).await;
    let sent: Vec<_> = rig.control.keepalives().iter().map(|k| (k.session, k.seq)).collect();
    let mut unique = sent.clone();
    unique.dedup();
    assert_eq!(sent, unique);
    assert!(sent.is_sorted());
    executor.stop().await.unwrap();
}

#[tokio::test]
async fn a_closed_lease_is_killed_and_released() {
    let rig = Rig::new();
    rig.container_with_volume("db", "v1");
    let executor = rig.started().await;
    let token = rig.run("db").await;
    rig.machine.immortal("db", true);
    rig.control.revoke(token);
    eventually("asked to stop", || rig.machine.count(&format!("stop db-{token}-1")) > 0).await;
    rig.control.close(token);
    rig.in_time("killed", || rig.machine.count(&format!("kill db-{token}-1")) > 0).await;
    assert!(rig.control.releases().is_empty(), "released while it lived");
    rig.machine.immortal("db", false);
    rig.ended(token).await;
    let log = rig.machine.log();
    assert_eq!(log.last().unwrap(), "unmount v1");
    executor.stop().await.unwrap();
}

#[tokio::test]
async fn a_session_that_is_gone_stops_everything_and_a_new_one_follows() {
    let rig = Rig::with_ttl(1_500);
    rig.container("db");
    let executor = rig.started().await;
    let first = executor.handle.session().unwrap().session;
    let token = rig.run("db").await;
    // The control plane has not heard of the host for long; the holder's clock stands still.
    rig.control.set(Mode::Silent);
    rig.control.expire(token);
    rig.control.expire_session(first);
    rig.control.set(Mode::Answer);
    rig.nothing_runs().await;
    rig.ended(token).await;
    eventually("another session", || executor.handle.session().is_some_and(|s| s.session != first)).await;
    assert_eq!(rig.control.opened().last().unwrap().order.predecessor, Some(first));
    executor.stop().await.unwrap();
}
