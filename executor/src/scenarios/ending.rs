//! Revoke, release, restart policies, health.

use berth_state::Order;
use berth_state::command::AddContainer;
use berth_state::ids::ContainerId;
use berth_state::noun::container::{ContainerSpec, Desired, HealthCheck, RestartPolicy};
use berth_state::noun::lease::{InstanceState, Phase};

use crate::testing::control::Mode;
use crate::testing::lease;
use crate::testing::rig::{HOLD, Rig, eventually, never};

fn add(rig: &Rig, name: &str, change: impl FnOnce(&mut ContainerSpec)) {
    let mut spec = lease(1).spec;
    change(&mut spec);
    let container = ContainerId::new(name).unwrap();
    rig.control.must(Order::AddContainer(AddContainer { container, spec, desired: Desired::Running }));
}

#[tokio::test]
async fn revoke_means_soft_stop_then_unmount_then_release() {
    let rig = Rig::new();
    rig.container_with_volume("db", "v1");
    let executor = rig.started().await;
    let token = rig.run("db").await;
    rig.control.revoke(token);
    rig.ended(token).await;
    let log = rig.machine.log();
    assert_eq!(log[log.len() - 2..], [format!("stop db-{token}-1"), "unmount v1".to_owned()]);
    assert_eq!(rig.control.releases().len(), 1);
    eventually("its instance is removed", || !rig.machine.exists(&format!("db-{token}-1"))).await;
    executor.stop().await.unwrap();
}

#[tokio::test]
async fn a_lease_that_is_being_stopped_is_still_renewed() {
    let rig = Rig::with_ttl(1_000);
    rig.container("db");
    let executor = rig.started().await;
    let token = rig.run("db").await;
    rig.machine.immortal("db", true);
    rig.control.revoke(token);
    eventually("asked to stop", || rig.machine.count(&format!("stop db-{token}-1")) > 0).await;
    let before = rig.control.keepalives().len();
    eventually("renewed", || rig.control.keepalives()[before..].iter().filter(|k| k.tokens.contains(&token)).count() > 1).await;
    rig.machine.immortal("db", false);
    rig.ended(token).await;
    executor.stop().await.unwrap();
}

#[tokio::test]
async fn a_lease_revoked_before_it_began_is_released_at_once() {
    let rig = Rig::new();
    rig.container("db");
    let executor = rig.started().await;
    rig.control.set(Mode::Silent);
    let token = rig.control.grant("db");
    rig.control.revoke(token);
    rig.control.set(Mode::Answer);
    rig.ended(token).await;
    assert_eq!(rig.machine.log(), Vec::<String>::new());
    executor.stop().await.unwrap();
}

#[tokio::test]
async fn nothing_is_released_before_it_is_dead() {
    let rig = Rig::new();
    rig.container("db");
    let executor = rig.started().await;
    let token = rig.run("db").await;
    rig.machine.immortal("db", true);
    rig.control.revoke(token);
    eventually("asked to stop", || rig.machine.count(&format!("stop db-{token}-1")) > 0).await;
    never("released alive", || !rig.control.releases().is_empty()).await;
    rig.machine.immortal("db", false);
    rig.ended(token).await;
    executor.stop().await.unwrap();
}

#[tokio::test]
async fn a_dead_instance_is_started_again_under_the_same_lease() {
    let rig = Rig::new();
    rig.container("db");
    let executor = rig.started().await;
    let token = rig.run("db").await;
    rig.machine.exit(&format!("db-{token}-1"), 1);
    eventually("backs off", || {
        executor.handle.statuses().values().any(|s| s.state == InstanceState::BackOff && s.last_exit.as_ref().is_some_and(|e| e.code == 1))
    })
    .await;
    rig.clock.advance_ms(100);
    rig.runs("db", token, 2).await;
    assert_eq!(rig.control.lease(token).unwrap().phase, Phase::Active);
    executor.stop().await.unwrap();
}

#[tokio::test]
async fn an_instance_that_ended_for_good_is_released_as_finished() {
    let rig = Rig::new();
    add(&rig, "job", |spec| spec.restart = RestartPolicy::OnFailure { max_attempts: 0 });
    let executor = rig.started().await;
    let token = rig.run("job").await;
    rig.machine.exit(&format!("job-{token}-1"), 0);
    rig.ended(token).await;
    let release = rig.control.releases().pop().unwrap();
    assert!(release.finished);
    assert_eq!(release.exit.unwrap().code, 0);
    executor.stop().await.unwrap();
}

#[tokio::test]
async fn a_job_that_the_deadline_killed_is_not_finished() {
    let rig = Rig::new();
    add(&rig, "job", |spec| spec.restart = RestartPolicy::Never);
    let executor = rig.started().await;
    let token = rig.run("job").await;
    rig.control.set(Mode::Silent);
    rig.clock.advance_ms(HOLD);
    eventually("killed", || rig.machine.running().is_empty()).await;
    rig.control.set(Mode::Answer);
    rig.ended(token).await;
    assert!(!rig.control.releases().pop().unwrap().finished);
    executor.stop().await.unwrap();
}

#[tokio::test]
async fn a_start_that_keeps_failing_gives_the_lease_to_another_host() {
    let rig = Rig::new();
    rig.container("db");
    rig.machine.fail_create("db");
    let executor = rig.started().await;
    let token = rig.control.grant("db");
    for (attempt, back_off_ms) in [(1, 100), (2, 1_000), (3, 2_000), (4, 0)] {
        eventually("tried", || rig.machine.count(&format!("create db-{token}-{attempt}")) == 1).await;
        eventually("noticed", || executor.handle.statuses().values().any(|s| s.attempt == attempt && s.state == InstanceState::BackOff))
            .await;
        rig.clock.advance_ms(back_off_ms);
    }
    rig.ended(token).await;
    let release = rig.control.releases().pop().unwrap();
    assert!(!release.finished);
    let exit = release.exit.unwrap();
    assert_eq!(exit.code, -1);
    assert!(exit.reason.contains("image nothing"), "{exit:?}");
    executor.stop().await.unwrap();
}

#[tokio::test]
async fn an_unhealthy_instance_is_stopped_and_started_again() {
    let rig = Rig::new();
    add(&rig, "db", |spec| {
        let command = vec!["check".to_owned()];
        spec.health_check = Some(HealthCheck { command, interval_ms: 100, timeout_ms: 100, retries: 2, start_period_ms: 0 });
    });
    let executor = rig.started().await;
    let token = rig.run("db").await;
    rig.machine.exec_gives(1);
    eventually("stopped", || rig.machine.count(&format!("stop db-{token}-1")) == 1).await;
    rig.machine.exec_gives(0);
    rig.clock.advance_ms(100);
    rig.runs("db", token, 2).await;
    executor.stop().await.unwrap();
}
