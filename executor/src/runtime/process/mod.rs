//! The runtime `process`: a command as a process tree of its own, for machines without Docker and for the demo. Used by the
//! reconciler through [`Runtime`]; the berth binary calls [`shim_main`]. Must never start an instance twice, and never say that one
//! has ended while a process of it may live.
//!
//! ```text
//! executor ──spawns──▶ berth shim run ──▶ berth shim init, which becomes the guard (PID 1 of the instance) ──▶ the command
//!    ▲                    │ own session, outside of the instance: takes the output, writes the end down
//!    └── instance folder ◀┘ the only thing both sides share: either may be killed and started again
//! ```
//!
//! The shim outlives the executor; the instance does not outlive the shim (fail-stop). A service manager that stops the executor
//! must leave the shims alone (systemd: `KillMode=process`); where there is cgroup v2 they are moved out of its group besides.
//!
//! Folder of one instance, `<root>/instances/berth-<container>-<token>-<attempt>/`, every record replaced or created as a whole:
//!
//! | file | by | meaning |
//! |---|---|---|
//! | `spec.json` | executor | what to run; there before the folder has its name |
//! | `plan.json` | executor | isolation and control groups |
//! | `started.json` | shim | the one right to start it (exclusive create); without a shim: closed before it was started |
//! | `running.json` | shim | first process: pid and start ticks |
//! | `exit.json` | shim, else executor | code and reason; the instance is over |
//! | `log/<number>` | shim | output, see `log_writer`; at most [`LOG_BYTES`] |
//! | `shim.log` | shim | its own complaints |
//! | `work/` | command | its working directory |
//!
//! `<root>/creating` and `<root>/removed` hold folders on their way in and out.
//!
//! - `entry`: the hidden subcommand. `shim`, `init`, `enter`: its three lives, each a process.
//! - `folder`, `record`: the folder and its records. `procfs`, `cgroup`, `signals`: the kernel's side.
//! - `isolation`: what holds an instance together here ([`Enforcement`]).
//! - `create`, `start`, `stop`, `exec`, `logs`: the executor's side, one verb each.

mod cgroup;
mod create;
mod enter;
mod entry;
mod exec;
mod folder;
mod init;
mod isolation;
mod log_reader;
mod log_writer;
mod logs;
mod procfs;
mod record;
mod shim;
mod signals;
mod start;
mod stop;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;

pub use entry::{SHIM_COMMAND, shim_main};
pub use isolation::{Enforcement, EnforcementLine, Isolation};
pub use log_writer::LOG_BYTES;

use super::{ExecOutput, InstanceKey, InstanceSpec, KillAhead, KillHandle, LogChunk, LogOptions, Observed, Runtime, RuntimeError};
use cgroup::Hierarchies;
use folder::InstanceFolder;

/// The search path of a command whose environment names none.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// How often `changed` looks.
const LOOK: Duration = Duration::from_millis(100);

/// Where and for whom. Two executors must not share a `root`.
#[derive(Clone, Debug)]
pub struct ProcessConfig {
    /// Folder of this runtime's instances; made if missing.
    pub root: PathBuf,
    /// Cluster id; instances of another cluster in `root` are left alone.
    pub cluster: String,
    /// Host name in Berth.
    pub host: String,
    /// A program that calls [`shim_main`] for its subcommand `shim`: the berth binary itself.
    pub berth_binary: PathBuf,
}

/// The runtime. A cheap clone: all state is in the instances' folders.
#[derive(Clone)]
pub struct ProcessRuntime {
    shared: Arc<Shared>,
}

struct Shared {
    config: ProcessConfig,
    enforcement: Enforcement,
    hierarchies: Hierarchies,
    /// What `changed` saw last: which records each instance has.
    seen: Mutex<Option<BTreeMap<PathBuf, [bool; 3]>>>,
}

impl ProcessRuntime {
    /// Opens the runtime with the strongest isolation that works here. Blocks for some milliseconds: it runs the berth binary to
    /// try.
    ///
    /// # Errors
    /// [`RuntimeError::Unavailable`] when the berth binary cannot be run or the root folder not be made.
    pub fn new(config: ProcessConfig) -> Result<Self, RuntimeError> {
        let (isolation, own_proc) = isolation::probe(&config.berth_binary).map_err(|error| RuntimeError::Unavailable {
            runtime: NAME,
            reason: format!("{} cannot be run: {error}", config.berth_binary.display()),
        })?;
        Self::open(config, isolation, own_proc, Hierarchies::detect())
    }

    /// Opens the runtime with nothing but process groups, as on a machine that allows its users no more: for tests and
    /// demonstrations of that case.
    ///
    /// # Errors
    /// As [`ProcessRuntime::new`].
    pub fn with_process_groups_only(config: ProcessConfig) -> Result<Self, RuntimeError> {
        Self::open(config, Isolation::ProcessGroup, false, Hierarchies::none())
    }

