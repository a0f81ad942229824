//! Cases about an instance's one life: created, running, exited, removed. Called through `cases` only.

use std::time::{Duration, Instant};

use berth_executor::runtime::spec::MountSpec;
use berth_executor::runtime::{InstanceState, Observed};

use super::{BOUND, Bench, exited, logs, spec, start_ready, state};

pub async fn an_instance_goes_from_created_over_running_to_exited_with_its_code(bench: &Bench) {
    let runtime = (bench.open)().await;
    let spec = spec(bench, "echo ready; while [ ! -e go ]; do sleep 0.05; done; exit 7");
    assert_eq!(runtime.inspect(&spec.key).await.unwrap(), None);

    runtime.create(&spec).await.unwrap();
    assert_eq!(state(&*runtime, &spec.key).await, InstanceState::Created);
    assert_eq!(runtime.kill_handle(&spec.key).await.unwrap(), None, "a created instance has nothing to kill");

    start_ready(&*runtime, &spec).await;
    let seen = runtime.inspect(&spec.key).await.unwrap().unwrap();
    let expected = Observed { key: spec.key.clone(), cluster: spec.cluster.clone(), lease: spec.lease, state: InstanceState::Running };
    assert_eq!(seen, expected);

    runtime.exec(&spec.key, &["touch", "go"].map(str::to_owned), BOUND).await.unwrap();
    let (code, reason) = exited(&*runtime, &spec.key).await;
    assert_eq!(code, 7);
    assert!(!reason.is_empty(), "an exit says why");
    assert_eq!(runtime.kill_handle(&spec.key).await.unwrap(), None, "an exited instance has nothing to kill");
}

