//! The tests that every runtime must pass, written against `&dyn Runtime` only. Called by `runtime_process.rs` and
//! `runtime_docker.rs`: each makes a [`Bench`] and runs every entry of [`cases`] through [`run`].
//! Needs from the image: `/bin/sh`, `sleep`, `setsid`, `touch`, `env`. Must never name a runtime.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test; its clock only bounds its own waiting")]

mod guarding;
mod life;
mod output;
mod stopping;

use std::collections::BTreeMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use berth_executor::runtime::{InstanceKey, InstanceSpec, InstanceState, LogOptions, Runtime};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};

use crate::guard_support::Guards;

/// Longest wait for anything that must happen.
pub const BOUND: Duration = Duration::from_secs(20);

/// Makes the runtime under test; called again wherever a case plays an executor restart.
pub type Open = Box<dyn Fn() -> BoxFuture<'static, Box<dyn Runtime>> + Send + Sync>;

/// One runtime under test. `cluster` and `host` are the bench's own: no other test may use them at the same time.
pub struct Bench {
    pub open: Open,
    pub image: String,
    pub cluster: String,
    pub host: String,
    pub guards: Guards,
    /// Where the instance sees a mount: its `target` (`true`) or its `source` (`false`).
    pub mounts_at_target: bool,
    /// `false` only where the runtime states that it cannot enforce read-only mounts.
    pub read_only_enforced: bool,
}

pub type Case = for<'a> fn(&'a Bench) -> BoxFuture<'a, ()>;

macro_rules! cases {
    ($($module:ident :: $name:ident),* $(,)?) => { vec![$((stringify!($name), (|bench| $module::$name(bench).boxed()) as Case)),*] };
}

/// Every case by name.
#[must_use]
pub fn cases() -> Vec<(&'static str, Case)> {
    cases![
        life::an_instance_goes_from_created_over_running_to_exited_with_its_code,
        life::the_command_gets_its_environment_and_its_mounts,
        life::creating_twice_is_the_same_as_once,
        life::starting_a_running_instance_changes_nothing,
        life::starting_an_unknown_instance_is_an_error,
        life::calls_about_an_unknown_instance_that_want_it_gone_are_fine,
        life::an_exited_instance_is_never_started_again,
        life::a_running_instance_is_not_removed,
        life::a_new_runtime_object_finds_what_an_earlier_one_left,
        life::a_change_of_state_wakes_the_waiter,
        stopping::stop_sends_sigterm_and_takes_the_commands_own_code,
        stopping::stop_sends_the_signal_of_the_spec,
        stopping::stop_kills_after_the_grace,
        stopping::kill_leaves_no_process_however_it_detached,
        stopping::the_end_of_the_command_is_the_end_of_its_orphans,
        stopping::kill_now_works_without_a_runtime_object,
        stopping::a_handle_with_another_start_time_kills_nothing,
        output::exec_gives_code_and_output,
        output::exec_output_is_cut_at_4_kib,
        output::exec_kills_the_command_at_its_timeout,
        output::exec_needs_a_running_instance,
        output::logs_keep_both_streams_apart,
        output::logs_tail_gives_the_last_lines,
        output::logs_follow_delivers_live_and_ends_with_the_instance,
        guarding::writers_and_spinners_write_nothing_after_the_deadline,
        guarding::without_a_deadline_the_same_writers_go_on,
        guarding::a_lowered_deadline_is_noticed,
        guarding::nothing_starts_under_a_right_that_is_over_or_of_another_token,
        guarding::an_instance_without_a_guard_is_not_made,
        guarding::hooks_come_before_the_command_and_see_its_environment,
        guarding::a_failed_or_slow_hook_is_the_end_of_the_instance,
    ]
}

/// Runs one case and removes every instance of the bench afterwards, also when the case failed.
pub async fn run(bench: &Bench, case: Case) {
    let outcome = AssertUnwindSafe(case(bench)).catch_unwind().await;
    sweep(bench).await;
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

async fn sweep(bench: &Bench) {
    let runtime = (bench.open)().await;
    for left in runtime.list().await.unwrap() {
        runtime.kill(&left.key).await.unwrap();
        runtime.remove(&left.key).await.unwrap();
    }
    assert_eq!(runtime.list().await.unwrap(), vec![], "a removed instance is still listed");
}

/// A number that no other process of this machine has as an argument: to find a case's processes by.
pub fn unique() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    70_000_000_000 + u64::from(std::process::id()) * 1000 + NEXT.fetch_add(1, Ordering::Relaxed)
}

/// An instance that runs `script` in a shell.
pub fn spec(bench: &Bench, script: &str) -> InstanceSpec {
    let token = unique();
    let key = InstanceKey { container: "case".to_owned(), token, attempt: 1 };
    InstanceSpec {
        guard: bench.guards.spec(&key),
        key,
        cluster: bench.cluster.clone(),
        host: bench.host.clone(),
        lease: token + 7,
        image: bench.image.clone(),
        command: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
        environment: BTreeMap::new(),
        mounts: vec![],
        ports: vec![],
        cpu_millis: None,
        memory_bytes: None,
        stop_signal: None,
        privileged: false,
    }
}

pub async fn state(runtime: &dyn Runtime, key: &InstanceKey) -> InstanceState {
    runtime.inspect(key).await.unwrap().expect("the instance exists").state
}

/// Waits for the end of the instance and gives its code and reason.
pub async fn exited(runtime: &dyn Runtime, key: &InstanceKey) -> (i32, String) {
    let started = Instant::now();
    loop {
        match state(runtime, key).await {
            InstanceState::Exited { code, reason } => return (code, reason),
            InstanceState::Created | InstanceState::Running => {}
        }
        assert!(started.elapsed() < BOUND, "{} did not end; its log: {:?}", key.instance_name(), logs(runtime, key, None).await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Polls until `condition` holds; panics with `what` after [`BOUND`].
pub async fn eventually<F, Fut>(what: &str, mut condition: F)
where
    F: FnMut() -> Fut,
    Fut: Future<Output = bool>,
{
    let started = Instant::now();
    while !condition().await {
        assert!(started.elapsed() < BOUND, "not within {BOUND:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Standard output and standard error so far.
pub async fn logs(runtime: &dyn Runtime, key: &InstanceKey, tail_lines: Option<u64>) -> (String, String) {
    let mut chunks = runtime.logs(key, LogOptions { follow: false, tail_lines }).await.unwrap();
    let (mut out, mut err) = (vec![], vec![]);
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.unwrap();
        if chunk.stderr { err.extend(chunk.data) } else { out.extend(chunk.data) }
    }
    (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

/// Creates and starts `spec`, and waits until its script has printed `ready`.
pub async fn start_ready(runtime: &dyn Runtime, spec: &InstanceSpec) -> berth_executor::runtime::KillHandle {
    runtime.create(spec).await.unwrap();
    let handle = runtime.start(&spec.key).await.unwrap();
    eventually("the script prints ready", || async { logs(runtime, &spec.key, None).await.0.contains("ready") }).await;
    handle
}

/// Processes of this machine that carry `marker` as an argument. The dead and the dying have no arguments any more.
pub fn processes_with(marker: u64) -> usize {
    let marker = marker.to_string();
    let mut found = 0;
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let arguments = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if arguments.split(|byte| *byte == 0).any(|argument| argument == marker.as_bytes()) {
            found += 1;
        }
    }
    found
}