    fn open(mut config: ProcessConfig, isolation: Isolation, own_proc: bool, hierarchies: Hierarchies) -> Result<Self, RuntimeError> {
        let root = config.root.clone();
        let unavailable = |error: io::Error| RuntimeError::Unavailable { runtime: NAME, reason: format!("{}: {error}", root.display()) };
        // Absolute: shims do not share the executor's working directory.
        config.root = create::lay_out_root(&config.root).map_err(unavailable)?;
        if let Err(error) = create::clear_leftovers(&config.root) {
            tracing::warn!(runtime = NAME, root = %config.root.display(), %error, "leftovers of removed instances stay");
        }
        let enforcement = Enforcement::new(isolation, own_proc, &hierarchies);
        for line in enforcement.lines().iter().filter(|line| !line.on) {
            tracing::warn!(runtime = NAME, what = line.what, text = line.text, "weaker enforcement");
        }
        Ok(Self { shared: Arc::new(Shared { config, enforcement, hierarchies, seen: Mutex::new(None) }) })
    }

    /// What holds instances here, and what would need root.
    #[must_use]
    pub fn enforcement(&self) -> &Enforcement {
        &self.shared.enforcement
    }

    /// Runs `work` where blocking is allowed.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, RuntimeError> + Send + 'static,
    ) -> Result<T, RuntimeError> {
        let shared = Arc::clone(&self.shared);
        match tokio::task::spawn_blocking(move || work(&shared)).await {
            Ok(result) => result,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => Err(RuntimeError::Unavailable { runtime: NAME, reason: "the executor is shutting down".to_owned() }),
        }
    }
}

const NAME: &str = "process";

impl Shared {
    fn instances(&self) -> PathBuf {
        self.config.root.join("instances")
    }

    fn folder(&self, key: &InstanceKey) -> InstanceFolder {
        InstanceFolder::new(self.instances().join(key.instance_name()))
    }

    fn marks(&self) -> BTreeMap<PathBuf, [bool; 3]> {
        let entries = std::fs::read_dir(self.instances()).into_iter().flatten().flatten();
        entries.map(|entry| (entry.path(), InstanceFolder::new(entry.path()).marks())).collect()
    }

    /// Whether an instance got or lost a record since the last call that said so.
    fn has_changed(&self) -> bool {
        let now = self.marks();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = seen.as_ref().is_some_and(|seen| *seen != now);
        *seen = Some(now);
        changed
    }
}

/// Names the operation and the instance beside the kernel's reason.
fn io_error(operation: &'static str, key: &InstanceKey) -> impl FnOnce(io::Error) -> RuntimeError {
    let instance = key.instance_name();
    move |source| RuntimeError::Io { operation, instance, source }
}

#[async_trait]
impl Runtime for ProcessRuntime {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn probe(&self) -> Result<(), RuntimeError> {
        self.blocking(|shared| {
            let unavailable = |error: io::Error| RuntimeError::Unavailable { runtime: NAME, reason: error.to_string() };
            create::lay_out_root(&shared.config.root).map(|_| ()).map_err(unavailable)
        })
        .await
    }

    async fn list(&self) -> Result<Vec<Observed>, RuntimeError> {
        self.blocking(create::list).await
    }

    async fn inspect(&self, key: &InstanceKey) -> Result<Option<Observed>, RuntimeError> {
        let key = key.clone();
        self.blocking(move |shared| create::observe(shared, &shared.folder(&key)).map_err(io_error("inspect", &key))).await
    }

    async fn create(&self, spec: &InstanceSpec) -> Result<(), RuntimeError> {
        let spec = spec.clone();
        self.blocking(move |shared| create::create(shared, &spec)).await
    }

    async fn start(&self, key: &InstanceKey) -> Result<KillHandle, RuntimeError> {
        self.start_instance(key).await
    }

    async fn kill_handle(&self, key: &InstanceKey) -> Result<Option<KillHandle>, RuntimeError> {
        self.running_handle(key).await
    }

    async fn kill_ahead(&self, key: &InstanceKey) -> Result<Vec<KillAhead>, RuntimeError> {
        let config = &self.shared.config;
        let group = cgroup::of_instance(&self.shared.hierarchies, &cgroup::scope(&config.cluster, &config.host), &key.instance_name());
        Ok(group.map(KillAhead::Group).into_iter().collect())
    }

    async fn stop(&self, key: &InstanceKey, grace: Duration) -> Result<(), RuntimeError> {
        self.stop_instance(key, grace).await
    }

    async fn kill(&self, key: &InstanceKey) -> Result<(), RuntimeError> {
        self.kill_instance(key).await
    }

    async fn remove(&self, key: &InstanceKey) -> Result<(), RuntimeError> {
        let key = key.clone();
        self.blocking(move |shared| create::remove(shared, &key)).await
    }

    async fn exec(&self, key: &InstanceKey, argv: &[String], timeout: Duration) -> Result<ExecOutput, RuntimeError> {
        self.exec_in_instance(key, argv, timeout).await
    }

    async fn logs(
        &self,
        key: &InstanceKey,
        options: LogOptions,
    ) -> Result<BoxStream<'static, Result<LogChunk, RuntimeError>>, RuntimeError> {
        self.instance_logs(key, options).await
    }

    async fn changed(&self, at_most: Duration) {
        let look = async {
            while !self.blocking(|shared| Ok(shared.has_changed())).await.unwrap_or(true) {
                tokio::time::sleep(LOOK).await;
            }
        };
        let _ = tokio::time::timeout(at_most, look).await;
    }
}
