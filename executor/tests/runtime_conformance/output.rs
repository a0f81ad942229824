//! Cases about what comes out of an instance: exec and logs. Called through `cases` only.

use std::time::{Duration, Instant};

use berth_executor::runtime::{LogOptions, RuntimeError};
use futures::StreamExt;

use super::{BOUND, Bench, eventually, exited, logs, processes_with, spec, start_ready, unique};

const FOR_EVER: &str = "echo ready; while :; do sleep 0.05; done";

fn shell(script: &str) -> Vec<String> {
    ["/bin/sh", "-c", script].map(str::to_owned).to_vec()
}

pub async fn exec_gives_code_and_output(bench: &Bench) {
    let runtime = (bench.open)().await;
    let mut spec = spec(bench, FOR_EVER);
    spec.environment.insert("GREETING".to_owned(), "from the spec".to_owned());
    start_ready(&*runtime, &spec).await;
    let failed = runtime.exec(&spec.key, &shell("echo \"$GREETING\"; echo to stderr >&2; exit 5"), BOUND).await.unwrap();
    assert_eq!(failed.code, 5);
    assert!(failed.output.contains("from the spec\n") && failed.output.contains("to stderr\n"), "{:?}", failed.output);
    let fine = runtime.exec(&spec.key, &shell("exit 0"), BOUND).await.unwrap();
    assert_eq!((fine.code, fine.output.as_str()), (0, ""));
    let missing = runtime.exec(&spec.key, &["/no/such/program".to_owned()], BOUND).await;
    assert!(missing.is_err() || missing.is_ok_and(|output| output.code != 0), "a program that is not there did not fail");
}

pub async fn exec_output_is_cut_at_4_kib(bench: &Bench) {
    let runtime = (bench.open)().await;
    let spec = spec(bench, FOR_EVER);
    start_ready(&*runtime, &spec).await;
    let script = "n=0; while [ $n -lt 2000 ]; do echo 0123456789012345678901234567890123456789; n=$((n+1)); done; exit 6";
    let output = runtime.exec(&spec.key, &shell(script), BOUND).await.unwrap();
    assert_eq!(output.code, 6, "the command was hindered by the limit");
    assert!(output.output.len() <= 4096 && output.output.len() > 3000, "{} bytes", output.output.len());
}

pub async fn exec_kills_the_command_at_its_timeout(bench: &Bench) {
    let runtime = (bench.open)().await;
    let spec = spec(bench, FOR_EVER);
    start_ready(&*runtime, &spec).await;
    let marker = unique();
    let started = Instant::now();
    let result = runtime.exec(&spec.key, &["sleep".to_owned(), marker.to_string()], Duration::from_millis(700)).await;
    assert!(matches!(result, Err(RuntimeError::ExecTimeout { .. })), "{result:?}");
    assert!(started.elapsed() < BOUND);
    eventually("the command is killed", || async { processes_with(marker) == 0 }).await;
}

pub async fn exec_needs_a_running_instance(bench: &Bench) {
    let runtime = (bench.open)().await;
    let spec = spec(bench, "exit 0");
    runtime.exec(&spec.key, &shell("exit 0"), BOUND).await.unwrap_err();
    runtime.create(&spec).await.unwrap();
    runtime.exec(&spec.key, &shell("exit 0"), BOUND).await.unwrap_err();
    runtime.start(&spec.key).await.unwrap();
    exited(&*runtime, &spec.key).await;
    runtime.exec(&spec.key, &shell("exit 0"), BOUND).await.unwrap_err();
}

pub async fn logs_keep_both_streams_apart(bench: &Bench) {
    let runtime = (bench.open)().await;
    let spec = spec(bench, "echo one; echo two >&2; echo three; printf 'no newline at the end'");
    runtime.create(&spec).await.unwrap();
    runtime.start(&spec.key).await.unwrap();
    exited(&*runtime, &spec.key).await;
    let expected = ("one\nthree\nno newline at the end".to_owned(), "two\n".to_owned());
    assert_eq!(logs(&*runtime, &spec.key, None).await, expected);
    assert_eq!(logs(&*(bench.open)().await, &spec.key, None).await, expected, "another runtime object reads the same");
}

pub async fn logs_tail_gives_the_last_lines(bench: &Bench) {
    let runtime = (bench.open)().await;
    let spec = spec(bench, "n=1; while [ $n -le 50 ]; do echo line $n; n=$((n+1)); done");
    runtime.create(&spec).await.unwrap();
    runtime.start(&spec.key).await.unwrap();
    exited(&*runtime, &spec.key).await;
    assert_eq!(logs(&*runtime, &spec.key, Some(2)).await.0, "line 49\nline 50\n");
    assert_eq!(logs(&*runtime, &spec.key, Some(0)).await.0, "");
    assert_eq!(logs(&*runtime, &spec.key, Some(1000)).await.0.lines().count(), 50);
}

pub async fn logs_follow_delivers_live_and_ends_with_the_instance(bench: &Bench) {
    let runtime = (bench.open)().await;
    let spec = spec(bench, "echo old; echo ready; while [ ! -e go ]; do sleep 0.05; done; echo last words; exit 0");
    start_ready(&*runtime, &spec).await;
    let mut stream = runtime.logs(&spec.key, LogOptions { follow: true, tail_lines: Some(1) }).await.unwrap();
    let mut seen = String::new();
    while !seen.contains('\n') {
        seen.push_str(&next(&mut stream).await.expect("a running instance's log goes on"));
    }
    assert_eq!(seen, "ready\n");
    runtime.exec(&spec.key, &["touch", "go"].map(str::to_owned), BOUND).await.unwrap();
    while let Some(text) = next(&mut stream).await {
        seen.push_str(&text);
    }
    assert_eq!(seen, "ready\nlast words\n");
}

async fn next(
    stream: &mut (impl futures::Stream<Item = Result<berth_executor::runtime::LogChunk, RuntimeError>> + Unpin),
) -> Option<String> {
    let chunk = tokio::time::timeout(BOUND, stream.next()).await.expect("the log neither delivers nor ends")?;
    Some(String::from_utf8(chunk.unwrap().data).unwrap())
}
