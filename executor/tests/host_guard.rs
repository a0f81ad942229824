//! The host guard as a real process, run by `cargo test` as a program of its own (`harness = false`): the guard is a subcommand of the berth binary, and this
//! program is its own. Needs root, control groups v2, and for one case loop devices; skipped with a printed reason where they are missing. Runs in a mount
//! namespace of its own. Everything it starts is ended and unmounted afterwards, also after a failure.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test; its clock only bounds its own waiting")]

mod host_guard_cases;

use std::panic::AssertUnwindSafe;
use std::process::{Command, ExitCode};

use berth_executor::hostguard::{HOST_GUARD_COMMAND, host_guard_main};

/// Set in the process that has mounts of its own.
const INSIDE: &str = "BERTH_TEST_OWN_MOUNTS";

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    match args.next() {
        Some(word) if word == HOST_GUARD_COMMAND => return host_guard_main(args),
        Some(word) if word == host_guard_cases::bench::PLAY_EXECUTOR => return host_guard_cases::bench::play_executor(args),
        Some(_) | None => {}
    }
    let list = std::env::args().any(|argument| argument == "--list");
    if let Some(missing) = host_guard_cases::bench::missing().filter(|_| !list) {
        println!("skipped: the host guard's tests, because {missing}");
        return ExitCode::SUCCESS;
    }
    if list || std::env::var_os(INSIDE).is_some() { run() } else { inside() }
}

/// This program again, in a mount namespace of its own.
fn inside() -> ExitCode {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "--"]).arg(std::env::current_exe().unwrap()).args(std::env::args_os().skip(1));
    let status = command.env(INSIDE, "1").status().unwrap();
    if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs the tests whose names contain the first argument that is no option; understands `--list`.
fn run() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let filter = args.iter().find(|argument| !argument.starts_with('-')).cloned().unwrap_or_default();
    let chosen: Vec<_> = host_guard_cases::all().into_iter().filter(|(name, _)| name.contains(&filter)).collect();
    if args.iter().any(|argument| argument == "--list") {
        if !args.iter().any(|argument| argument == "--ignored") {
            chosen.iter().for_each(|(name, _)| println!("{name}: test"));
        }
        return ExitCode::SUCCESS;
    }
    let (total, mut failed) = (chosen.len(), vec![]);
    for (name, body) in chosen {
        let started = std::time::Instant::now();
        let outcome = std::panic::catch_unwind(AssertUnwindSafe(body));
        let word = if outcome.is_ok() { "ok" } else { "FAILED" };
        println!("test {name} ... {word} ({} ms)", started.elapsed().as_millis());
        if outcome.is_err() {
            failed.push(name);
        }
    }
    println!("\ntest result: {} passed, {} failed {failed:?}", total - failed.len(), failed.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
