//! The guard: the first process of every instance. Runs hooks and command as long as the lease lives, and ends everything at its deadline. It is linked
//! statically and asks nobody: neither executor nor engine has to be alive. Must never start anything under a lease that is over, nor wait for anything
//! (a program that hangs in its start, a full log pipe) without watching the deadline.
//!
//! - [`watch`]: the loop that watches a child and the deadline. [`spawn`]: starting a child without waiting for it. [`hooks`]: what comes before the command.
//! - [`sweep`]: killing what is left. [`sys`]: signals. [`say`]: words for people.

mod hooks;
mod say;
mod spawn;
mod sweep;
mod sys;
mod watch;

use std::ffi::OsString;

use berth_guard::arguments::Arguments;
use berth_guard::exit;
use berth_guard::page::PageReader;
use berth_guard::status::{Phase, StatusWriter};

use hooks::Hooks;
use say::say;
use watch::{Ended, Guard};

fn main() {
    // First of all: whatever arrives from here on is taken in turn, and kept for the command until there is one.
    let mask = sys::block_signals();
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    if words == ["--version"] {
        println!("berth-guard {}", env!("CARGO_PKG_VERSION"));
        return;
    }
    let code = match Arguments::parse(words) {
        Ok(arguments) => guard(&arguments, mask),
        Err(error) => {
            say(&format!("{error}; this program is for berth's own use"));
            exit::REFUSED
        }
    };
    sys::exit(code)
}

fn guard(arguments: &Arguments, mask: sys::Mask) -> u8 {
    let status = arguments.status.as_ref().and_then(|path| {
        let opened = StatusWriter::open(path);
        opened.inspect_err(|error| say(&format!("cannot write the status file {}: {error}", path.display()))).ok()
    });
    let page = match PageReader::open(&arguments.page, arguments.token) {
        Ok(page) => page,
        Err(error) => {
            say(&format!("nothing is started: {}", say::chain(&error)));
            tell(status.as_ref(), Phase::Refused);
            return exit::REFUSED;
        }
    };
    let mut guard = Guard::new(page, status, mask);
    if guard.is_over() {
        say(&format!("nothing is started: the lease with token {} is over", arguments.token));
        guard.tell(Phase::Refused);
        return exit::REFUSED;
    }
    guard.tell(Phase::Starting);
    match guard.run_hooks(&arguments.hooks) {
        Hooks::Passed => {}
        Hooks::Failed(kind, failure) => {
            guard.tell(Phase::HookFailed(kind, failure));
            return exit::HOOK_FAILED;
        }
        Hooks::DeadlinePassed => return guard.end_at_deadline(),
    }
    match guard.run_command(&arguments.command) {
        Ended::DeadlinePassed => guard.end_at_deadline(),
        Ended::TimedOut | Ended::Nothing => unreachable!("a command has no time limit"),
        Ended::With(end) => {
            let (phase, code) = end.for_command();
            guard.tell(phase);
            guard.sweep_at_end();
            code
        }
    }
}

fn tell(status: Option<&StatusWriter>, phase: Phase) {
    if let Some(status) = status {
        status.tell(phase);
    }
}
