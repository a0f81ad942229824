//! Ctrl-C and SIGTERM for a run that owns a lab: a flag that every wait looks at, so that the run ends by returning and takes its machines down. Called by
//! the run; must never end the process itself.

use crate::lab::wait_until;
use anyhow::{Context, Result, bail};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

static ASKED: AtomicBool = AtomicBool::new(false);

/// Begins to listen. Until it is called signals end the process as usual; the next lab then sweeps up.
pub(super) fn listen() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot listen for Ctrl-C")?;
    thread::spawn(move || {
        runtime.block_on(async {
            let listening = |kind| signal(kind);
            let (Ok(mut int), Ok(mut term)) = (listening(SignalKind::interrupt()), listening(SignalKind::terminate())) else { return };
            loop {
                either(&mut int, &mut term).await;
                ASKED.store(true, Ordering::Relaxed);
                eprintln!("compare: asked to stop; taking the machines down");
            }
        });
    });
    Ok(())
}

async fn either(int: &mut Signal, term: &mut Signal) {
    tokio::select! {
        _ = int.recv() => {}
        _ = term.recv() => {}
    }
}

pub(super) fn asked() -> bool {
    ASKED.load(Ordering::Relaxed)
}

pub(super) fn check() -> Result<()> {
    if asked() {
        bail!("interrupted");
    }
    Ok(())
}

/// Waits for `done`; gives up after `bound`, and at once when asked to stop.
pub(super) fn until(what: &str, bound: Duration, mut done: impl FnMut() -> Result<bool>) -> Result<Duration> {
    wait_until(what, bound, || {
        check()?;
        done()
    })
}
