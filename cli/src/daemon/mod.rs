//! The daemons' command lines, and what both need: a runtime, logs on standard error, the signal to stop. [`server`], [`executor`].

#[cfg(feature = "executor")]
pub mod executor;
#[cfg(feature = "server")]
pub mod server;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::exit::Exit;
use crate::output::say;

/// For what still blocks a thread when everything else has ended.
const FAREWELL: Duration = Duration::from_secs(2);

/// Runs a daemon to its end, as [`run_unlogged`] does. Logs go to standard error, `BERTH_LOG` says which (as in `info` or `berth_raft=debug`).
pub fn run<F>(daemon: F) -> ExitCode
where
    F: Future<Output = anyhow::Result<()>>,
{
    log();
    run_unlogged(daemon)
}

/// Runs something with an async runtime and threads of its own to its end; what it has to say it says itself.
pub fn run_unlogged<F>(daemon: F) -> ExitCode
where
    F: Future<Output = anyhow::Result<()>>,
{
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => {
            let result = runtime.block_on(daemon);
            runtime.shutdown_timeout(FAREWELL);
            end(result)
        }
        Err(error) => end(Err(anyhow::Error::new(error).context("no async runtime"))),
    }
}

/// Cancelled by the first SIGTERM or SIGINT from now on.
///
/// # Errors
/// The signals cannot be listened for.
fn stop_on_signal() -> anyhow::Result<CancellationToken> {
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.cancel();
    });
    Ok(shutdown)
}

/// The exit code, and the error on standard error.
pub fn end(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => Exit::Ok.into(),
        Err(error) => {
            say(&format!("berth: {error:#}"));
            Exit::Error.into()
        }
    }
}

fn log() {
    let filter = EnvFilter::builder().with_env_var("BERTH_LOG").try_from_env().unwrap_or_else(|_| EnvFilter::new("info,openraft=error"));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    // Somebody who set a subscriber before us has his reasons.
    let _ = logs.try_init();
}
