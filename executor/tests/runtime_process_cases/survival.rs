//! Cases about the deaths of those around an instance: executor, shim. Called through `cases` only.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use berth_executor::runtime::{InstanceState, Runtime};

use crate::guard_support::Guards;

use super::bench::{Mode, config, open};
use crate::runtime_conformance::{BOUND, Bench, Case, eventually, exited, logs, processes_with, spec, start_ready, state, unique};

/// First argument that turns this program into an executor that starts one instance and then does nothing until it is killed.
pub const PLAY_EXECUTOR: &str = "play-executor";

pub fn cases() -> Vec<(&'static str, Case)> {
    super::cases![
        an_instance_survives_the_sigkill_of_its_executor_and_its_end_is_remembered,
        an_instance_dies_with_its_shim,
        a_stopped_shim_does_not_keep_an_instance_alive,
        a_stopped_shim_does_not_hold_up_the_deadline,
    ]
}

/// `play-executor <mode> <root> <host> <script> <token>`: prints `started` and parks.
pub fn play_executor(args: impl Iterator<Item = OsString>) -> ExitCode {
    let args: Vec<String> = args.map(|argument| argument.into_string().unwrap()).collect();
    let [mode, root, host, script, token] = &args[..] else { return ExitCode::FAILURE };
    let mode = if mode == "ProcessGroups" { Mode::ProcessGroups } else { Mode::Strongest };
    let mut config = config(Path::new(root));
    config.host.clone_from(host);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let cluster = config.cluster.clone();
        let executor = open(mode, config);
        let bench = Bench {
            open: Box::new(|| unreachable!()),
            image: String::new(),
            cluster,
            host: host.clone(),
            guards: Guards::at(&Path::new(root).join("run")),
            mounts_at_target: false,
            read_only_enforced: false,
        };
        let mut spec = spec(&bench, script);
        spec.key.token = token.parse().unwrap();
        spec.guard = bench.guards.spec(&spec.key);
        executor.create(&spec).await.unwrap();
        executor.start(&spec.key).await.unwrap();
        println!("started");
        std::future::pending::<()>().await;
    });
    ExitCode::SUCCESS
}

async fn an_instance_survives_the_sigkill_of_its_executor_and_its_end_is_remembered(bench: &Bench) {
    let runtime = (bench.open)().await;
    let marker = unique();
    let key = spec(bench, "").key;
    let script = format!("(setsid sleep {marker} &); echo ready; while [ ! -e go ]; do sleep 0.05; done; exit 7");
    let mode = if runtime_uses_groups_only(bench).await { "ProcessGroups" } else { "Strongest" };
    let mut executor = Command::new(std::env::current_exe().unwrap())
        .args([PLAY_EXECUTOR, mode, &bench.image, &bench.host, &script, &key.token.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(executor.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "started\n");
    executor.kill().unwrap();
    executor.wait().unwrap();

    eventually("the script runs", || async { logs(&*runtime, &key, None).await.0 == "ready\n" }).await;
    assert_eq!(state(&*runtime, &key).await, InstanceState::Running);
    eventually("its child runs", || async { processes_with(marker) == 1 }).await;
    let handle = runtime.kill_handle(&key).await.unwrap().expect("it runs");
    assert_eq!(runtime.start(&key).await.unwrap(), handle, "start on a survivor is no second start");

    // Its end comes while no executor looks.
    let go = Path::new(&bench.image).join("instances").join(key.instance_name()).join("work/go");
    drop(runtime);
    std::fs::write(go, "").unwrap();
    eventually("its processes end", || async { processes_with(marker) == 0 }).await;
    let runtime = (bench.open)().await;
    assert_eq!(exited(&*runtime, &key).await, (7, "exited with code 7".to_owned()));
    runtime.start(&key).await.unwrap_err();
}

/// The record that an instance in this bench is started with.
async fn runtime_uses_groups_only(bench: &Bench) -> bool {
    let runtime = (bench.open)().await;
    let spec = spec(bench, "echo ready; exit 0");
    start_ready(&*runtime, &spec).await;
    exited(&*runtime, &spec.key).await;
    record(bench, &spec.key.instance_name(), "plan")["record"]["isolation"] == "process-group"
}

pub fn record(bench: &Bench, instance: &str, name: &str) -> serde_json::Value {
    let path = Path::new(&bench.image).join("instances").join(instance).join(format!("{name}.json"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn signal_shim(bench: &Bench, instance: &str, signal: rustix::process::Signal) {
    let pid = record(bench, instance, "started")["record"]["shim"]["pid"].as_i64().unwrap();
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

async fn an_instance_dies_with_its_shim(bench: &Bench) {
    let runtime = (bench.open)().await;
    let marker = unique();
    let spec = spec(bench, &format!("trap '' TERM HUP; echo ready; sleep {marker}; exit 0"));
    start_ready(&*runtime, &spec).await;
    eventually("the script runs", || async { processes_with(marker) == 1 }).await;
    let groups_only = record(bench, &spec.key.instance_name(), "plan")["record"]["isolation"] == "process-group";
    signal_shim(bench, &spec.key.instance_name(), rustix::process::Signal::KILL);
    if groups_only {
        // Nothing but the first process is bound to the shim here, so the rest must still count as running.
        eventually("the first process dies", || async {
            let running = record(bench, &spec.key.instance_name(), "running");
            let pid = u32::try_from(running["record"]["init"]["pid"].as_u64().unwrap()).unwrap();
            berth_executor::runtime::kill::start_ticks(pid).unwrap().is_none()
        })
        .await;
        assert_eq!(state(&*runtime, &spec.key).await, InstanceState::Running, "the end was reported while the command lives");
        runtime.kill(&spec.key).await.unwrap();
    }
    assert_eq!(exited(&*runtime, &spec.key).await.0, 137);
    assert_eq!(processes_with(marker), 0);
}

async fn a_stopped_shim_does_not_keep_an_instance_alive(bench: &Bench) {
    let runtime = (bench.open)().await;
    let marker = unique();
    let spec = spec(bench, &format!("trap '' TERM; echo ready; exec sleep {marker}"));
    start_ready(&*runtime, &spec).await;
    signal_shim(bench, &spec.key.instance_name(), rustix::process::Signal::STOP);
    tokio::time::timeout(BOUND, runtime.stop(&spec.key, Duration::from_millis(100))).await.unwrap().unwrap();
    assert_eq!(processes_with(marker), 0);
    assert_eq!(exited(&*runtime, &spec.key).await.0, 137);
}

async fn a_stopped_shim_does_not_hold_up_the_deadline(bench: &Bench) {
    let runtime = (bench.open)().await;
    let marker = unique();
    // It never stops writing, and nobody takes it: the pipe is full at the deadline.
    let script = format!("trap '' TERM; (setsid sleep {marker} &); echo ready; while :; do echo more; done");
    let spec = spec(bench, &script);
    start_ready(&*runtime, &spec).await;
    eventually("it runs", || async { processes_with(marker) == 1 }).await;
    signal_shim(bench, &spec.key.instance_name(), rustix::process::Signal::STOP);
    tokio::time::sleep(Duration::from_millis(200)).await;
    bench.guards.page(&spec.key).store(berth_guard::page::Deadline::Over);
    eventually("all are dead", || async { processes_with(marker) == 0 }).await;
    signal_shim(bench, &spec.key.instance_name(), rustix::process::Signal::CONT);
    assert_eq!(exited(&*runtime, &spec.key).await.0, 124);
}
