//! Cases about ending an instance: stop, kill, and the deadline thread's `kill_now`. Called through `cases` only.

use std::time::{Duration, Instant};

use berth_executor::runtime::kill::{is_gone, kill_now};
use berth_executor::runtime::{InstanceState, KillHandle};

use super::{BOUND, Bench, eventually, exited, processes_with, spec, start_ready, state, unique};

pub async fn stop_sends_sigterm_and_takes_the_commands_own_code(bench: &Bench) {
    let runtime = (bench.open)().await;
    let spec = spec(bench, "trap 'exit 3' TERM; echo ready; while :; do sleep 0.05; done");
    start_ready(&*runtime, &spec).await;
    runtime.stop(&spec.key, BOUND).await.unwrap();
    assert_eq!(exited(&*runtime, &spec.key).await.0, 3);
}

pub async fn stop_sends_the_signal_of_the_spec(bench: &Bench) {
    let runtime = (bench.open)().await;
    let mut spec = spec(bench, "trap 'exit 3' TERM; trap 'exit 4' USR1; echo ready; while :; do sleep 0.05; done");
    spec.stop_signal = Some("SIGUSR1".to_owned());
    start_ready(&*runtime, &spec).await;
    runtime.stop(&spec.key, BOUND).await.unwrap();
    assert_eq!(exited(&*runtime, &spec.key).await.0, 4);
}

pub async fn stop_kills_after_the_grace(bench: &Bench) {
    let runtime = (bench.open)().await;
    let marker = unique();
    let spec = spec(bench, &format!("trap '' TERM; sleep {marker} & echo ready; while :; do sleep 0.05; done"));
    let handle = start_ready(&*runtime, &spec).await;
    let started = Instant::now();
    runtime.stop(&spec.key, Duration::from_secs(1)).await.unwrap();
    let took = started.elapsed();
    assert_eq!(processes_with(marker), 0);
    assert!(is_gone(&handle).unwrap());
    assert!(took >= Duration::from_secs(1), "the grace was cut to {took:?}");
    assert!(took < BOUND, "the grace was exceeded: {took:?}");
    let (code, reason) = exited(&*runtime, &spec.key).await;
    assert_eq!(code, 137);
    assert!(!reason.is_empty());
}

pub async fn kill_leaves_no_process_however_it_detached(bench: &Bench) {
    let runtime = (bench.open)().await;
    let marker = unique();
    // A plain child, a double fork whose parent is gone, and the same in a session of its own.
    let script = format!(
        "trap '' TERM HUP; sleep {marker} & (sleep {marker} &); (setsid /bin/sh -c 'sleep {marker} & sleep {marker}' &); \
         echo ready; exec sleep {marker}"
    );
    let spec = spec(bench, &script);
    let handle = start_ready(&*runtime, &spec).await;
    eventually("all five processes run", || async { processes_with(marker) >= 5 }).await;
    assert!(!is_gone(&handle).unwrap(), "a running instance is not gone");

    runtime.kill(&spec.key).await.unwrap();
    assert_eq!(processes_with(marker), 0, "kill returned while a process was left");
    assert!(is_gone(&handle).unwrap());
    assert_eq!(exited(&*runtime, &spec.key).await.0, 137);
}

pub async fn the_end_of_the_command_is_the_end_of_its_orphans(bench: &Bench) {
    let runtime = (bench.open)().await;
    let marker = unique();
    let script = format!("(setsid sleep {marker} &); echo ready; while [ ! -e go ]; do sleep 0.05; done; exit 0");
    let spec = spec(bench, &script);
    start_ready(&*runtime, &spec).await;
    eventually("the orphan runs", || async { processes_with(marker) == 1 }).await;
    runtime.exec(&spec.key, &["touch", "go"].map(str::to_owned), BOUND).await.unwrap();
    assert_eq!(exited(&*runtime, &spec.key).await.0, 0);
    assert_eq!(processes_with(marker), 0, "exited was reported while an orphan ran on");
}

pub async fn kill_now_works_without_a_runtime_object(bench: &Bench) {
    let runtime = (bench.open)().await;
    let marker = unique();
    let spec = spec(bench, &format!("trap '' TERM; (setsid sleep {marker} &); echo ready; exec sleep {marker}"));
    let handle = start_ready(&*runtime, &spec).await;
    eventually("both processes run", || async { processes_with(marker) == 2 }).await;
    drop(runtime);

    kill_now(&handle).unwrap();
    eventually("the handle says gone", || async { is_gone(&handle).unwrap() }).await;
    eventually("no process is left", || async { processes_with(marker) == 0 }).await;
    kill_now(&handle).unwrap();
    let runtime = (bench.open)().await;
    assert_eq!(exited(&*runtime, &spec.key).await.0, 137);
}

pub async fn a_handle_with_another_start_time_kills_nothing(bench: &Bench) {
    let runtime = (bench.open)().await;
    let marker = unique();
    let spec = spec(bench, &format!("echo ready; exec sleep {marker}"));
    let handle = start_ready(&*runtime, &spec).await;
    // Only the pid half is guarded by the start time: a cgroup's path is never used again.
    let reused = KillHandle { cgroup: None, start_ticks: handle.start_ticks + 1, ..handle.clone() };
    eventually("the process runs", || async { processes_with(marker) == 1 }).await;
    kill_now(&reused).unwrap();
    assert!(is_gone(&reused).unwrap(), "whoever has that pid now is not ours");
    assert_eq!(processes_with(marker), 1);
    assert_eq!(state(&*runtime, &spec.key).await, InstanceState::Running);

    let right = KillHandle { cgroup: None, ..handle };
    kill_now(&right).unwrap();
    eventually("the right start time kills", || async { processes_with(marker) == 0 }).await;
}
