//! Cases about the folder's records, refused specifications and reasons. Called through `cases` only.

use std::path::{Path, PathBuf};
use std::process::Command;

use berth_executor::runtime::{InstanceKey, InstanceState, RuntimeError};

use super::survival::record;
use crate::runtime_conformance::{Bench, Case, eventually, exited, logs, spec, start_ready, state};

pub fn cases() -> Vec<(&'static str, Case)> {
    super::cases![
        two_starts_at_once_are_one,
        a_late_shim_cannot_start_what_was_closed,
        an_instance_of_an_earlier_boot_has_ended,
        an_instance_with_a_damaged_specification_is_still_listed_and_killed,
        the_environment_is_exactly_the_specified_one,
        a_program_that_is_not_there_is_refused_with_its_reason,
        a_signals_name_is_in_the_reason,
        what_cannot_work_is_refused_before_anything_is_made,
    ]
}

fn folder(bench: &Bench, key: &InstanceKey) -> PathBuf {
    Path::new(&bench.image).join("instances").join(key.instance_name())
}

async fn two_starts_at_once_are_one(bench: &Bench) {
    let runtime = (bench.open)().await;
    let other = (bench.open)().await;
    let spec = spec(bench, "echo ready; while :; do sleep 0.05; done");
    runtime.create(&spec).await.unwrap();
    let (first, second) = futures::join!(runtime.start(&spec.key), other.start(&spec.key));
    assert_eq!(first.unwrap(), second.unwrap());
    eventually("the script runs", || async { !logs(&*runtime, &spec.key, None).await.0.is_empty() }).await;
    assert_eq!(logs(&*runtime, &spec.key, None).await.0, "ready\n");
}

async fn a_late_shim_cannot_start_what_was_closed(bench: &Bench) {
    let runtime = (bench.open)().await;
    let model = spec(bench, "exit 0");
    runtime.create(&model).await.unwrap();
    runtime.start(&model.key).await.unwrap();
    exited(&*runtime, &model.key).await;
    // The same by hand, as if an executor had died just after it spawned the shim: once let through, once closed before.
    for closed in [false, true] {
        let late = spec(bench, "echo ran; exit 0");
        runtime.create(&late).await.unwrap();
        std::fs::copy(folder(bench, &model.key).join("plan.json"), folder(bench, &late.key).join("plan.json")).unwrap();
        if closed {
            runtime.kill(&late.key).await.unwrap();
        }
        let id = record(bench, &late.key.instance_name(), "spec")["record"]["id"].as_str().unwrap().to_owned();
        let mut command = Command::new(std::env::current_exe().unwrap());
        let output = command.args(["shim", "run"]).arg(folder(bench, &late.key)).arg(id).output().unwrap();
        assert_eq!(output.status.success(), !closed, "{output:?}");
        let expected = if closed { "" } else { "ran\n" };
        assert_eq!(logs(&*runtime, &late.key, None).await.0, expected);
    }
}

async fn an_instance_of_an_earlier_boot_has_ended(bench: &Bench) {
    let runtime = (bench.open)().await;
    let spec = spec(bench, "exit 0");
    runtime.create(&spec).await.unwrap();
    // A living process with the noted pid and start time: only the boot tells that it is another one.
    let mut other = Command::new("sleep").arg("1000").spawn().unwrap();
    let ticks = berth_executor::runtime::kill::start_ticks(other.id()).unwrap().unwrap();
    let shim = serde_json::json!({ "pid": other.id(), "start_ticks": ticks });
    let started = serde_json::json!({ "format": 1, "record": { "boot_id": "another boot", "shim": shim } });
    std::fs::write(folder(bench, &spec.key).join("started.json"), started.to_string()).unwrap();
    let seen = state(&*runtime, &spec.key).await;
    runtime.kill(&spec.key).await.unwrap();
    assert_eq!(other.try_wait().unwrap(), None, "a foreign process was killed");
    other.kill().unwrap();
    other.wait().unwrap();
    assert_eq!(seen, InstanceState::Exited { code: 137, reason: "the host restarted".to_owned() });
    runtime.start(&spec.key).await.unwrap_err();
}

