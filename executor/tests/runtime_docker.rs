//! The runtime `docker` against this machine's real engine: the conformance set, and what only Docker can get wrong. Skipped
//! with a printed reason where there is no engine. Every container is removed afterwards, also after a failure.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test: it bounds its own waiting")]

mod docker_support;
mod guard_support;
mod runtime_conformance;

use std::collections::HashMap;
use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use berth_executor::runtime::docker::DockerRuntime;
use berth_executor::runtime::spec::{MountSpec, PortSpec};
use berth_executor::runtime::{InstanceKey, InstanceState, Runtime, RuntimeError};
use bollard::models::{ContainerCreateBody, MountPoint, RestartPolicyNameEnum};
use bollard::query_parameters::{CreateContainerOptionsBuilder, InspectContainerOptions, RenameContainerOptionsBuilder};
use docker_support::{BOUND, ENTRY_IMAGE, IMAGE, Rig, engine, unique};
use runtime_conformance::{Bench, cases, run};

#[path = "docker_support/trouble.rs"]
mod trouble;

const FOR_EVER: &str = "echo ready; while :; do sleep 0.05; done";

#[tokio::test(flavor = "multi_thread")]
async fn the_conformance_set_holds() {
    let Some(rig) = Rig::new("the_conformance_set_holds").await else { return };
    drop(rig);
    let mut running = tokio::task::JoinSet::new();
    let mut failed = Vec::new();
    for (name, case) in cases() {
        // A bench each, so that cases may list while others run.
        let Some(rig) = Rig::new(name).await else { return };
        if running.len() >= 3 {
            failed.extend(running.join_next().await.and_then(Result::unwrap));
        }
        running.spawn(async move {
            let config = rig.config.clone();
            let (cluster, host) = (config.cluster.clone(), config.host.clone());
            let open = Box::new(move || {
                let runtime: Box<dyn Runtime> = Box::new(DockerRuntime::new(config.clone()));
                Box::pin(std::future::ready(runtime)) as futures::future::BoxFuture<'static, Box<dyn Runtime>>
            });
            let guards = guard_support::Guards::new();
            let bench = Bench { open, image: IMAGE.to_owned(), cluster, host, guards, mounts_at_target: true, read_only_enforced: true };
            let outcome = futures::FutureExt::catch_unwind(std::panic::AssertUnwindSafe(run(&bench, case))).await;
            println!("{name}: {}", if outcome.is_ok() { "ok" } else { "FAILED" });
            outcome.is_err().then_some(name)
        });
    }
    while let Some(outcome) = running.join_next().await {
        failed.extend(outcome.unwrap());
    }
    assert!(failed.is_empty(), "failed: {failed:?}");
}

#[tokio::test]
async fn this_engine_passes_the_probe() {
    let Some(rig) = Rig::new("this_engine_passes_the_probe").await else { return };
    rig.runtime.probe().await.unwrap();
    assert_eq!(rig.runtime.name(), "docker");
}

#[tokio::test]
async fn a_taken_port_is_a_failed_start_that_says_so_and_can_be_removed() {
    let Some(rig) = Rig::new("a_taken_port_is_a_failed_start_that_says_so_and_can_be_removed").await else { return };
    let taken = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let mut spec = rig.spec(FOR_EVER);
    let host_port = taken.local_addr().unwrap().port();
    spec.ports.push(PortSpec { host_address: String::new(), host_port, container_port: 80, protocol: "tcp".to_owned() });
    rig.runtime.create(&spec).await.unwrap();
    let error = rig.runtime.start(&spec.key).await.unwrap_err().to_string();
    assert!(error.contains(&host_port.to_string()), "{error}");

    let (code, reason) = rig.exited(&spec.key).await;
    assert!(code != 0 && reason.contains("did not start") && reason.contains(&host_port.to_string()), "{code}: {reason}");
    let listed = rig.runtime.list().await.unwrap();
    assert_eq!(listed[0].state, InstanceState::Exited { code, reason });
    // Free now, but an instance has one start only.
    drop(taken);
    rig.runtime.start(&spec.key).await.unwrap_err();
    rig.runtime.remove(&spec.key).await.unwrap();
    assert_eq!(rig.runtime.inspect(&spec.key).await.unwrap(), None);
}

