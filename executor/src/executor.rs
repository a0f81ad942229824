//! The executor: puts its parts together and runs them. Called by `berth executor`, tests and the simulation. On shutdown it leaves running what runs:
//! a successor within the ttl goes on; while there is none, nobody enforces deadlines, and a later one kills what is overdue before anything else.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use berth_state::ids::{BootId, HostId};
use berth_state::noun::host::HostSpec;
use berth_state::noun::volume::Driver;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::assignments::{AssignmentBook, Position};
use crate::clock::{HolderClock, SystemHolderClock};
use crate::context::{Context, Current, StepTasks};
use crate::control::ControlPlane;
use crate::deadline::Lost;
use crate::enforcer::{Enforcer, EnforcerThread, Killer, SystemKiller};
use crate::error::ExecutorError;
use crate::event::{EVENTS, Statuses};
use crate::external::{self, External, ExternalConfig, ExternalParts};
use crate::hostguard::{HostGuardClient, HostGuardConfig, WatchdogConfig};
use crate::ledger::{self, Ledger, LedgerState};
use crate::link::Link;
use crate::manager::{Manager, Published};
use crate::pages::Pages;
use crate::random::{Random, SystemRandom};
use crate::runtimes::{RuntimeFactory, Runtimes, SystemRuntimes};
use crate::session::{SessionKeeper, save_rights};
use crate::suspicions::Suspicions;
use crate::volumes::{self, DriverContext, VolumeDriver};
use crate::world::Workloads;
use crate::{guard_binary, hooks, hostguard, leftovers, logs, report};

/// m when nothing else is said: measured, a kill takes 1-25 ms and a poll 20 ms; the rest is for a machine under load.
pub const DEFAULT_MARGIN_MS: u64 = 500;
/// After a failed ledger write everything is killed; no longer than 5 s is waited for the last process (of `enforcer::POLL` each).
const LAST_ROUNDS: u32 = 250;
/// For a start under way when the ledger fails.
const LAST_WAIT: Duration = Duration::from_secs(5);
/// For tasks that are cut off.
const TIDY: Duration = Duration::from_secs(1);

/// What the operator sets.
#[derive(Clone, Debug)]
pub struct ExecutorConfig {
    pub host: HostId,
    /// `address:port` of control nodes; one that answers is enough.
    pub endpoints: Vec<String>,
    /// Folder of the ledger; one executor each.
    pub data: PathBuf,
    /// Folder for what must not outlive a boot: mount points, deadline pages. On a tmpfs.
    pub run: PathBuf,
    /// Socket of the Docker engine; `None`: no Docker here.
    pub docker_socket: Option<PathBuf>,
    /// Folder of the process runtime; `None`: no plain processes here.
    pub process_root: Option<PathBuf>,
    /// The berth binary, for the process runtime; `None`: this very program.
    pub berth_binary: Option<PathBuf>,
    /// Adds the host with this spec when the cluster does not have it.
    pub register: Option<HostSpec>,
    /// m: what killing and polling may take; taken off every deadline.
    pub margin_ms: u64,
    /// Whether a host guard is started and adopted.
    pub host_guard: bool,
    /// The hardware watchdog that the host guard pets.
    pub watchdog: Option<WatchdogConfig>,
    /// Leases for what others start.
    pub external: ExternalConfig,
}

impl ExecutorConfig {
    fn berth_binary(&self) -> Result<PathBuf, ExecutorError> {
        match &self.berth_binary {
            Some(path) => Ok(path.clone()),
            None => std::env::current_exe().map_err(|source| ExecutorError::Machine { what: "find this program's file", source }),
        }
    }

    fn host_guard(&self, clock: &Arc<dyn HolderClock>) -> Result<Option<Arc<HostGuardClient>>, ExecutorError> {
        if !self.host_guard {
            return Ok(None);
        }
        let (run, berth_binary, watchdog) = (self.run.clone(), self.berth_binary()?, self.watchdog.clone());
        let config = HostGuardConfig { run, berth_binary, watchdog, margin_ms: self.margin_ms };
        Ok(Some(Arc::new(HostGuardClient::new(config, Arc::clone(clock))?)))
    }
}

