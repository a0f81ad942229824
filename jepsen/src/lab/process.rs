//! One program in a machine of the lab. Made by `Machine::spawn`; must never signal a process that it has already reaped, because
//! its pid may belong to another by then.

use crate::lab::poll::wait_until;
use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const KILL_BOUND: Duration = Duration::from_secs(10);

/// How a program starts: command, arguments, environment, log file. The environment is only what is said here plus PATH, HOME
/// and LANG; the current directory is `/`.
#[derive(Debug, Clone)]
pub struct Launch {
    pub(super) command: OsString,
    pub(super) args: Vec<OsString>,
    pub(super) env: Vec<(OsString, OsString)>,
    pub(super) log: Option<PathBuf>,
}

impl Launch {
    /// `command` is an absolute path or is looked up in PATH.
    pub fn new(command: impl AsRef<OsStr>) -> Self {
        Self { command: command.as_ref().to_owned(), args: Vec::new(), env: Vec::new(), log: None }
    }

    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(|a| a.as_ref().to_owned()));
        self
    }

    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((key.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Where stdout and stderr are appended. Without it: `<name>.log` in the machine's log folder.
    pub fn log(mut self, file: impl Into<PathBuf>) -> Self {
        self.log = Some(file.into());
        self
    }
}

/// A program that runs, or ran, in a machine. Dropping it kills the program (unless the lab is kept).
#[derive(Debug)]
pub struct LabProcess {
    name: String,
    pid: i32,
    log: PathBuf,
    pub(super) child: Arc<Mutex<Child>>,
    kept: Arc<AtomicBool>,
}

impl LabProcess {
    pub(super) fn new(name: &str, child: Child, log: PathBuf, kept: Arc<AtomicBool>) -> Result<Self> {
        let pid = i32::try_from(child.id()).context("pid beyond i32")?;
        Ok(Self { name: name.to_string(), pid, log, child: Arc::new(Mutex::new(child)), kept })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The pid in the root namespace. Valid while the process lives.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// The last `lines` lines of its output, for a failure's message.
    pub fn log_tail(&self, lines: usize) -> String {
        tail(&self.log, lines)
    }

    pub fn is_alive(&self) -> bool {
        matches!(lock(&self.child).try_wait(), Ok(None))
    }

    /// Sends a signal; false when the process had ended before.
    pub fn signal(&self, signal: Signal) -> Result<bool> {
        let mut child = lock(&self.child);
        // Not reaped yet, so the pid is still its own, and the lock keeps it so until the signal is sent.
        if child.try_wait()?.is_some() {
            return Ok(false);
        }
        let pid = Pid::from_raw(self.pid).context("pid 0")?;
        kill_process(pid, signal).with_context(|| format!("cannot signal {} (pid {})", self.name, self.pid))?;
        Ok(true)
    }

    pub fn terminate(&self) -> Result<bool> {
        self.signal(Signal::TERM)
    }

    /// `kill -9`, and waits until the process is gone. A process in a frozen machine does not go: thaw first.
    pub fn kill9(&self) -> Result<ExitStatus> {
        self.signal(Signal::KILL)?;
        self.wait(KILL_BOUND)
    }

    /// Waits for the end, at most `bound`; the error carries the last lines of the log.
    pub fn wait(&self, bound: Duration) -> Result<ExitStatus> {
        let mut status = None;
        let waited = wait_until(&format!("the end of {} (pid {})", self.name, self.pid), bound, || {
            status = lock(&self.child).try_wait()?;
            Ok(status.is_some())
        });
        match (waited, status) {
            (Ok(_), Some(status)) => Ok(status),
            (Ok(_), None) => bail!("{} ended without a status", self.name),
            (Err(e), _) => Err(e.context(self.log_tail(30))),
        }
    }

    /// SIGTERM, then SIGKILL after `grace`. True when it went by itself.
    pub fn stop(&self, grace: Duration) -> Result<bool> {
        self.terminate()?;
        if self.wait(grace).is_ok() {
            return Ok(true);
        }
        self.kill9()?;
        Ok(false)
    }
}

impl Drop for LabProcess {
    fn drop(&mut self) {
        if !self.kept.load(Ordering::Relaxed) {
            let _ = self.kill9();
        }
    }
}

/// A panicking test thread poisons locks, and the teardown after it must go on all the same.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn tail(file: &Path, lines: usize) -> String {
    let bytes = std::fs::read(file).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
