//! The executor's side of the host guard: starts it or adopts a running one, sees before each keepalive that it lives, and tells it what to do at which
//! deadline. Must never claim a lease that was granted under a guard which is not there.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use berth_state::noun::session::Guard;
use rustix::process::Signal;
use tracing::warn;

use super::entry::HOST_GUARD_COMMAND;
use super::facts::Facts;
use super::folder::RunFolder;
use super::lock::Lock;
use super::order::{Needs, Order, OrderError};
use super::status::{ADOPTED, Status};
use super::target::KillTarget;
use crate::clock::{HolderClock, HolderTime};
use crate::runtime::kill;

/// A guard that has not looked for so long does not guard.
pub const STALE_MS: u64 = 1_000;
/// A change that lasts so long is declared.
const STEADY_MS: u64 = 2_000;
/// How often and how far apart a new guard is waited for (5 s together), and the folder's lock (1 s).
const TRIES: u32 = 500;
const ATTACH_TRIES: u32 = 100;
/// And a silent guard, before it is killed (0.2 s).
const PATIENT_TRIES: u32 = 20;
const TRY_EVERY: Duration = Duration::from_millis(10);
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What the operator sets.
#[derive(Clone, Debug)]
pub struct HostGuardConfig {
    pub run: PathBuf,
    /// A program that calls [`super::host_guard_main`] for its subcommand `host-guard`: the berth binary itself.
    pub berth_binary: PathBuf,
    pub watchdog: Option<WatchdogConfig>,
    /// m of this executor: what kill and cut may take.
    pub margin_ms: u64,
}

#[derive(Clone, Debug)]
pub struct WatchdogConfig {
    pub device: PathBuf,
    /// `None`: the guard's default.
    pub timeout_s: Option<u32>,
}

#[derive(Debug, thiserror::Error)]
pub enum HostGuardError {
    #[error("cannot {action}")]
    Io {
        action: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("the host guard did not begin to look within {ms} ms: {why}; see {log}")]
    NotReady { ms: u64, why: Unwell, log: PathBuf },
}

/// How the guard is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    Well(Status),
    Unwell(Unwell),
}

/// Why there is no guard that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unwell {
    #[error("there is none")]
    Missing,
    #[error("its process has ended")]
    Ended,
    #[error("its process cannot be seen")]
    Unseen,
    #[error("it is of a version that this executor does not work with")]
    Version,
    #[error("it has other mounts than this executor: a mount made from here is none there")]
    OtherMounts,
    #[error("it has not looked for too long")]
    Silent,
}

pub struct HostGuardClient {
    pub(super) config: HostGuardConfig,
    run: RunFolder,
    clock: Arc<dyn HolderClock>,
    _attached: Lock,
    state: Mutex<State>,
}

struct State {
    orders: BTreeMap<u64, Order>,
    /// What the session of the moment was opened with.
    declared: Needs,
    /// Since when something else is there than was declared.
    changed: Option<HolderTime>,
}

impl HostGuardClient {
    /// Starts nothing yet.
    ///
    /// # Errors
    /// The run folder cannot be made or locked.
    pub fn new(config: HostGuardConfig, clock: Arc<dyn HolderClock>) -> Result<Self, HostGuardError> {
        let failed = |source| HostGuardError::Io { action: "make the run folder", source };
        let run = RunFolder::make(&config.run).map_err(failed)?;
        let attached = attach(&run).map_err(|source| HostGuardError::Io { action: "lock the run folder", source })?;
        let state = Mutex::new(State { orders: BTreeMap::new(), declared: Needs::Nothing, changed: None });
        Ok(Self { config, run, clock, _attached: attached, state })
    }

    /// By the clock as it is now.
    #[must_use]
    pub fn health(&self) -> Health {
        let Some(status) = Status::read(&self.run.status()) else { return Health::Unwell(Unwell::Missing) };
        match status.lives() {
            Ok(true) => {}
            Ok(false) => return Health::Unwell(Unwell::Ended),
            Err(_) => return Health::Unwell(Unwell::Unseen),
        }
        if !ADOPTED.contains(&status.protocol) {
            return Health::Unwell(Unwell::Version);
        }
        match same_mounts(status.pid) {
            Ok(true) => {}
            Ok(false) => return Health::Unwell(Unwell::OtherMounts),
            Err(_) => return Health::Unwell(Unwell::Unseen),
        }
        let silent_ms = self.clock.now().0.saturating_sub(status.last_look_ns) / 1_000_000;
        if silent_ms > STALE_MS { Health::Unwell(Unwell::Silent) } else { Health::Well(status) }
    }

