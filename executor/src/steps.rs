//! Carries single steps out. Each runs as a task of its own, so that one hanging mount or container holds up nothing else. After every await that leads
//! towards a start the right is asked again, by the clock as it is then (I11). Must never report something dead or flushed that it has not seen so.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use berth_state::ids::{BootId, HostId, Token, VolumeId};
use berth_state::noun::lease::{Exit, Lease, LeasedVolume};
use berth_state::noun::session::Cut;
use berth_state::noun::volume::Driver;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::info;

use crate::clock::HolderClock;
use crate::control::ControlPlane;
use crate::deadline::Right;
use crate::enforcer::Enforcer;
use crate::instance::instance_spec;
use crate::ledger::{Ledger, LedgerError, MountedVolume, Record};
use crate::plan::Step;
use crate::random::Random;
use crate::runtime::{InstanceKey, InstanceState, Runtime, RuntimeError};
use crate::runtimes::Runtimes;
use crate::session::Current;
use crate::volumes::{VolumeDriver, VolumeError, VolumeRequest, fence_file};
use crate::workload::Workload;

/// Why a step did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    #[error("there is no right to act now")]
    NoRight,
    #[error("{reason}")]
    Failed { reason: String, may_succeed_later: bool },
    /// Fatal for the process.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl From<RuntimeError> for StepError {
    fn from(error: RuntimeError) -> Self {
        let may_succeed_later = error.may_succeed_later();
        Self::Failed { reason: with_causes(&error), may_succeed_later }
    }
}

impl From<VolumeError> for StepError {
    fn from(error: VolumeError) -> Self {
        Self::Failed { reason: with_causes(&error), may_succeed_later: true }
    }
}

impl StepError {
    pub(crate) fn failed(reason: impl Into<String>) -> Self {
        Self::Failed { reason: reason.into(), may_succeed_later: true }
    }
}

/// An error with what caused it, in one line: it is shown through the lease.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(lower) = cause {
        text = format!("{text}: {lower}");
        cause = lower.source();
    }
    text
}

/// How a step ended.
#[derive(Debug)]
pub enum StepDone {
    Prepared(Result<(), StepError>),
    Launched(Result<(), StepError>),
    Killed(Result<(), StepError>),
    /// With its exit, where the runtime knows it.
    Stopped(Result<Option<Exit>, StepError>),
    Unmounted(Result<(), StepError>),
    Released(Result<(), StepError>),
}

impl StepDone {
    /// The ledger error that ends the process, if that is how it ended.
    pub fn fatal(self) -> Result<Self, LedgerError> {
        match self {
            Self::Prepared(Err(StepError::Ledger(error)))
            | Self::Launched(Err(StepError::Ledger(error)))
            | Self::Killed(Err(StepError::Ledger(error)))
            | Self::Stopped(Err(StepError::Ledger(error)))
            | Self::Unmounted(Err(StepError::Ledger(error)))
            | Self::Released(Err(StepError::Ledger(error))) => Err(error),
            Self::Prepared(_) | Self::Launched(_) | Self::Killed(_) | Self::Stopped(_) | Self::Unmounted(_) | Self::Released(_) => Ok(self),
        }
    }
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

impl Context {
    /// Carries `step` out for the workload as it was when the step was planned.
    pub async fn carry_out(&self, workload: &Workload, step: Step) -> StepDone {
        match step {
            Step::Prepare => StepDone::Prepared(self.prepare(workload).await),
            Step::Launch { attempt } => StepDone::Launched(self.launch(workload, attempt).await),
            Step::Kill => StepDone::Killed(self.kill(workload).await),
            Step::StopSoft => StepDone::Stopped(self.stop(workload).await),
            Step::Unmount { cut } => StepDone::Unmounted(self.unmount(workload, cut).await),
            Step::Release => StepDone::Released(self.release(workload).await),
            Step::Forget => StepDone::Released(Ok(())),
        }
    }

    /// I11: with the clock read now.
    fn still_may(&self, token: Token) -> Result<(), StepError> {
        if self.enforcer.may_act(token) { Ok(()) } else { Err(StepError::NoRight) }
    }

