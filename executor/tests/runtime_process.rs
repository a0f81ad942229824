//! The process runtime under test, run by `cargo test` as a program of its own (`harness = false`): the runtime needs a binary with
//! the subcommand `shim` that is single-threaded when it starts, and this one is its own. So no other binary has to be built first
//! and none can be stale.
//!
//! As root: all conformance cases in pid namespaces and cgroups, the cases about root's enforcement, and then this program again as
//! an ordinary user. As an ordinary user: all conformance cases with what the machine allows (user namespaces), and with process
//! groups only.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test; its clock only measures and bounds its own waiting")]

mod guard_support;
mod runtime_conformance;
mod runtime_process_cases;

use std::panic::AssertUnwindSafe;
use std::process::ExitCode;

use berth_executor::runtime::process::{SHIM_COMMAND, shim_main};

use runtime_process_cases::bench::Mode;

/// One test of this program.
struct Test {
    name: String,
    body: Box<dyn FnOnce()>,
}

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    match args.next() {
        Some(word) if word == SHIM_COMMAND => return shim_main(args),
        Some(word) if word == runtime_process_cases::survival::PLAY_EXECUTOR => {
            return runtime_process_cases::survival::play_executor(args);
        }
        Some(_) | None => {}
    }
    let root = rustix::process::geteuid().is_root();
    let mut tests = vec![];
    if root {
        tests.extend(runtime_process_cases::tests(Mode::Strongest));
        tests.push(Test { name: "ordinary_user".to_owned(), body: Box::new(runtime_process_cases::bench::run_again_as_ordinary_user) });
    } else {
        println!("skipped: pid namespaces and cgroups without a user namespace, because this is not root");
        tests.extend(runtime_process_cases::tests(Mode::Strongest));
        tests.extend(runtime_process_cases::tests(Mode::ProcessGroups));
    }
    run(tests)
}

/// Runs the tests whose names contain the first argument that is no option; understands `--list`.
fn run(tests: Vec<Test>) -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let filter = args.iter().find(|argument| !argument.starts_with('-')).cloned().unwrap_or_default();
    let chosen: Vec<Test> = tests.into_iter().filter(|test| test.name.contains(&filter)).collect();
    if args.iter().any(|argument| argument == "--list") {
        chosen.iter().for_each(|test| println!("{}: test", test.name));
        return ExitCode::SUCCESS;
    }
    let total = chosen.len();
    let mut failed = vec![];
    for test in chosen {
        let started = std::time::Instant::now();
        let outcome = std::panic::catch_unwind(AssertUnwindSafe(test.body));
        let word = if outcome.is_ok() { "ok" } else { "FAILED" };
        println!("test {} ... {word} ({} ms)", test.name, started.elapsed().as_millis());
        if outcome.is_err() {
            failed.push(test.name);
        }
    }
    println!("\ntest result: {} passed, {} failed {failed:?}", total - failed.len(), failed.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