    /// What may be declared now.
    #[must_use]
    pub fn level(&self) -> Option<Guard> {
        match self.health() {
            Health::Well(status) if status.watchdog.is_some_and(|watchdog| watchdog.fits) => Some(Guard::Watchdog),
            Health::Well(_) => Some(Guard::HostProcess),
            Health::Unwell(_) => None,
        }
    }

    /// Adopts the guard that is there, or sees to it that there is one. Blocks, some seconds at most. The one that was there is killed only when it hangs: a
    /// living one of another version is asked to hand over.
    ///
    /// # Errors
    /// [`HostGuardError`]: there is none now.
    pub fn ensure(&self) -> Result<Status, HostGuardError> {
        match self.health() {
            Health::Well(status) => return Ok(status),
            Health::Unwell(Unwell::Silent) => {
                // A host that was frozen or suspended wakes us all at once, and perhaps us first.
                if let Some(status) = self.speaks_up() {
                    return Ok(status);
                }
                self.end_the_silent_one()?;
            }
            // Nobody, or one that hands over.
            Health::Unwell(Unwell::Missing | Unwell::Ended | Unwell::Unseen | Unwell::Version | Unwell::OtherMounts) => {}
        }
        let starter = self.start().map_err(|source| HostGuardError::Io { action: "start the host guard", source })?;
        self.until_well(starter)
    }

    #[allow(clippy::disallowed_methods, reason = "called on a thread that may block; a process elsewhere offers nothing to wait for")]
    fn speaks_up(&self) -> Option<Status> {
        (0..PATIENT_TRIES).find_map(|_| {
            std::thread::sleep(TRY_EVERY);
            match self.health() {
                Health::Well(status) => Some(status),
                Health::Unwell(_) => None,
            }
        })
    }

    /// Stopped, starved or stuck: what it does not do another one will.
    fn end_the_silent_one(&self) -> Result<(), HostGuardError> {
        let Some(status) = Status::read(&self.run.status()) else { return Ok(()) };
        warn!(pid = status.pid, "the host guard hangs: killing it");
        let killed = kill::signal(status.pid, status.start_ticks, Signal::KILL);
        killed.map(drop).map_err(|source| HostGuardError::Io { action: "kill a host guard that hangs", source })
    }

    fn start(&self) -> io::Result<Child> {
        let log = OpenOptions::new().create(true).append(true).mode(0o600).open(self.run.log())?;
        let mut command = Command::new(&self.config.berth_binary);
        // To take over is right in any case: whoever is there is of another version, or ending.
        command.arg(HOST_GUARD_COMMAND).arg("--run").arg(self.run.path()).arg("--take-over");
        if let Some(watchdog) = &self.config.watchdog {
            command.arg("--watchdog").arg(&watchdog.device);
            if let Some(seconds) = watchdog.timeout_s {
                command.arg("--watchdog-timeout").arg(seconds.to_string());
            }
        }
        command.env_clear().env("PATH", PATH).current_dir("/").stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()
    }

    #[allow(clippy::disallowed_methods, reason = "called on a thread that may block; a process elsewhere offers nothing to wait for")]
    fn until_well(&self, mut starter: Child) -> Result<Status, HostGuardError> {
        let mut why = Unwell::Missing;
        let mut reaped = false;
        for _ in 0..TRIES {
            reaped = reaped || starter.try_wait().is_ok_and(|ended| ended.is_some());
            match self.health() {
                Health::Well(status) if reaped => return Ok(status),
                Health::Well(_) => {}
                Health::Unwell(reason) => why = reason,
            }
            std::thread::sleep(TRY_EVERY);
        }
        if !reaped {
            let _ = starter.kill();
            let _ = starter.wait();
        }
        let ms = u64::try_from(TRY_EVERY.as_millis()).unwrap_or(0) * u64::from(TRIES);
        Err(HostGuardError::NotReady { ms, why, log: self.run.log() })
    }

    /// The session is about to be opened with this.
    pub fn declare(&self, guard: Guard) {
        let mut state = self.lock();
        (state.declared, state.changed) = (guard.into(), None);
    }