async fn an_instance_with_a_damaged_specification_is_still_listed_and_killed(bench: &Bench) {
    let runtime = (bench.open)().await;
    let spec = spec(bench, "echo ready; while :; do sleep 0.05; done");
    start_ready(&*runtime, &spec).await;
    std::fs::write(folder(bench, &spec.key).join("spec.json"), "damaged").unwrap();
    let listed = runtime.list().await.unwrap();
    assert_eq!(listed.iter().map(|one| (&one.key, &one.state)).collect::<Vec<_>>(), [(&spec.key, &InstanceState::Running)]);
    runtime.kill(&spec.key).await.unwrap();
    assert_eq!(exited(&*runtime, &spec.key).await.0, 137);
}

async fn the_environment_is_exactly_the_specified_one(bench: &Bench) {
    let runtime = (bench.open)().await;
    let mut spec = spec(bench, "");
    spec.command = vec!["env".to_owned()];
    spec.environment.insert("A".to_owned(), "b".to_owned());
    runtime.create(&spec).await.unwrap();
    runtime.start(&spec.key).await.unwrap();
    assert_eq!(exited(&*runtime, &spec.key).await.0, 0);
    let mut seen: Vec<String> = logs(&*runtime, &spec.key, None).await.0.lines().map(str::to_owned).collect();
    seen.sort();
    assert_eq!(seen, ["A=b", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]);
}

async fn a_program_that_is_not_there_is_refused_with_its_reason(bench: &Bench) {
    let runtime = (bench.open)().await;
    let mut spec = spec(bench, "");
    spec.command = vec!["/no/such/program".to_owned()];
    runtime.create(&spec).await.unwrap();
    let error = runtime.start(&spec.key).await.unwrap_err();
    assert!(matches!(&error, RuntimeError::Refused { reason, .. } if reason.contains("/no/such/program")), "{error}");
    let (code, reason) = exited(&*runtime, &spec.key).await;
    assert_eq!(code, 127);
    assert!(reason.contains("/no/such/program"), "{reason}");
}

async fn a_signals_name_is_in_the_reason(bench: &Bench) {
    let runtime = (bench.open)().await;
    let spec = spec(bench, "kill -SEGV $$; sleep 60");
    runtime.create(&spec).await.unwrap();
    runtime.start(&spec.key).await.unwrap();
    assert_eq!(exited(&*runtime, &spec.key).await, (139, "killed by signal 11 (SIGSEGV)".to_owned()));
}

async fn what_cannot_work_is_refused_before_anything_is_made(bench: &Bench) {
    let runtime = (bench.open)().await;
    let good = spec(bench, "exit 0");
    let mut bad = vec![good.clone(); 7];
    bad[0].command.clear();
    bad[1].stop_signal = Some("SIGNONSENSE".to_owned());
    bad[2].key.container = "../escape".to_owned();
    bad[3].host = "another".to_owned();
    bad[4].cluster = "another".to_owned();
    bad[5].environment.insert("A=B".to_owned(), String::new());
    bad[6].key.container = "x".repeat(300);
    for spec in bad {
        let error = runtime.create(&spec).await.unwrap_err();
        assert!(matches!(error, RuntimeError::InvalidSpec { .. }) && !error.may_succeed_later(), "{error}");
    }
    assert_eq!(runtime.list().await.unwrap(), vec![]);
    runtime.create(&good).await.unwrap();
    let mut changed = good.clone();
    changed.lease += 1;
    assert!(
        matches!(runtime.create(&changed).await.unwrap_err(), RuntimeError::Refused { .. }),
        "another specification passed for the same"
    );
    assert_eq!(state(&*runtime, &good.key).await, InstanceState::Created);
}
