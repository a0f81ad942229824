//! What the host guard kills in Docker without asking Docker, and containers that are refused for their settings, on a real engine. Skipped with a printed reason
//! where there is none.
#![allow(clippy::unwrap_used, reason = "test")]

mod docker_support;
mod guard_support;

use berth_executor::hostguard::KillTarget;
use berth_executor::runtime::{KillAhead, Runtime, RuntimeError};
use bollard::models::{ContainerUpdateBody, RestartPolicy, RestartPolicyNameEnum};
use docker_support::{Rig, engine};

#[tokio::test]
async fn a_container_is_killed_by_what_was_known_before_its_start() {
    let Some(rig) = Rig::new("a_container_is_killed_by_what_was_known_before_its_start").await else { return };
    let spec = rig.spec("echo ready; sleep 1000");
    rig.runtime.create(&spec).await.unwrap();
    let ahead = rig.runtime.kill_ahead(&spec.key).await.unwrap();
    let [KillAhead::GroupNamed(id)] = &ahead[..] else { panic!("{ahead:?}") };
    assert_eq!(id.len(), 64);
    let target = KillTarget::from(ahead[0].clone());
    assert!(target.is_gone().unwrap(), "it does not run yet");
    rig.runtime.start(&spec.key).await.unwrap();
    rig.until_ready(&spec.key).await;
    if target.is_gone().unwrap() {
        return println!("skipped: this engine's containers have no control group v2");
    }
    target.kill().unwrap();
    assert_eq!(rig.exited(&spec.key).await.0, 137);
    assert!(target.is_gone().unwrap());
}

#[tokio::test]
async fn a_container_that_somebody_gave_a_restart_policy_is_not_started() {
    let Some(rig) = Rig::new("a_container_that_somebody_gave_a_restart_policy_is_not_started").await else { return };
    let spec = rig.spec("sleep 1000");
    rig.runtime.create(&spec).await.unwrap();
    let policy = RestartPolicy { name: Some(RestartPolicyNameEnum::ALWAYS), maximum_retry_count: None };
    let update = ContainerUpdateBody { restart_policy: Some(policy), ..ContainerUpdateBody::default() };
    engine().await.update_container(&spec.key.instance_name(), update).await.unwrap();
    let refused = rig.runtime.start(&spec.key).await;
    assert!(matches!(&refused, Err(RuntimeError::Refused { reason, .. }) if reason.contains("--restart=no")), "{refused:?}");
}