/// The world, each part replaceable in tests.
pub struct Deps {
    pub clock: Arc<dyn HolderClock>,
    pub random: Arc<dyn Random>,
    pub control: Arc<dyn ControlPlane>,
    pub runtimes: Arc<dyn RuntimeFactory>,
    pub drivers: BTreeMap<Driver, Arc<dyn VolumeDriver>>,
    pub killer: Arc<dyn Killer>,
    pub boot: BootId,
}

impl Deps {
    /// The real ones.
    ///
    /// # Errors
    /// When the clock is not the host's, an endpoint is malformed, or the kernel does not say its boot id.
    pub fn system(config: &ExecutorConfig) -> Result<Self, ExecutorError> {
        let berth_binary = config.berth_binary()?;
        let runtimes = SystemRuntimes {
            host: config.host.clone(),
            docker_socket: config.docker_socket.clone(),
            process_root: config.process_root.clone(),
            berth_binary,
        };
        let volumes = DriverContext::below(&config.run, config.host.clone());
        Ok(Self {
            clock: Arc::new(SystemHolderClock::new()?),
            random: Arc::new(SystemRandom),
            control: Arc::new(Link::new(&config.endpoints)?),
            runtimes: Arc::new(runtimes),
            drivers: volumes::drivers(&volumes),
            killer: Arc::new(SystemKiller),
            boot: ledger::boot_id()?,
        })
    }
}

pub struct Executor {
    config: ExecutorConfig,
    context: Arc<Context>,
    session: watch::Sender<Option<Current>>,
    statuses: watch::Sender<Statuses>,
    external: Option<Arc<External>>,
}

/// Looks into a running executor. A cheap clone.
#[derive(Clone)]
pub struct ExecutorHandle {
    session: watch::Receiver<Option<Current>>,
    statuses: watch::Receiver<Statuses>,
}

impl ExecutorHandle {
    /// The live session, if any.
    #[must_use]
    pub fn session(&self) -> Option<Current> {
        self.session.borrow().clone()
    }

    /// What runs, by lease and token.
    #[must_use]
    pub fn statuses(&self) -> Statuses {
        self.statuses.borrow().clone()
    }
}

impl Executor {
    /// Takes the ledger; starts nothing yet.
    ///
    /// # Errors
    /// When the ledger is another executor's or host's, damaged, or cannot be made.
    pub fn new(config: ExecutorConfig, deps: Deps) -> Result<(Self, ExecutorHandle), ExecutorError> {
        let ledger = Ledger::open(&config.data, config.host.as_str(), &*deps.random)?;
        let pages = Pages::new(&config.run, deps.boot)?;
        let guard_binary = guard_binary::install(&config.run, &config.data)?;
        let host_guard = config.host_guard(&deps.clock)?;
        let enforcer = Enforcer::new(Arc::clone(&deps.clock), deps.killer, config.margin_ms);
        let (session, current) = watch::channel(None);
        let (statuses, seen) = watch::channel(Statuses::new());
        let external = config.external.is_on().then(|| {
            Arc::new(External::new(ExternalParts {
                host: config.host.clone(),
                run: config.run.clone(),
                data: config.data.clone(),
                docker_socket: config.docker_socket.clone(),
                ledger: ledger.clone(),
                clock: Arc::clone(&deps.clock),
                enforcer: enforcer.clone(),
                host_guard: host_guard.clone(),
            }))
        });
        let as_runtime = external.clone().map(|external| external as Arc<dyn crate::runtime::Runtime>);
        let context = Context {
            host: config.host.clone(),
            clock: deps.clock,
            random: deps.random,
            control: deps.control,
            enforcer,
            ledger,
            runtimes: Runtimes::new(deps.runtimes).with_external(as_runtime),
            drivers: deps.drivers,
            session: current.clone(),
            boot: deps.boot,
            tasks: StepTasks::default(),
            host_guard,
            pages,
            guard_binary,
            suspicions: Suspicions::default(),
        };
        let handle = ExecutorHandle { session: current, statuses: seen };
        Ok((Self { config, context: Arc::new(context), session, statuses, external }, handle))
    }

