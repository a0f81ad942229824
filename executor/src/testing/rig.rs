//! One host with one executor at a time, on a fake control plane, a fake machine and a clock that is moved by hand.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use berth_state::ids::{BootId, HostId, Token};
use berth_state::noun::volume::{Driver, Takeover, VolumeSpec};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::control::FakeControl;
use super::runtime::FakeMachine;
use crate::clock::{HolderTime, ManualHolderClock};
use crate::error::ExecutorError;
use crate::executor::{Deps, Executor, ExecutorConfig, ExecutorHandle};
use crate::ledger::LedgerError;
use crate::random::SystemRandom;
use crate::volumes::VolumeDriver;

/// T. Keepalives come every third of it in real time; the holder's clock stands still unless moved.
pub const TTL: u64 = 10_000;
/// hold(T) - m
pub const HOLD: u64 = 9_000;
/// Longest wait for anything that must happen.
const BOUND: Duration = Duration::from_secs(20);

pub struct Rig {
    pub control: FakeControl,
    pub machine: FakeMachine,
    pub clock: ManualHolderClock,
    pub boot: BootId,
    pub data: tempfile::TempDir,
    /// Whether it is to run under a host guard: the test brings that.
    pub host_guard: bool,
    /// Off, unless a test is about it.
    pub external: crate::external::ExternalConfig,
    pub docker_socket: Option<std::path::PathBuf>,
}

pub struct Running {
    pub handle: ExecutorHandle,
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), ExecutorError>>,
}

impl Rig {
    pub fn new() -> Self {
        Self::with_ttl(TTL)
    }

    pub fn with_ttl(ttl_ms: u64) -> Self {
        Self {
            control: FakeControl::new(ttl_ms),
            machine: FakeMachine::new(),
            clock: ManualHolderClock::at(HolderTime(0).plus_ms(1_000_000)),
            boot: BootId([1; 16]),
            data: tempfile::tempdir().unwrap(),
            external: crate::external::ExternalConfig::default(),
            docker_socket: None,
            host_guard: false,
        }
    }

    pub fn ledger_folder(&self) -> std::path::PathBuf {
        self.data.path().join("ledger")
    }

    pub fn make(&self) -> Result<(Executor, ExecutorHandle), ExecutorError> {
        let config = ExecutorConfig {
            host: HostId::new("h1").unwrap(),
            endpoints: vec![],
            data: self.ledger_folder(),
            run: self.data.path().join("run"),
            docker_socket: self.docker_socket.clone(),
            process_root: None,
            // No guard of ours: it ends, and nothing comes of it.
            berth_binary: self.host_guard.then(|| "/bin/true".into()),
            register: None,
            margin_ms: 500,
            host_guard: self.host_guard,
            watchdog: None,
            external: self.external.clone(),
        };
        let driver: Arc<dyn VolumeDriver> = Arc::new(self.machine.clone());
        let deps = Deps {
            clock: Arc::new(self.clock.clone()),
            random: Arc::new(SystemRandom),
            control: Arc::new(self.control.clone()),
            runtimes: Arc::new(self.machine.clone()),
            drivers: BTreeMap::from([(Driver::Path, driver)]),
            killer: Arc::new(self.machine.clone()),
            boot: self.boot,
        };
        Executor::new(config, deps)
    }

    pub async fn start(&self) -> Running {
        // The lock goes with the process; here it goes with the last task of the former executor.
        let mut made = self.make();
        for _ in 0..200 {
            if !matches!(made, Err(ExecutorError::Ledger(LedgerError::InUse { .. }))) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
            made = self.make();
        }
        let (executor, handle) = made.unwrap();
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(executor.run(shutdown.clone()));
        Running { handle, shutdown, task }
    }

    /// Starts, and waits for the session.
    pub async fn started(&self) -> Running {
        let running = self.start().await;
        eventually("a session", || running.handle.session().is_some()).await;
        running
    }

    /// A container without volumes.
    pub fn container(&self, name: &str) {
        self.control.add_container(name, super::lease(1).spec);
    }

    /// A container with one volume of its own, a fresh directory.
    pub fn container_with_volume(&self, name: &str, volume: &str) {
        let path = self.data.path().join(volume);
        std::fs::create_dir_all(&path).unwrap();
        let spec = VolumeSpec {
            driver: Driver::Path,
            options: BTreeMap::from([("path".to_owned(), path.to_str().unwrap().to_owned())]),
            takeover: Takeover::AfterExpiry,
            coherent: true,
            lock_delay_ms: 0,
        };
        self.control.add_volume(volume, spec);
        self.control.add_container(name, super::with_volume(super::lease(1), volume, Path::new("/unused")).spec);
    }

    /// Granted, activated and running; the clock has not moved.
    pub async fn run(&self, container: &str) -> Token {
        let token = self.control.grant(container);
        let wanted = format!("{container}-{token}-1");
        eventually(&format!("{wanted} runs"), || self.machine.running().contains(&wanted)).await;
        token
    }

    pub async fn runs(&self, container: &str, token: Token, attempt: u32) {
        let wanted = format!("{container}-{token}-{attempt}");
        self.in_time(&format!("{wanted} runs"), || self.machine.running().contains(&wanted)).await;
    }

    pub async fn nothing_runs(&self) {
        self.in_time("nothing runs", || self.machine.running().is_empty()).await;
    }

    pub async fn ended(&self, token: Token) {
        self.in_time(&format!("lease {token} has ended"), || self.control.lease(token).is_none()).await;
    }

    /// Like [`eventually`], with the holder's clock running (no faster than the real one, so that renewals keep up).
    pub async fn in_time(&self, what: &str, mut holds: impl FnMut() -> bool) {
        eventually(what, || {
            self.clock.advance_ms(5);
            holds()
        })
        .await;
    }
}

impl Running {
    /// As SIGTERM does.
    pub async fn stop(self) -> Result<(), ExecutorError> {
        self.shutdown.cancel();
        self.task.await.unwrap()
    }

    /// As SIGKILL does.
    pub async fn crash(self) {
        self.task.abort();
        let _ = self.task.await;
    }

    /// It ends by itself.
    pub async fn end(self) -> Result<(), ExecutorError> {
        tokio::time::timeout(BOUND, self.task).await.unwrap().unwrap()
    }
}

/// Polls with a bound.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let looking = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(BOUND, looking).await.is_ok(), "not within {BOUND:?}: {what}");
}

/// Gives the executor so many chances to do what it must not do: its manager plans every 50 ms, and the enforcer polls every 20.
pub async fn never(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..40 {
        assert!(!holds(), "happened: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