#[tokio::test]
async fn a_published_port_reaches_the_instance() {
    let Some(rig) = Rig::new("a_published_port_reaches_the_instance").await else { return };
    let host_port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let mut spec = rig.spec("echo ready; exec nc -ll -p 7 -e echo hello");
    spec.ports.push(PortSpec { host_address: "127.0.0.1".to_owned(), host_port, container_port: 7, protocol: "tcp".to_owned() });
    rig.start_ready(&spec).await;
    let read = async {
        loop {
            let mut text = String::new();
            if let Ok(mut connection) = tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, host_port)).await {
                let _reset_while_it_comes_up = tokio::io::AsyncReadExt::read_to_string(&mut connection, &mut text).await;
            }
            if text == "hello\n" {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(BOUND, read).await.unwrap();
}

#[tokio::test]
async fn a_command_that_is_not_there_is_a_failed_start() {
    let Some(rig) = Rig::new("a_command_that_is_not_there_is_a_failed_start").await else { return };
    let mut spec = rig.spec("");
    spec.command = vec!["/no/such/program".to_owned()];
    rig.runtime.create(&spec).await.unwrap();
    let error = rig.runtime.start(&spec.key).await.unwrap_err().to_string();
    assert!(error.contains("/no/such/program"), "{error}");
    let (code, reason) = rig.exited(&spec.key).await;
    assert_eq!(code, 127);
    assert!(reason.contains("/no/such/program"), "{reason}");
    rig.runtime.remove(&spec.key).await.unwrap();
}

#[tokio::test]
async fn a_missing_image_is_named() {
    let Some(rig) = Rig::new("a_missing_image_is_named").await else { return };
    let mut spec = rig.spec(FOR_EVER);
    spec.image = "berth-test-nobody-has-this:7".to_owned();
    let error = rig.runtime.create(&spec).await.unwrap_err();
    assert!(matches!(&error, RuntimeError::ImageMissing { image } if *image == spec.image), "{error}");
    assert_eq!(error.to_string(), "image berth-test-nobody-has-this:7 is not on this host: load or pull it there");
}

#[tokio::test]
async fn a_missing_mount_source_is_refused_and_never_created() {
    let Some(rig) = Rig::new("a_missing_mount_source_is_refused_and_never_created").await else { return };
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("volume");
    let mut spec = rig.spec(FOR_EVER);
    spec.mounts.push(MountSpec { source: source.clone(), target: "/data".into(), read_only: false });
    let error = rig.runtime.create(&spec).await.unwrap_err();
    assert!(error.may_succeed_later() && error.to_string().contains(source.to_str().unwrap()), "{error}");
    assert_eq!(rig.runtime.inspect(&spec.key).await.unwrap(), None);
    assert!(!source.exists());

    // It was there at create, and is gone at start.
    std::fs::create_dir(&source).unwrap();
    rig.runtime.create(&spec).await.unwrap();
    std::fs::remove_dir(&source).unwrap();
    let error = rig.runtime.start(&spec.key).await.unwrap_err().to_string();
    assert!(error.contains(source.to_str().unwrap()), "{error}");
    assert!(!source.exists(), "dockerd made an empty folder in the volume's place");
    // dockerd refused before it tried: not a failed start, and the volume may come back.
    assert_eq!(rig.state(&spec.key).await, InstanceState::Created);
    std::fs::create_dir(&source).unwrap();
    rig.runtime.start(&spec.key).await.unwrap();
    assert_eq!(rig.state(&spec.key).await, InstanceState::Running);
}

#[tokio::test]
async fn running_out_of_memory_is_told_from_a_kill() {
    let Some(rig) = Rig::new("running_out_of_memory_is_told_from_a_kill").await else { return };
    // Engine 20.10 misses some of these events for good; the reason then points at the limit. It sees most.
    let mut seen = false;
    for _ in 0..6 {
        let mut spec = rig.spec("exec dd if=/dev/zero of=/dev/null bs=200M");
        spec.memory_bytes = Some(16 << 20);
        rig.runtime.create(&spec).await.unwrap();
        rig.runtime.start(&spec.key).await.unwrap();
        let (code, reason) = rig.exited(&spec.key).await;
        assert_eq!(code, 137);
        assert!(reason.contains("memory limit") && reason.contains("signal 9"), "{reason}");
        seen = reason.contains("out of memory");
        if seen {
            break;
        }
    }
    assert!(seen, "no out-of-memory event in six runs");

    let killed = rig.spec(FOR_EVER);
    rig.start_ready(&killed).await;
    rig.runtime.kill(&killed.key).await.unwrap();
    assert_eq!(rig.exited(&killed.key).await, (137, "killed by signal 9".to_owned()));
}

#[tokio::test]
async fn limits_labels_and_the_missing_restart_policy_are_what_the_engine_has() {
    let Some(rig) = Rig::new("limits_labels_and_the_missing_restart_policy_are_what_the_engine_has").await else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut spec = rig.spec(FOR_EVER);
    spec.cpu_millis = Some(500);
    spec.memory_bytes = Some(64 << 20);
    spec.mounts.push(MountSpec { source: folder.path().to_owned(), target: "/data".into(), read_only: true });
    rig.runtime.create(&spec).await.unwrap();

    let seen = engine().await.inspect_container(&spec.key.instance_name(), None::<InspectContainerOptions>).await.unwrap();
    let host = seen.host_config.unwrap();
    assert_eq!((host.nano_cpus, host.memory, host.memory_swap), (Some(500_000_000), Some(64 << 20), Some(64 << 20)));
    assert_eq!(host.restart_policy.unwrap().name, Some(RestartPolicyNameEnum::NO));
    let of_the_guard = |mount: &MountPoint| mount.destination.as_ref().is_some_and(|path| path.starts_with("/.berth/"));
    let mounts: Vec<_> = seen.mounts.unwrap().into_iter().filter(|mount| !of_the_guard(mount)).collect();
    assert_eq!(mounts.len(), 1, "no anonymous volume: {mounts:?}");
    assert_eq!((mounts[0].typ.as_deref(), mounts[0].rw), (Some("bind"), Some(false)));
    let expected = HashMap::from([
        ("berth.cluster".to_owned(), spec.cluster.clone()),
        ("berth.host".to_owned(), spec.host.clone()),
        ("berth.container".to_owned(), spec.key.container.clone()),
        ("berth.lease".to_owned(), spec.lease.to_string()),
        ("berth.token".to_owned(), spec.key.token.to_string()),
        ("berth.attempt".to_owned(), "1".to_owned()),
    ]);
    assert_eq!(seen.config.unwrap().labels.unwrap(), expected);
}

#[tokio::test]
async fn the_images_entry_point_stays_and_its_command_is_the_default() {
    let Some(rig) = Rig::new("the_images_entry_point_stays_and_its_command_is_the_default").await else { return };
    for (command, expected) in [(vec!["given".to_owned()], "entry given\n"), (vec![], "entry default\n")] {
        let mut spec = rig.spec("");
        spec.image = ENTRY_IMAGE.to_owned();
        spec.command = command;
        rig.runtime.create(&spec).await.unwrap();
        rig.runtime.start(&spec.key).await.unwrap();
        rig.exited(&spec.key).await;
        assert_eq!(rig.log(&spec.key).await, expected);
    }
}

/// A container of the rig's cluster made behind the runtime's back.
async fn foreign(name: &str, labels: &[(&str, &str)]) {
    let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let command = Some(["/bin/sleep", "1000"].map(str::to_owned).to_vec());
    let body = ContainerCreateBody { image: Some(IMAGE.to_owned()), cmd: command, labels: Some(labels), ..ContainerCreateBody::default() };
    let options = CreateContainerOptionsBuilder::default().name(name).build();
    engine().await.create_container(Some(options), body).await.unwrap();
}

#[tokio::test]
async fn containers_of_others_are_not_listed() {
    let Some(rig) = Rig::new("containers_of_others_are_not_listed").await else { return };
    let cluster = rig.config.cluster.as_str();
    let identity = [("berth.container", "rig"), ("berth.lease", "1"), ("berth.token", "2"), ("berth.attempt", "1")];
    let name = |what: &str| format!("berth-test-{what}-{}", unique());
    foreign(&name("other-host"), &[&[("berth.cluster", cluster), ("berth.host", "host-b")], identity.as_slice()].concat()).await;
    foreign(&name("damaged"), &[("berth.cluster", cluster), ("berth.host", "host-a"), ("berth.token", "not a number")]).await;
    let spec = rig.spec(FOR_EVER);
    rig.runtime.create(&spec).await.unwrap();
    let keys: Vec<InstanceKey> = rig.runtime.list().await.unwrap().into_iter().map(|seen| seen.key).collect();
    assert_eq!(keys, [spec.key]);
}

#[tokio::test]
async fn a_stranger_with_the_same_name_is_neither_adopted_nor_harmed() {
    let Some(rig) = Rig::new("a_stranger_with_the_same_name_is_neither_adopted_nor_harmed").await else { return };
    let spec = rig.spec(FOR_EVER);
    let name = spec.key.instance_name();
    // The same in everything but the host: the rig's guard removes it, the runtime must not touch it.
    let (lease, token) = (spec.lease.to_string(), spec.key.token.to_string());
    let owner = [("berth.cluster", rig.config.cluster.as_str()), ("berth.host", "host-b"), ("berth.container", "rig")];
    foreign(&name, &[owner.as_slice(), &[("berth.lease", &lease), ("berth.token", &token), ("berth.attempt", "1")]].concat()).await;
    let error = rig.runtime.create(&spec).await.unwrap_err();
    assert!(matches!(&error, RuntimeError::Refused { reason, .. } if reason.contains("docker rm")), "{error}");
    assert_eq!(rig.runtime.inspect(&spec.key).await.unwrap(), None);
    rig.runtime.start(&spec.key).await.unwrap_err();
    rig.runtime.kill(&spec.key).await.unwrap();
    rig.runtime.remove(&spec.key).await.unwrap();
    engine().await.inspect_container(&name, None::<InspectContainerOptions>).await.expect("the stranger is still there");
}

#[tokio::test]
async fn a_renamed_instance_is_still_found() {
    let Some(rig) = Rig::new("a_renamed_instance_is_still_found").await else { return };
    let spec = rig.spec(FOR_EVER);
    let handle = rig.start_ready(&spec).await;
    let new_name = RenameContainerOptionsBuilder::default().name(&format!("berth-test-renamed-{}", unique())).build();
    engine().await.rename_container(&spec.key.instance_name(), new_name).await.unwrap();
    assert_eq!(rig.state(&spec.key).await, InstanceState::Running);
    assert_eq!(rig.runtime.kill_handle(&spec.key).await.unwrap(), Some(handle));
    rig.runtime.kill(&spec.key).await.unwrap();
    rig.runtime.remove(&spec.key).await.unwrap();
    assert_eq!(rig.runtime.list().await.unwrap(), []);
}

#[tokio::test]
async fn what_the_specification_gets_wrong_is_said_in_the_engines_words() {
    let Some(rig) = Rig::new("what_the_specification_gets_wrong_is_said_in_the_engines_words").await else { return };
    let mut spec = rig.spec(FOR_EVER);
    spec.memory_bytes = Some(1);
    let error = rig.runtime.create(&spec).await.unwrap_err();
    assert!(!error.may_succeed_later() && error.to_string().contains("memory limit"), "{error}");
    let mut stranger = rig.spec(FOR_EVER);
    stranger.host = "host-b".to_owned();
    assert!(matches!(rig.runtime.create(&stranger).await, Err(RuntimeError::Refused { .. })));
}