    /// Until `shutdown`; then returns and leaves running what runs.
    ///
    /// # Errors
    /// When the ledger cannot be written, or the deadline thread has ended: everything has been killed by then, and the process is to end.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), ExecutorError> {
        let enforcer = self.context.enforcer.clone();
        // Rights and kill handles of an earlier process first, then the thread: what is overdue is killed by its first look.
        let state = self.context.ledger.state();
        let workloads = leftovers::adopt(&state, self.context.boot, self.context.clock.now(), &enforcer, &self.context.pages);
        self.context.adopt_orders(&state);
        let thread = enforcer.spawn().map_err(|source| ExecutorError::Machine { what: "start the deadline thread", source })?;
        info!(host = %self.config.host, ledger = %state.ledger, margin_ms = self.config.margin_ms, records = state.records.len(), "executor started");

        hostguard::supervise::begin(self.context.host_guard.clone()).await;
        let thread = Arc::new(thread);
        let inner = shutdown.child_token();
        let context = Arc::clone(&self.context);
        let _steps = context.tasks.guard();
        let result = self.run_parts(workloads, &state, Arc::clone(&thread), inner.clone()).await;
        inner.cancel();
        if let Err(error) = &result {
            error!(%error, "cannot go on: killing every instance");
            // First the rights, so that a start under way undoes itself; it is waited for, because only then its kill handle is known.
            enforcer.book(|book| book.lose_all(Lost::LedgerFailed));
            context.tasks.ended(LAST_WAIT).await;
            let _ = tokio::task::spawn_blocking(move || enforcer.kill_all(Lost::LedgerFailed, LAST_ROUNDS)).await;
        }
        context.tasks.cut_off();
        context.tasks.ended(TIDY).await;
        drop(thread);
        result
    }

    async fn run_parts(
        self,
        workloads: Workloads,
        state: &LedgerState,
        thread: Arc<EnforcerThread>,
        shutdown: CancellationToken,
    ) -> Result<(), ExecutorError> {
        let context = self.context;
        let (events, received) = mpsc::channel(EVENTS);
        let (claims, claimed) = watch::channel(BTreeSet::new());
        let (sources, log_sources) = watch::channel(BTreeMap::new());
        let assigned = AssignmentBook::new(Position { incarnation: state.incarnation, revision: state.revision });
        let (position, newest) = watch::channel(assigned.position());
        let statuses = self.statuses.subscribe();
        let doors =
            external::serve(Arc::clone(&context), self.external, self.config.external, self.config.run.clone(), self.statuses.subscribe());
        let mounts = DriverContext::below(&self.config.run, self.config.host.clone()).mounts;
        let published = Published { claims, statuses: self.statuses, logs: sources, counter: watch::channel(0).0, position };
        let keeper = SessionKeeper {
            context: Arc::clone(&context),
            host: self.config.host,
            boot: context.boot,
            register: self.config.register,
            claims: claimed,
            current: self.session,
            events: events.clone(),
            enforcement: Arc::new(move || thread.is_alive()),
        };
        let manager = Manager::new(Arc::clone(&context), assigned, workloads, published, (events, received), shutdown.clone());
        tokio::select! {
            result = manager.run() => result.map_err(ExecutorError::Ledger),
            result = keeper.run(shutdown.clone()) => result,
            result = save_rights(Arc::clone(&context), newest, shutdown.clone()) => result.map_err(ExecutorError::Ledger),
            () = doors => Ok(()),
            () = report::report(Arc::clone(&context), statuses) => Ok(()),
            () = hooks::follow(Arc::clone(&context)) => Ok(()),
            () = hostguard::supervise::supervise(context.host_guard.clone()) => Ok(()),
            () = logs::serve(Arc::clone(&context), log_sources) => Ok(()),
            () = leftovers::sweep_mounts(Arc::clone(&context), mounts) => Ok(()),
        }
    }
}
