//! Cases about the guard, the first process of every instance: nobody but it and the kernel acts in them after the start. Called through `cases` only.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use berth_executor::runtime::spec::MountSpec;
use berth_executor::runtime::{InstanceSpec, InstanceState};
use berth_guard::clock::now_ns;
use berth_guard::page::Deadline;
use berth_guard::status::{HookFailure, HookKind, Phase};

use super::{BOUND, Bench, eventually, exited, logs, processes_with, spec, start_ready, state, unique};
use crate::guard_support::hook;

/// The machine is shared with other tests; alone it takes some milliseconds.
const LATE: Duration = Duration::from_secs(1);

/// Many writers into one folder, some of them detached, and spinners that keep the guard from its turn.
struct Writers {
    folder: tempfile::TempDir,
    spec: InstanceSpec,
}

impl Writers {
    fn new(bench: &Bench) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o777)).unwrap();
        let mut spec = spec(bench, "");
        let target = std::path::PathBuf::from("/mnt/data");
        let seen = if bench.mounts_at_target { &target } else { folder.path() }.display().to_string();
        let script = format!(
            "for n in 1 2 3 4 5 6 7; do (while :; do echo x > {seen}/plain$n; done) & \
             (setsid /bin/sh -c \"while :; do echo x > {seen}/detached$n; done\" &); done; \
             for n in 1 2 3; do (while :; do :; done) & done; echo ready; while :; do echo x > {seen}/main; done"
        );
        spec.command = ["/bin/sh", "-c", &script].map(str::to_owned).to_vec();
        spec.mounts.push(MountSpec { source: folder.path().to_owned(), target, read_only: false });
        Self { folder, spec }
    }

    /// When the newest write was, on the holder's clock; file times are as exact as the kernel's tick.
    fn last_write_ns(&self) -> u64 {
        let newest = |path: &Path| std::fs::metadata(path).map_or(0, |found| found.mtime() * 1_000_000_000 + found.mtime_nsec());
        let wall = std::fs::read_dir(self.folder.path()).unwrap().flatten().map(|entry| newest(&entry.path())).max().unwrap();
        let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap();
        now_ns() - u64::try_from((now - wall).max(0)).unwrap()
    }

    fn all_write(&self) -> bool {
        std::fs::read_dir(self.folder.path()).unwrap().count() >= 15
    }
}

pub async fn writers_and_spinners_write_nothing_after_the_deadline(bench: &Bench) {
    let runtime = (bench.open)().await;
    let writers = Writers::new(bench);
    start_ready(&*runtime, &writers.spec).await;
    eventually("all write", || async { writers.all_write() }).await;
    let inside = ["/bin/sh", "-c", "while :; do sleep 0.01; done"].map(str::to_owned);
    let key = writers.spec.key.clone();
    let other = (bench.open)().await;
    let entered = tokio::spawn(async move { other.exec(&key, &inside, BOUND * 2).await });
    tokio::time::sleep(Duration::from_millis(300)).await;

    let deadline = now_ns() + 300_000_000;
    bench.guards.page(&writers.spec.key).store(Deadline::At(deadline));
    let (code, reason) = exited(&*runtime, &writers.spec.key).await;
    let late_us = writers.last_write_ns().saturating_sub(deadline) / 1_000;
    println!("last write {late_us} us after the deadline");
    assert!(Duration::from_micros(late_us) < LATE, "{late_us} us");
    assert_eq!(code, 124, "{reason}");
    assert!(reason.contains("deadline"), "{reason}");
    // What was entered from outside is no child of the guard, and ends all the same.
    let _ = tokio::time::timeout(BOUND, entered).await.expect("a command inside outlived the instance").unwrap();
    let silent_from = writers.last_write_ns();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(writers.last_write_ns().abs_diff(silent_from) < 50_000_000, "somebody writes still");
}

/// The check of the case before would fail without a guard that looks: the same writers, and a page that names no deadline.
pub async fn without_a_deadline_the_same_writers_go_on(bench: &Bench) {
    let runtime = (bench.open)().await;
    let writers = Writers::new(bench);
    start_ready(&*runtime, &writers.spec).await;
    eventually("all write", || async { writers.all_write() }).await;
    let deadline = now_ns() + 300_000_000;
    bench.guards.page(&writers.spec.key).store(Deadline::None);
    tokio::time::sleep(Duration::from_millis(300) + LATE).await;
    assert_eq!(state(&*runtime, &writers.spec.key).await, InstanceState::Running);
    eventually("a write that the other case would call late", || async {
        writers.last_write_ns() > deadline + u64::try_from(LATE.as_nanos()).unwrap()
    })
    .await;
}

