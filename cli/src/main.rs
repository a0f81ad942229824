//! The one binary `berth`: client commands, control node, executor, demo. A tour of its modules.
//!
//! - [`cli`]: the command line as a whole; start here. [`config`]: where settings come from. [`exit`], [`failure`]: how a command ends.
//! - [`client`]: talk with the control nodes. [`noun`], [`view`]: the commands, one file for a noun. [`wait`]: `--wait`. [`context`]: what they share.
//! - [`parse`], [`output`]: texts in, texts out. [`proof`]: the history checked from outside.
//! - [`daemon`]: `berth server`, `berth executor`; [`demo`]: `berth demo`. Without features `server` and `executor` only the client is left.

mod cli;
mod client;
mod config;
mod context;
#[cfg(any(feature = "server", feature = "executor"))]
mod daemon;
#[cfg(all(feature = "server", feature = "executor"))]
mod demo;
mod exit;
mod failure;
mod noun;
mod output;
mod parse;
mod proof;
mod view;
mod wait;

use std::process::ExitCode;

fn main() -> ExitCode {
    // Before any thread or runtime: a user namespace can be entered by a single-threaded process only.
    #[cfg(feature = "executor")]
    if let Some(code) = daemon::executor::hidden(std::env::args_os().skip(1)) {
        return code;
    }
    cli::main()
}
