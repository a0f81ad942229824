//! The runtime `docker` when the engine is away, hangs or restarts, and when people meddle. A module of `runtime_docker.rs`.

use std::time::{Duration, Instant};

use berth_executor::runtime::docker::{DockerConfig, DockerRuntime};
use berth_executor::runtime::kill::{is_gone, kill_now};
use berth_executor::runtime::{InstanceState, LogOptions, Runtime, RuntimeError};

use super::FOR_EVER;
use super::docker_support::proxy::{Mode, Proxy};
use super::docker_support::{BOUND, Rig, engine};

fn through(rig: &Rig, proxy: &Proxy) -> DockerRuntime {
    DockerRuntime::new(DockerConfig { socket: proxy.socket(), ..rig.config.clone() })
}

#[tokio::test]
async fn without_an_engine_every_call_fails_at_once_and_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let config = DockerConfig { socket: folder.path().join("docker.sock"), cluster: "c".to_owned(), host: "h".to_owned() };
    let runtime = DockerRuntime::new(config);
    let key = berth_executor::runtime::InstanceKey { container: "pg".to_owned(), token: 1, attempt: 1 };
    let started = Instant::now();
    let errors = [
        runtime.probe().await.unwrap_err(),
        runtime.list().await.unwrap_err(),
        runtime.inspect(&key).await.unwrap_err(),
        runtime.start(&key).await.unwrap_err(),
        runtime.kill_handle(&key).await.unwrap_err(),
        runtime.stop(&key, Duration::ZERO).await.unwrap_err(),
        runtime.kill(&key).await.unwrap_err(),
        runtime.remove(&key).await.unwrap_err(),
        runtime.exec(&key, &["true".to_owned()], BOUND).await.unwrap_err(),
        runtime.logs(&key, LogOptions { follow: false, tail_lines: None }).await.err().unwrap(),
    ];
    for error in errors {
        assert!(matches!(error, RuntimeError::Unavailable { runtime: "docker", .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("docker.sock") && text.contains("start it"), "{text}");
    }
    assert!(started.elapsed() < Duration::from_secs(2));
    // A hint that cannot come is not waited for beyond its bound, nor does it spin.
    let started = Instant::now();
    runtime.changed(Duration::from_millis(300)).await;
    assert!((300..2000).contains(&started.elapsed().as_millis()), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_known_instance_is_killed_while_the_engine_hangs() {
    let Some(rig) = Rig::new("a_known_instance_is_killed_while_the_engine_hangs").await else { return };
    let proxy = Proxy::new(super::docker_support::socket());
    let runtime = through(&rig, &proxy);
    let spec = rig.spec(FOR_EVER);
    runtime.create(&spec).await.unwrap();
    let handle = runtime.start(&spec.key).await.unwrap();
    proxy.set(Mode::Hung);
    let started = Instant::now();
    runtime.kill(&spec.key).await.unwrap();
    assert!(is_gone(&handle).unwrap(), "kill said done while it ran");
    assert!(started.elapsed() < Duration::from_secs(6), "{:?}", started.elapsed());
    // One that never saw the instance cannot know, and must not say that it is dead.
    through(&rig, &proxy).kill(&spec.key).await.unwrap_err();
}

#[tokio::test]
async fn a_start_given_up_by_its_caller_is_still_one_start() {
    let Some(rig) = Rig::new("a_start_given_up_by_its_caller_is_still_one_start").await else { return };
    let proxy = Proxy::new(super::docker_support::socket());
    let runtime = through(&rig, &proxy);
    let spec = rig.spec(FOR_EVER);
    runtime.create(&spec).await.unwrap();
    runtime.inspect(&spec.key).await.unwrap();

    // Hold the answer to the start back, but not the one to the look before it.
    let start = async {
        tokio::select! {
            outcome = runtime.start(&spec.key) => panic!("answered although held back: {outcome:?}"),
            () = async {
                while rig.state(&spec.key).await == InstanceState::Created {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            } => {}
        }
    };
    proxy.hold_answers_after("/start");
    tokio::time::timeout(BOUND, start).await.unwrap();

    let refused = runtime.kill(&spec.key).await.unwrap_err();
    assert!(matches!(&refused, RuntimeError::Refused { reason, .. } if reason.contains("may yet run")), "{refused}");
    assert_eq!(rig.state(&spec.key).await, InstanceState::Running, "a cancelled start still starts");

    proxy.set(Mode::Open);
    let handle = runtime.start(&spec.key).await.unwrap();
    assert_eq!(rig.runtime.kill_handle(&spec.key).await.unwrap(), Some(handle));
    rig.until_ready(&spec.key).await;
    assert_eq!(rig.log(&spec.key).await, "ready\n", "it was started once");
    runtime.kill(&spec.key).await.unwrap();
}

#[tokio::test]
async fn an_instance_that_ends_at_once_gives_a_handle_that_hits_nobody() {
    let Some(rig) = Rig::new("an_instance_that_ends_at_once_gives_a_handle_that_hits_nobody").await else { return };
    for _ in 0..3 {
        let spec = rig.spec("exit 4");
        rig.runtime.create(&spec).await.unwrap();
        let handle = rig.runtime.start(&spec.key).await.unwrap();
        assert_eq!(rig.exited(&spec.key).await, (4, "ended with exit code 4".to_owned()));
        assert!(is_gone(&handle).unwrap());
        kill_now(&handle).unwrap();
    }
}

#[tokio::test]
async fn the_handle_names_the_containers_own_group_and_kills_without_an_engine() {
    let Some(rig) = Rig::new("the_handle_names_the_containers_own_group_and_kills_without_an_engine").await else { return };
    let spec = rig.spec(FOR_EVER);
    let handle = rig.start_ready(&spec).await;
    let id = engine().await.inspect_container(&spec.key.instance_name(), None).await.unwrap().id.unwrap();
    match &handle.cgroup {
        Some(cgroup) => {
            assert!(cgroup.to_str().unwrap().contains(&id), "{cgroup:?}");
            let listed = std::fs::read_to_string(cgroup.join("cgroup.procs")).unwrap();
            assert!(listed.lines().any(|pid| pid == handle.pid.to_string()), "{listed}");
        }
        None => assert!(!std::fs::read_to_string("/proc/self/mountinfo").unwrap().contains(" - cgroup2 "), "there is a cgroup v2 here"),
    }
    assert!(!handle.process_group);
    kill_now(&handle).unwrap();
    assert_eq!(rig.exited(&spec.key).await.0, 137);
}

#[tokio::test]
async fn a_paused_instance_counts_as_running_and_can_be_stopped_and_killed() {
    let Some(rig) = Rig::new("a_paused_instance_counts_as_running_and_can_be_stopped_and_killed").await else { return };
    for (graceful, code) in [(true, 3), (false, 137)] {
        let spec = rig.spec("trap 'exit 3' TERM; echo ready; while :; do sleep 0.05; done");
        let handle = rig.start_ready(&spec).await;
        engine().await.pause_container(&spec.key.instance_name()).await.unwrap();
        assert_eq!(rig.state(&spec.key).await, InstanceState::Running);
        assert_eq!(rig.runtime.list().await.unwrap().iter().filter(|seen| seen.state == InstanceState::Running).count(), 1);
        if graceful {
            rig.runtime.stop(&spec.key, BOUND).await.unwrap();
        } else {
            rig.runtime.kill(&spec.key).await.unwrap();
        }
        assert!(is_gone(&handle).unwrap());
        assert_eq!(rig.exited(&spec.key).await.0, code);
        rig.runtime.remove(&spec.key).await.unwrap();
    }
}

#[tokio::test]
async fn changes_wake_the_waiter_again_after_the_engine_went_away() {
    let Some(rig) = Rig::new("changes_wake_the_waiter_again_after_the_engine_went_away").await else { return };
    let proxy = Proxy::new(super::docker_support::socket());
    let runtime = through(&rig, &proxy);
    let spec = rig.spec(FOR_EVER);
    rig.start_ready(&spec).await;
    let quiet = || async {
        // Hints may come in a row; then it is quiet.
        let started = Instant::now();
        loop {
            let one = Instant::now();
            runtime.changed(Duration::from_millis(700)).await;
            if one.elapsed() >= Duration::from_millis(700) {
                return;
            }
            assert!(started.elapsed() < BOUND, "hints without end");
        }
    };
    quiet().await;
    proxy.cut();
    quiet().await;
    // Nobody waits while it happens.
    rig.runtime.kill(&spec.key).await.unwrap();
    let started = Instant::now();
    runtime.changed(BOUND).await;
    assert!(started.elapsed() < Duration::from_secs(2), "the kill was not noticed for {:?}", started.elapsed());
    // Another host's containers wake nobody.
    quiet().await;
    let Some(other) = Rig::new("changes_wake_the_waiter_again_after_the_engine_went_away").await else { return };
    let (waited, ()) = tokio::join!(
        async {
            let started = Instant::now();
            runtime.changed(Duration::from_secs(3)).await;
            started.elapsed()
        },
        async {
            other.start_ready(&other.spec(FOR_EVER)).await;
        }
    );
    assert!(waited >= Duration::from_secs(3), "woken by a stranger after {waited:?}");
}

#[tokio::test]
async fn the_waiter_is_woken_until_the_listing_shows_an_exit() {
    let Some(rig) = Rig::new("the_waiter_is_woken_until_the_listing_shows_an_exit").await else { return };
    let spec = rig.spec(FOR_EVER);
    let handle = rig.start_ready(&spec).await;
    // As the kernel or a person would, past the runtime.
    kill_now(&handle).unwrap();
    let started = Instant::now();
    while rig.runtime.list().await.unwrap()[0].state == InstanceState::Running {
        rig.runtime.changed(BOUND).await;
    }
    assert!(started.elapsed() < BOUND, "woken once, before the listing showed the exit, and never again");
}

#[tokio::test]
async fn one_hung_engine_call_does_not_hold_up_another_engine_or_the_clock() {
    let Some(rig) = Rig::new("one_hung_engine_call_does_not_hold_up_another_engine_or_the_clock").await else { return };
    let proxy = Proxy::new(super::docker_support::socket());
    let runtime = through(&rig, &proxy);
    let spec = rig.spec(FOR_EVER);
    rig.start_ready(&spec).await;
    runtime.probe().await.unwrap();
    // Three calls hang; they must fail together, after one limit, not one after the other.
    proxy.set(Mode::Hung);
    let started = Instant::now();
    let (list, inspect, probe) = tokio::join!(runtime.list(), runtime.inspect(&spec.key), runtime.probe());
    assert!(started.elapsed() < Duration::from_secs(13), "{:?}", started.elapsed());
    for error in [list.unwrap_err(), inspect.unwrap_err(), probe.unwrap_err()] {
        assert!(error.to_string().contains("did not answer within"), "{error}");
    }
    // And the same runtime works again as soon as the engine does.
    proxy.set(Mode::Open);
    assert_eq!(runtime.list().await.unwrap().len(), 1);
}