pub async fn a_lowered_deadline_is_noticed(bench: &Bench) {
    let runtime = (bench.open)().await;
    let marker = unique();
    let spec = spec(bench, &format!("echo ready; exec sleep {marker}"));
    bench.guards.page(&spec.key).store(Deadline::At(now_ns() + 3_600_000_000_000));
    start_ready(&*runtime, &spec).await;
    eventually("it runs", || async { processes_with(marker) == 1 }).await;
    let begun = Instant::now();
    bench.guards.page(&spec.key).store(Deadline::Over);
    while processes_with(marker) > 0 {
        assert!(begun.elapsed() < LATE, "not noticed");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    println!("a lowered deadline was noticed within {} ms", begun.elapsed().as_millis());
    assert_eq!(exited(&*runtime, &spec.key).await.0, 124);
}

pub async fn nothing_starts_under_a_right_that_is_over_or_of_another_token(bench: &Bench) {
    let runtime = (bench.open)().await;
    let mut over = spec(bench, "echo started");
    over.guard = bench.guards.spec_until(&over.key, Deadline::At(1));
    let mut foreign = spec(bench, "echo started");
    foreign.guard.page = over.guard.page.clone();
    bench.guards.page(&foreign.key).store(Deadline::None);
    for spec in [over, foreign] {
        runtime.create(&spec).await.unwrap();
        let error = runtime.start(&spec.key).await.unwrap_err().to_string();
        assert!(error.contains("guard"), "{error}");
        assert_eq!(exited(&*runtime, &spec.key).await.0, 125);
        let (out, err) = logs(&*runtime, &spec.key, None).await;
        assert_eq!(out, "");
        assert!(err.contains("nothing is started"), "{err}");
    }
}

pub async fn an_instance_without_a_guard_is_not_made(bench: &Bench) {
    let runtime = (bench.open)().await;
    let mut spec = spec(bench, "echo started");
    spec.guard = Default::default();
    let error = runtime.create(&spec).await.unwrap_err().to_string();
    assert!(error.contains("guard"), "{error}");
    assert_eq!(runtime.inspect(&spec.key).await.unwrap(), None);
}

pub async fn hooks_come_before_the_command_and_see_its_environment(bench: &Bench) {
    let runtime = (bench.open)().await;
    let mut spec = spec(bench, "echo command");
    spec.environment.insert("BERTH_VOLUME_STATE_PG".to_owned(), "new".to_owned());
    spec.guard.init = hook("echo \"init $BERTH_VOLUME_STATE_PG\"", 20_000);
    runtime.create(&spec).await.unwrap();
    runtime.start(&spec.key).await.unwrap();
    assert_eq!(exited(&*runtime, &spec.key).await.0, 0);
    assert_eq!(logs(&*runtime, &spec.key, None).await.0, "init new\ncommand\n");
    assert_eq!(bench.guards.phase(&spec.key), Phase::Exited(0));
}

pub async fn a_failed_or_slow_hook_is_the_end_of_the_instance(bench: &Bench) {
    let runtime = (bench.open)().await;
    let marker = unique();
    for (script, failure, why) in [
        ("exit 3".to_owned(), HookFailure::Code(3), "code 3"),
        (format!("(setsid sleep {marker} &); exec sleep {marker}"), HookFailure::TimedOut, "too long"),
    ] {
        let mut spec = spec(bench, "echo command");
        spec.guard.pre_start = hook(&script, 500);
        runtime.create(&spec).await.unwrap();
        runtime.start(&spec.key).await.unwrap();
        let (code, reason) = exited(&*runtime, &spec.key).await;
        assert_eq!(code, 123, "{reason}");
        assert!(reason.contains("pre-start hook") && reason.contains(why), "{reason}");
        assert_eq!(logs(&*runtime, &spec.key, None).await.0, "");
        assert_eq!(bench.guards.phase(&spec.key), Phase::HookFailed(HookKind::PreStart, failure));
        assert_eq!(processes_with(marker), 0);
    }
}
