//! What the parts of an executor share: the seams, the enforcer, the ledger, and the session of the moment. Made by `executor`; holds no rule.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use berth_state::ids::{BootId, ClusterId, HostId, Incarnation, SessionId};
use berth_state::noun::volume::Driver;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::clock::HolderClock;
use crate::control::ControlPlane;
use crate::enforcer::Enforcer;
use crate::hostguard::HostGuardClient;
use crate::ledger::Ledger;
use crate::pages::Pages;
use crate::random::Random;
use crate::runtimes::Runtimes;
use crate::suspicions::Suspicions;
use crate::volumes::VolumeDriver;

/// The session as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Current {
    pub cluster: ClusterId,
    pub incarnation: Incarnation,
    pub session: SessionId,
    pub ttl_ms: u64,
    pub fence_after_ms: u64,
}

/// What steps work with. Shared by all.
pub struct Context {
    pub host: HostId,
    pub clock: Arc<dyn HolderClock>,
    pub random: Arc<dyn Random>,
    pub control: Arc<dyn ControlPlane>,
    pub enforcer: Enforcer,
    pub ledger: Ledger,
    pub runtimes: Runtimes,
    pub drivers: BTreeMap<Driver, Arc<dyn VolumeDriver>>,
    pub session: watch::Receiver<Option<Current>>,
    pub boot: BootId,
    pub tasks: StepTasks,
    /// `None`: this executor runs without a host guard.
    pub host_guard: Option<Arc<HostGuardClient>>,
    pub pages: Pages,
    /// The guard's program on this host.
    pub guard_binary: PathBuf,
    pub suspicions: Suspicions,
}

/// The tasks of steps under way, so that the end of the process can wait for them or cut them off.
#[derive(Debug, Default)]
pub struct StepTasks {
    cut_off: CancellationToken,
    /// Each task holds a receiver.
    alive: watch::Sender<()>,
}

impl StepTasks {
    /// Runs `step` as a task of its own.
    pub fn spawn(&self, step: impl Future<Output = ()> + Send + 'static) {
        let (cut_off, alive) = (self.cut_off.clone(), self.alive.subscribe());
        tokio::spawn(async move {
            let _ = cut_off.run_until_cancelled(step).await;
            drop(alive);
        });
    }

    /// Returns when none is under way, or `at_most` has passed.
    pub async fn ended(&self, at_most: Duration) {
        let _ = tokio::time::timeout(at_most, self.alive.closed()).await;
    }

    /// Ends them where they stand.
    pub fn cut_off(&self) {
        self.cut_off.cancel();
    }

    /// Ends them with the guard: also when the executor itself is cut off.
    pub fn guard(&self) -> DropGuard {
        self.cut_off.clone().drop_guard()
    }
}
