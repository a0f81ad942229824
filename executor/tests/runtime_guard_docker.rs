//! The guard in Docker containers, where images differ: with nothing in them, with a user, with a stop signal and a health check of their own. What holds for
//! every runtime is in `runtime_conformance`. Skipped with a printed reason where there is no engine.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test: it bounds its own waiting")]

mod docker_support;
mod guard_support;

use std::time::{Duration, Instant};

use berth_executor::runtime::{InstanceSpec, Runtime};
use berth_guard::page::Deadline;
use bollard::models::{ContainerConfig, HealthConfig};
use bollard::query_parameters::{CommitContainerOptionsBuilder, InspectContainerOptions};
use docker_support::{BOUND, Rig, bare_image, engine};
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::Mutex;

/// Nothing but one static program; no PATH, no shell at its usual place, no folder for anything.
const BARE: &str = "berth-test-bare:1";
/// The same for an ordinary user, with a folder, stop signal, health check and command of its own.
const SET_UP: &str = "berth-test-set-up:1";

fn busybox(mut spec: InstanceSpec, image: &str, script: &str) -> InstanceSpec {
    spec.image = image.to_owned();
    spec.command = ["/busybox", "sh", "-c", script].map(str::to_owned).to_vec();
    spec
}

/// Through a container, because an import cannot set everything.
async fn set_up_image(rig: &Rig) {
    static MADE: Mutex<()> = Mutex::const_new(());
    let _turn = MADE.lock().await;
    let docker = engine().await;
    if docker.inspect_image(SET_UP).await.is_ok() {
        return;
    }
    bare_image(BARE, &[]).await;
    let words = |words: &[&str]| Some(words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
    let script = "/busybox id -u; pwd; echo $0 $1; trap 'echo stopped; exit 6' USR1; echo ready; while :; do /busybox sleep 0.05; done";
    let second = Some(1_000_000_000);
    let config = ContainerConfig {
        user: Some("65534:65534".to_owned()),
        working_dir: Some("/work".to_owned()),
        stop_signal: Some("SIGUSR1".to_owned()),
        healthcheck: Some(HealthConfig { test: words(&["CMD", "/busybox", "true"]), interval: second, ..HealthConfig::default() }),
        entrypoint: words(&["/busybox", "sh", "-c", script]),
        cmd: words(&["of", "image"]),
        ..ContainerConfig::default()
    };
    let spec = busybox(rig.spec(""), BARE, "exit 0");
    rig.runtime.create(&spec).await.unwrap();
    let (repository, tag) = SET_UP.split_once(':').unwrap();
    let options = CommitContainerOptionsBuilder::default().container(&spec.key.instance_name()).repo(repository).tag(tag).build();
    docker.commit_container(options, config).await.unwrap();
    rig.runtime.remove(&spec.key).await.unwrap();
}

#[tokio::test]
async fn an_image_with_one_static_program_is_enough() {
    let Some(rig) = Rig::new("an_image_with_one_static_program_is_enough").await else { return };
    bare_image(BARE, &[]).await;
    let spec = busybox(
        rig.spec(""),
        BARE,
        "trap 'exit 9' TERM; (/busybox sleep 0 &); echo \"ready $$ $(/busybox tr '\\0' ' ' < /proc/1/cmdline)\"; while :; do /busybox sleep 0.05; done",
    );
    rig.start_ready(&spec).await;
    let said = rig.log(&spec.key).await;
    assert!(!said.starts_with("ready 1 ") && said.contains("/.berth/guard --page /.berth/page"), "{said}");
    rig.runtime.stop(&spec.key, BOUND).await.unwrap();
    assert_eq!(rig.exited(&spec.key).await.0, 9);
}

#[tokio::test]
async fn the_deadline_holds_in_an_image_with_nothing_in_it_and_for_an_ordinary_user() {
    let Some(rig) = Rig::new("the_deadline_holds_in_an_image_with_nothing_in_it_and_for_an_ordinary_user").await else { return };
    bare_image(BARE, &[]).await;
    set_up_image(&rig).await;
    for image in [BARE, SET_UP] {
        let mut spec = busybox(rig.spec(""), image, "echo ready; while :; do :; done");
        if image == SET_UP {
            spec.command = vec![];
        }
        rig.start_ready(&spec).await;
        let begun = Instant::now();
        rig.guards.page(&spec.key).store(Deadline::At(berth_guard::clock::now_ns()));
        let (code, reason) = rig.exited(&spec.key).await;
        println!("{image}: Docker says so after {} ms", begun.elapsed().as_millis());
        assert_eq!(code, 124, "{reason}");
        assert!(reason.contains("deadline"), "{reason}");
    }
}

#[tokio::test]
async fn user_folder_command_stop_signal_and_health_check_stay_the_images_own() {
    let Some(rig) = Rig::new("user_folder_command_stop_signal_and_health_check_stay_the_images_own").await else { return };
    set_up_image(&rig).await;
    let mut spec = rig.spec("");
    (spec.image, spec.command) = (SET_UP.to_owned(), vec![]);
    rig.start_ready(&spec).await;
    assert_eq!(rig.log(&spec.key).await, "65534\n/work\nof image\nready\n");
    let begun = Instant::now();
    loop {
        let seen = engine().await.inspect_container(&spec.key.instance_name(), None::<InspectContainerOptions>).await.unwrap();
        let health = seen.state.unwrap().health.and_then(|health| health.status).map(|status| status.to_string());
        if health.as_deref() == Some("healthy") {
            break;
        }
        assert!(begun.elapsed() < BOUND, "{health:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    rig.runtime.stop(&spec.key, BOUND).await.unwrap();
    assert_eq!(rig.exited(&spec.key).await.0, 6);
    assert!(rig.log(&spec.key).await.ends_with("stopped\n"));
}

/// A stopped process, which goes on whatever becomes of the test.
struct Stopped(Pid);

impl Stopped {
    /// The parent of a container's first process: its shim, which serves nobody else.
    fn shim_of(first: u32) -> Self {
        let stat = std::fs::read_to_string(format!("/proc/{first}/stat")).unwrap();
        let parent = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(1).unwrap().parse().unwrap();
        let name = std::fs::read_to_string(format!("/proc/{parent}/comm")).unwrap();
        assert!(name.starts_with("containerd-shim"), "{name}");
        let shim = Pid::from_raw(parent).unwrap();
        kill_process(shim, Signal::STOP).unwrap();
        Self(shim)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::CONT);
    }
}

/// The rest of the chain, containerd and dockerd, is stopped in the end-to-end tests, on engines of their own.
#[tokio::test]
async fn a_stopped_shim_does_not_hold_up_the_deadline() {
    let Some(rig) = Rig::new("a_stopped_shim_does_not_hold_up_the_deadline").await else { return };
    let spec = rig.spec("trap '' TERM; echo ready; while :; do echo more; done");
    let handle = rig.start_ready(&spec).await;
    let stopped = Stopped::shim_of(handle.pid);
    tokio::time::sleep(Duration::from_millis(200)).await;
    rig.guards.page(&spec.key).store(Deadline::Over);
    let begun = Instant::now();
    // Dead and not yet reaped by its stopped parent: all its threads and its whole pid namespace are gone.
    while !is_dead(handle.pid) {
        assert!(begun.elapsed() < BOUND, "it lives on");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    println!("dead {} ms after its right was taken back, its shim stopped", begun.elapsed().as_millis());
    drop(stopped);
    assert_eq!(rig.exited(&spec.key).await.0, 124);
}

fn is_dead(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with('Z'))
}

#[tokio::test]
async fn an_image_without_a_command_needs_one() {
    let Some(rig) = Rig::new("an_image_without_a_command_needs_one").await else { return };
    bare_image(BARE, &[]).await;
    let mut spec = rig.spec("");
    (spec.image, spec.command) = (BARE.to_owned(), vec![]);
    let error = rig.runtime.create(&spec).await.unwrap_err().to_string();
    assert!(error.contains("state it"), "{error}");
    assert_eq!(rig.runtime.inspect(&spec.key).await.unwrap(), None);
}