    /// Whether something else is there, for a while now, than the session was opened with: it is to be opened anew. Without that a host would be given leases
    /// that it does not claim, or not those it could hold.
    #[must_use]
    pub fn is_outdated(&self) -> bool {
        let (there, now) = (self.level().map_or(Needs::Nothing, Needs::from), self.clock.now());
        let mut state = self.lock();
        if there == state.declared {
            state.changed = None;
            return false;
        }
        now.ms_since(*state.changed.get_or_insert(now)) >= STEADY_MS
    }

    /// Whether `token` may be claimed now: what it was granted under is there.
    #[must_use]
    pub fn may_claim(&self, token: u64) -> bool {
        let needs = {
            let state = self.lock();
            // One that is not ordered yet was granted under what this session had declared.
            state.orders.get(&token).map_or(state.declared, |order| order.needs)
        };
        let there = match needs {
            Needs::Nothing => return true,
            Needs::HostGuard | Needs::Watchdog => self.level().map(Needs::from),
        };
        there.is_some_and(|there| there >= needs)
    }

    /// Before anything is attached: what is to be cut under this token. The instances come later, by [`Self::aim`].
    ///
    /// # Errors
    /// It is not written: nothing may be attached.
    pub fn order(&self, mut order: Order) -> Result<(), OrderError> {
        order.margin_ms = order.margin_ms.saturating_add(self.config.margin_ms);
        let mut state = self.lock();
        if let Some(former) = state.orders.get(&order.token) {
            order.kills.clone_from(&former.kills);
        }
        order.write(&self.run)?;
        state.orders.insert(order.token, order);
        Ok(())
    }

    /// Before an instance is started, and again when it runs: whom to kill. In place of those before.
    ///
    /// # Errors
    /// It is not written: nothing may be started.
    pub fn aim(&self, token: u64, kills: Vec<KillTarget>) -> Result<(), OrderError> {
        let mut state = self.lock();
        let Some(order) = state.orders.get_mut(&token) else { return Ok(()) };
        let next = Order { kills, ..order.clone() };
        next.write(&self.run)?;
        *order = next;
        Ok(())
    }

    /// Nothing is to be killed or cut under `token` any more.
    ///
    /// # Errors
    /// It is not written: the guard would do what it was told before.
    pub fn discharge(&self, token: u64) -> Result<(), OrderError> {
        let mut state = self.lock();
        let Some(order) = state.orders.get_mut(&token).filter(|order| !order.kills.is_empty() || !order.cuts.is_empty()) else {
            return Ok(());
        };
        let next = Order { kills: vec![], cuts: vec![], ..order.clone() };
        next.write(&self.run)?;
        *order = next;
        Ok(())
    }

    /// After a restart: the order that an earlier executor wrote goes on as it is; `fresh` stands in where there is none.
    ///
    /// # Errors
    /// It can be neither read nor written.
    pub fn adopt(&self, fresh: Order) -> Result<(), OrderError> {
        let token = fresh.token;
        if let Ok(Some(order)) = Order::read(&self.run, token) {
            self.lock().orders.insert(token, order);
            return Ok(());
        }
        let kills = fresh.kills.clone();
        self.order(fresh)?;
        self.aim(token, kills)
    }

    /// The lease is released: its folder goes.
    pub fn forget(&self, token: u64) {
        self.lock().orders.remove(&token);
    }

    /// What the guard did for `token`, if it had to.
    #[must_use]
    pub fn facts(&self, token: u64) -> Option<Facts> {
        Facts::read(&self.run, token)
    }

    #[must_use]
    pub fn run_folder(&self) -> &RunFolder {
        &self.run
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is one insert or remove.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether this process and that one see the same mounts.
fn same_mounts(pid: u32) -> io::Result<bool> {
    Ok(std::fs::read_link(format!("/proc/{pid}/ns/mnt"))? == std::fs::read_link("/proc/self/ns/mnt")?)
}

/// A guard that just looks whether anybody is there has the lock for a moment.
#[allow(
    clippy::disallowed_methods,
    reason = "start of the process, before the async runtime has anything to do; the time only bounds a wait"
)]
fn attach(run: &RunFolder) -> io::Result<Lock> {
    for _ in 0..ATTACH_TRIES {
        if let Some(lock) = Lock::sole(&run.attached())? {
            return Ok(lock);
        }
        std::thread::sleep(TRY_EVERY);
    }
    let text = format!("another executor uses {}: give each one of its own (--run)", run.path().display());
    Err(io::Error::new(io::ErrorKind::WouldBlock, text))
}
