//! Carries single steps out. Each runs as a task of its own, so that one hanging mount or container holds up nothing else. After every await that leads
//! towards a start the right is asked again, by the clock as it is then (I11). Must never report something dead or flushed that it has not seen so.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use berth_state::ids::{Token, VolumeId};
use berth_state::noun::lease::{Exit, Lease, LeasedVolume};
use berth_state::noun::volume::Driver;
use tracing::info;

use crate::births;
use crate::clock::HolderTime;
use crate::context::{Context, Current};
use crate::deadline::Right;
use crate::hooks;
use crate::instance::instance_spec;
use crate::ledger::{MountedVolume, Record};
use crate::pages::PagesError;
use crate::plan::Step;
use crate::runtime::spec::GuardSpec;
use crate::runtime::{InstanceKey, InstanceState, Runtime};
use crate::step_done::{StepDone, StepError, with_causes};
use crate::volumes::birth::VolumeState;
use crate::volumes::{CutMeans, Still, VolumeDriver, VolumeError, VolumeRequest, fence_file, heartbeat};
use crate::workload::Workload;

impl Context {
    /// Carries `step` out for the workload as it was when the step was planned.
    pub async fn carry_out(&self, workload: &Workload, step: Step) -> StepDone {
        match step {
            Step::Prepare => StepDone::Prepared(self.prepare(workload).await),
            Step::Launch { attempt } => StepDone::Launched(self.launch(workload, attempt).await),
            Step::Kill => StepDone::Killed(self.kill(workload).await),
            Step::StopSoft => StepDone::Stopped(self.stop(workload).await),
            Step::Unmount { cut } => StepDone::Unmounted(self.unmount(workload, cut).await),
            Step::Release => StepDone::Released(self.give_back(workload).await),
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

    pub(crate) fn driver(&self, driver: Driver) -> Result<&Arc<dyn VolumeDriver>, StepError> {
        self.drivers.get(&driver).ok_or_else(|| StepError::failed(format!("this host has no volume driver {driver:?}")))
    }

    pub(crate) fn current(&self) -> Result<Current, StepError> {
        self.session.borrow().clone().ok_or(StepError::NoRight)
    }

    /// Record, attach, mount, fence file: in this order (L9).
    async fn prepare(&self, workload: &Workload) -> Result<(), StepError> {
        let lease = self.granted(workload)?;
        if !lease.expires_by_silence() {
            self.enforcer.book(|book| book.without_end(lease.token));
        }
        let record = self.record(workload, lease)?;
        // Durable before attach: whoever comes after us must know of it.
        self.ledger
            .change(|state| {
                state.records.entry(record.token).or_insert(record);
            })
            .await?;
        self.put_under_host_guard(lease)?;
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

    /// What a new holder is to be warned of is recorded first.
    async fn give_back(&self, workload: &Workload) -> Result<(), StepError> {
        self.suspicions.recorded(workload.token)?;
        self.release(workload).await
    }

    async fn claim(&self, request: VolumeRequest, source: PathBuf) -> Result<(), StepError> {
        let (token, volume, since) = (request.token, request.volume.clone(), self.clock.unix_ms());
        let claim = move || {
            fence_file::claim(&request, &source, since)?;
            let failed = |error| VolumeError::io(&request.volume, "claim the heartbeat of", &source, error);
            heartbeat::claim(&source, &request.host, request.token).map_err(failed)
        };
        let claimed = tokio::task::spawn_blocking(claim).await;
        claimed.map_err(|join| StepError::failed(join.to_string()))??;
        info!(%token, %volume, "mounted and claimed");
        Ok(())
    }

    fn record(&self, workload: &Workload, lease: &Lease) -> Result<Record, StepError> {
        let current = self.current()?;
        let (deadline, open) = match self.enforcer.right(lease.token) {
            Right::Until(deadline) => (deadline, false),
            Right::Open => (HolderTime(0), true),
            Right::Never | Right::Over(_) => return Err(StepError::NoRight),
        };
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
            open,
            over: false,
            attempt: workload.attempt,
            handle: None,
            volumes: lease.volumes.iter().map(volume).collect(),
            release: None,
        })
    }

    pub(crate) fn request(&self, lease: &Lease, held: &LeasedVolume) -> VolumeRequest {
        let read_only = lease.spec.volumes.iter().filter(|m| m.volume == held.volume).all(|m| m.read_only);
        let (enforcer, token) = (self.enforcer.clone(), lease.token);
        VolumeRequest {
            volume: held.volume.clone(),
            options: held.spec.options.clone(),
            host: self.host.clone(),
            container: lease.container.clone(),
            lease: lease.id,
            token: lease.token,
            read_only,
            still: Still::new(move || enforcer.may_act(token)),
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
        self.settle_hooks(token, attempt - 1).await?;
        let states = self.volume_states(token, &sources).await?;
        self.clear_former(&*runtime, workload, attempt).await?;
        self.still_may(token)?;
        let mut spec = instance_spec(lease, attempt, current.cluster, &sources)?;
        spec.environment.extend(births::environment(&states));
        spec.guard = self.guard_spec(lease, attempt, &states)?;
        runtime.create(&spec).await?;
        self.aim_ahead(&*runtime, token, &spec.key).await?;
        if !self.enforcer.may_start(token) {
            return Err(StepError::NoRight);
        }
        let handle = runtime.start(&spec.key).await?;
        if !self.enforcer.register(token, spec.key.clone(), handle.clone()) {
            // The start took longer than the right lasted. The enforcer is killing it; this makes sure.
            runtime.kill(&spec.key).await?;
            return Err(StepError::NoRight);
        }
        self.aim_at(token, &handle)?;
        info!(%token, container = %lease.container, attempt, "started");
        if lease.spec.init.is_none() {
            self.volumes_initialised(token, sources).await?;
        }
        self.ledger
            .change(|state| {
                if let Some(record) = state.records.get_mut(&token) {
                    record.handle = Some(handle);
                }
            })
            .await?;
        Ok(())
    }

    /// The guard's files, made; from here on the page follows the book.
    fn guard_spec(&self, lease: &Lease, attempt: u32, states: &BTreeMap<VolumeId, VolumeState>) -> Result<GuardSpec, StepError> {
        let failed = |error: PagesError| StepError::failed(with_causes(&error));
        self.enforcer.follow(lease.token, self.pages.make(lease.token).map_err(failed)?);
        let status = self.pages.make_status(lease.token, attempt).map_err(failed)?;
        let (init, pre_start) = hooks::choose(&lease.spec, states);
        Ok(GuardSpec { binary: self.guard_binary.clone(), page: self.pages.page(lease.token), status, init, pre_start })
    }

    pub(crate) fn sources(&self, token: Token) -> BTreeMap<VolumeId, PathBuf> {
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
                still: Still::always(),
            };
            match driver.cut_plan(&request)?.means {
                // What this storage cannot cut is flushed: it would come out anyway, only later.
                CutMeans::None => driver.unmount(&request).await?,
                CutMeans::FileSystemShutdown { .. } | CutMeans::FuseAbort { .. } | CutMeans::Program { .. } if cut => {
                    driver.cut(&request).await?;
                }
                CutMeans::FileSystemShutdown { .. } | CutMeans::FuseAbort { .. } | CutMeans::Program { .. } => {
                    driver.unmount(&request).await?;
                }
            }
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