    fn granted<'w>(&self, workload: &'w Workload) -> Result<&'w Lease, StepError> {
        workload.granted.as_ref().ok_or(StepError::NoRight)
    }

    fn runtime(&self, workload: &Workload) -> Result<Arc<dyn Runtime>, StepError> {
        let missing = || StepError::failed(format!("runtime {:?} is not available on this host", workload.runtime));
        self.runtimes.get(workload.runtime).ok_or_else(missing)
    }

    fn driver(&self, driver: Driver) -> Result<&Arc<dyn VolumeDriver>, StepError> {
        self.drivers.get(&driver).ok_or_else(|| StepError::failed(format!("this host has no volume driver {driver:?}")))
    }

    pub(crate) fn current(&self) -> Result<Current, StepError> {
        self.session.borrow().clone().ok_or(StepError::NoRight)
    }

    /// Record, attach, mount, fence file: in this order (L9).
    async fn prepare(&self, workload: &Workload) -> Result<(), StepError> {
        let lease = self.granted(workload)?;
        let record = self.record(workload, lease)?;
        // Durable before attach: whoever comes after us must know of it.
        self.ledger
            .change(|state| {
                state.records.entry(record.token).or_insert(record);
            })
            .await?;
        for held in &lease.volumes {
            let request = self.request(lease, held);
            let driver = self.driver(held.spec.driver)?;
            self.still_may(lease.token)?;
            driver.attach(&request).await?;
            self.still_may(lease.token)?;
            let source = driver.mount(&request).await?;
            self.still_may(lease.token)?;
            self.claim(request, source.clone()).await?;
            self.ledger.change(|state| mounted(state.records.get_mut(&lease.token), held, source)).await?;
        }
        self.still_may(lease.token)
    }

    async fn claim(&self, request: VolumeRequest, source: PathBuf) -> Result<(), StepError> {
        let (token, volume, since) = (request.token, request.volume.clone(), self.clock.unix_ms());
        let claimed = tokio::task::spawn_blocking(move || fence_file::claim(&request, &source, since)).await;
        claimed.map_err(|join| StepError::failed(join.to_string()))??;
        info!(%token, %volume, "mounted and claimed");
        Ok(())
    }

    fn record(&self, workload: &Workload, lease: &Lease) -> Result<Record, StepError> {
        let current = self.current()?;
        let Right::Until(deadline) = self.enforcer.right(lease.token) else { return Err(StepError::NoRight) };
        let volume = |held: &LeasedVolume| MountedVolume {
            volume: held.volume.clone(),
            driver: held.spec.driver,
            options: held.spec.options.clone(),
            source: None,
        };
        Ok(Record {
            token: lease.token,
            lease: lease.id,
            container: lease.container.clone(),
            runtime: workload.runtime,
            incarnation: current.incarnation,
            session: current.session,
            boot: self.boot,
            deadline,
            over: false,
            attempt: workload.attempt,
            handle: None,
            volumes: lease.volumes.iter().map(volume).collect(),
            release: None,
        })
    }

    fn request(&self, lease: &Lease, held: &LeasedVolume) -> VolumeRequest {
        let read_only = lease.spec.volumes.iter().filter(|m| m.volume == held.volume).all(|m| m.read_only);
        VolumeRequest {
            volume: held.volume.clone(),
            options: held.spec.options.clone(),
            host: self.host.clone(),
            container: lease.container.clone(),
            lease: lease.id,
            token: lease.token,
            read_only,
        }
    }

    /// Ends the former attempt for sure, then creates and starts this one and puts it under enforcement.
    async fn launch(&self, workload: &Workload, attempt: u32) -> Result<(), StepError> {
        let lease = self.granted(workload)?;
        let token = lease.token;
        let runtime = self.runtime(workload)?;
        let sources = self.sources(token);
        let current = self.current()?;
        // Durable before create: a number is never used twice, also after a restart.
        self.ledger
            .change(|state| {
                if let Some(record) = state.records.get_mut(&token) {
                    (record.attempt, record.handle) = (attempt, None);
                }
            })
            .await?;
        self.clear_former(&*runtime, workload, attempt).await?;
        self.still_may(token)?;
        let spec = instance_spec(lease, attempt, current.cluster, &sources)?;
        runtime.create(&spec).await?;
        if !self.enforcer.may_start(token) {
            return Err(StepError::NoRight);
        }
        let handle = runtime.start(&spec.key).await?;
        if !self.enforcer.register(token, spec.key.clone(), handle.clone()) {
            // The start took longer than the right lasted. The enforcer is killing it; this makes sure.
            runtime.kill(&spec.key).await?;
            return Err(StepError::NoRight);
        }
        info!(%token, container = %lease.container, attempt, "started");
        self.ledger
            .change(|state| {
                if let Some(record) = state.records.get_mut(&token) {
                    record.handle = Some(handle);
                }
            })
            .await?;
        Ok(())
    }

    fn sources(&self, token: Token) -> BTreeMap<VolumeId, PathBuf> {
        let mounted = self.ledger.read(|state| state.records.get(&token).map(|record| record.volumes.clone()).unwrap_or_default());
        mounted.into_iter().filter_map(|volume| volume.source.map(|source| (volume.volume, source))).collect()
    }

    /// The former attempt is kept for its logs, but dead; those before it go.
    async fn clear_former(&self, runtime: &dyn Runtime, workload: &Workload, attempt: u32) -> Result<(), StepError> {
        let Some(former) = attempt.checked_sub(1).filter(|n| *n > 0) else { return Ok(()) };
        let key = workload.key(former);
        runtime.kill(&key).await?;
        self.enforcer.unregister(workload.token, &key);
        if former > 1 {
            runtime.remove(&workload.key(former - 1)).await?;
        }
        Ok(())
    }

    async fn kill(&self, workload: &Workload) -> Result<(), StepError> {
        if workload.attempt == 0 {
            return Ok(());
        }
        let runtime = self.runtime(workload)?;
        for attempt in [workload.attempt, workload.attempt - 1].into_iter().filter(|n| *n > 0) {
            let key = workload.key(attempt);
            runtime.kill(&key).await?;
            self.verify_dead(&*runtime, &key).await?;
            self.enforcer.unregister(workload.token, &key);
        }
        info!(token = %workload.token, container = %workload.container, "dead");
        Ok(())
    }

    /// A step that frees a volume does not take one call's word for it.
    async fn verify_dead(&self, runtime: &dyn Runtime, key: &InstanceKey) -> Result<Option<Exit>, StepError> {
        match runtime.inspect(key).await?.map(|seen| seen.state) {
            Some(InstanceState::Running) => Err(StepError::failed(format!("{} still runs after its kill", key.instance_name()))),
            Some(InstanceState::Exited { code, reason }) => Ok(Some(Exit { code, reason })),
            Some(InstanceState::Created) | None => Ok(None),
        }
    }

    async fn stop(&self, workload: &Workload) -> Result<Option<Exit>, StepError> {
        let runtime = self.runtime(workload)?;
        let grace = workload.granted.as_ref().map_or(0, |lease| lease.spec.stop_grace_ms);
        let key = workload.key(workload.attempt);
        info!(token = %workload.token, container = %workload.container, grace_ms = grace, "stopping");
        runtime.stop(&key, Duration::from_millis(grace)).await?;
        let exit = self.verify_dead(&*runtime, &key).await?;
        self.enforcer.unregister(workload.token, &key);
        Ok(exit)
    }

    /// Flushes and takes away every volume that was, or may have been, attached.
    async fn unmount(&self, workload: &Workload, cut: bool) -> Result<(), StepError> {
        let record = self.ledger.read(|state| state.records.get(&workload.token).cloned());
        for volume in record.iter().flat_map(|record| &record.volumes) {
            let driver = self.driver(volume.driver)?;
            let request = VolumeRequest {
                volume: volume.volume.clone(),
                options: volume.options.clone(),
                host: self.host.clone(),
                container: workload.container.clone(),
                lease: workload.lease,
                token: workload.token,
                read_only: false,
            };
            match driver.cut_kind() {
                Cut::None => {}
                Cut::FileSystemShutdown | Cut::FuseAbort | Cut::ServerRevoke if cut => driver.cut(&request).await?,
                Cut::FileSystemShutdown | Cut::FuseAbort | Cut::ServerRevoke => {}
            }
            driver.unmount(&request).await?;
            driver.detach(&request).await?;
        }
        Ok(())
    }
}

fn mounted(record: Option<&mut Record>, held: &LeasedVolume, source: PathBuf) {
    let volume = record.and_then(|record| record.volumes.iter_mut().find(|volume| volume.volume == held.volume));
    if let Some(volume) = volume {
        volume.source = Some(source);
    }
}