pub async fn the_command_gets_its_environment_and_its_mounts(bench: &Bench) {
    let runtime = (bench.open)().await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let sources = ["data", "fixed"].map(|name| folder.path().join(name));
    for source in &sources {
        std::fs::create_dir(source).unwrap();
        std::fs::set_permissions(source, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    }
    let script = "echo \"$GREETING\"; echo kept > \"$BERTH_VOLUME_DATA/file\" && (echo no > \"$BERTH_VOLUME_FIXED/file\") 2>/dev/null && exit 9; \
                  exit 0";
    let mut spec = spec(bench, script);
    spec.environment.insert("GREETING".to_owned(), "spaces  and = signs".to_owned());
    for (source, (name, read_only)) in sources.iter().zip([("DATA", false), ("FIXED", true)]) {
        let target = std::path::PathBuf::from(format!("/mnt/{name}"));
        let seen_at = if bench.mounts_at_target { &target } else { source };
        spec.environment.insert(format!("BERTH_VOLUME_{name}"), seen_at.to_str().unwrap().to_owned());
        spec.mounts.push(MountSpec { source: source.clone(), target, read_only });
    }
    runtime.create(&spec).await.unwrap();
    runtime.start(&spec.key).await.unwrap();
    let (code, _) = exited(&*runtime, &spec.key).await;

    assert_eq!(std::fs::read_to_string(sources[0].join("file")).unwrap(), "kept\n");
    assert_eq!(logs(&*runtime, &spec.key, None).await.0, "spaces  and = signs\n");
    if bench.read_only_enforced {
        assert_eq!(code, 0, "the read-only mount took a write");
        assert!(!sources[1].join("file").exists());
    }
}

pub async fn creating_twice_is_the_same_as_once(bench: &Bench) {
    let runtime = (bench.open)().await;
    let spec = spec(bench, "exit 0");
    runtime.create(&spec).await.unwrap();
    runtime.create(&spec).await.unwrap();
    assert_eq!(runtime.list().await.unwrap().len(), 1);
    assert_eq!(state(&*runtime, &spec.key).await, InstanceState::Created);
}

pub async fn starting_a_running_instance_changes_nothing(bench: &Bench) {
    let runtime = (bench.open)().await;
    let spec = spec(bench, "echo ready; while :; do sleep 0.05; done");
    let first = start_ready(&*runtime, &spec).await;
    let second = runtime.start(&spec.key).await.unwrap();
    assert_eq!(first, second);
    assert_eq!(logs(&*runtime, &spec.key, None).await.0, "ready\n", "the command ran once");
}

pub async fn starting_an_unknown_instance_is_an_error(bench: &Bench) {
    let runtime = (bench.open)().await;
    let spec = spec(bench, "exit 0");
    runtime.start(&spec.key).await.unwrap_err();
    assert_eq!(runtime.inspect(&spec.key).await.unwrap(), None, "the refused start left something");
}

pub async fn calls_about_an_unknown_instance_that_want_it_gone_are_fine(bench: &Bench) {
    let runtime = (bench.open)().await;
    let key = spec(bench, "exit 0").key;
    runtime.stop(&key, Duration::from_secs(1)).await.unwrap();
    runtime.kill(&key).await.unwrap();
    runtime.remove(&key).await.unwrap();
    assert_eq!(runtime.kill_handle(&key).await.unwrap(), None);
}

pub async fn an_exited_instance_is_never_started_again(bench: &Bench) {
    let runtime = (bench.open)().await;
    let spec = spec(bench, "echo ran; exit 3");
    runtime.create(&spec).await.unwrap();
    runtime.start(&spec.key).await.unwrap();
    let first = exited(&*runtime, &spec.key).await;

    runtime.start(&spec.key).await.unwrap_err();
    let reopened = (bench.open)().await;
    reopened.start(&spec.key).await.unwrap_err();
    assert_eq!(exited(&*reopened, &spec.key).await, first);
    assert_eq!(logs(&*reopened, &spec.key, None).await.0, "ran\n");
    runtime.stop(&spec.key, Duration::from_secs(1)).await.unwrap();
    runtime.kill(&spec.key).await.unwrap();
}

pub async fn a_running_instance_is_not_removed(bench: &Bench) {
    let runtime = (bench.open)().await;
    let spec = spec(bench, "echo ready; while :; do sleep 0.05; done");
    start_ready(&*runtime, &spec).await;
    runtime.remove(&spec.key).await.unwrap_err();
    assert_eq!(state(&*runtime, &spec.key).await, InstanceState::Running, "the refused removal did harm");

    runtime.kill(&spec.key).await.unwrap();
    runtime.remove(&spec.key).await.unwrap();
    assert_eq!(runtime.inspect(&spec.key).await.unwrap(), None);
    runtime.remove(&spec.key).await.unwrap();
}

pub async fn a_new_runtime_object_finds_what_an_earlier_one_left(bench: &Bench) {
    let runtime = (bench.open)().await;
    let running = spec(bench, "echo ready; while [ ! -e go ]; do sleep 0.05; done; exit 5");
    let created = spec(bench, "exit 0");
    let handle = start_ready(&*runtime, &running).await;
    runtime.create(&created).await.unwrap();
    drop(runtime);

    let runtime = (bench.open)().await;
    let mut seen = runtime.list().await.unwrap();
    seen.sort_by(|a, b| a.key.cmp(&b.key));
    let states: Vec<_> = seen.iter().map(|one| (one.key.clone(), one.lease, one.state.clone())).collect();
    let expected =
        vec![(running.key.clone(), running.lease, InstanceState::Running), (created.key.clone(), created.lease, InstanceState::Created)];
    assert_eq!(states, expected);
    assert_eq!(runtime.kill_handle(&running.key).await.unwrap(), Some(handle));
    runtime.exec(&running.key, &["touch", "go"].map(str::to_owned), BOUND).await.unwrap();
    assert_eq!(exited(&*runtime, &running.key).await.0, 5);
}

pub async fn a_change_of_state_wakes_the_waiter(bench: &Bench) {
    let runtime = (bench.open)().await;
    let spec = spec(bench, "echo ready; while [ ! -e go ]; do sleep 0.05; done");
    start_ready(&*runtime, &spec).await;
    runtime.exec(&spec.key, &["touch", "go"].map(str::to_owned), BOUND).await.unwrap();
    let started = Instant::now();
    while state(&*runtime, &spec.key).await == InstanceState::Running {
        runtime.changed(Duration::from_secs(60)).await;
    }
    assert!(started.elapsed() < BOUND, "nobody was woken by the exit");
}
