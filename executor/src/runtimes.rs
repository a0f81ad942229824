//! The runtimes of this host: made once the cluster is known (instances carry its id), probed before each session. Shared by the steps, the observers and
//! the logs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use berth_state::ids::{ClusterId, HostId};
use berth_state::noun::container::RuntimeKind;
use tracing::warn;

use crate::runtime::docker::{DockerConfig, DockerRuntime};
use crate::runtime::process::{ProcessConfig, ProcessRuntime};
use crate::runtime::{Runtime, RuntimeError};

/// An engine that does not answer in this time is not there.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// Makes runtimes; replaced in tests.
pub trait RuntimeFactory: Send + Sync + 'static {
    /// Those that are configured, whether they work or not.
    fn kinds(&self) -> BTreeSet<RuntimeKind>;

    /// May block for some milliseconds.
    ///
    /// # Errors
    /// When it cannot work here now.
    fn open(&self, kind: RuntimeKind, cluster: ClusterId) -> Result<Arc<dyn Runtime>, RuntimeError>;
}

/// The real ones.
#[derive(Clone, Debug)]
pub struct SystemRuntimes {
    pub host: HostId,
    /// Socket of the Docker engine; `None`: no Docker here.
    pub docker_socket: Option<PathBuf>,
    /// Folder of the process runtime; `None`: no plain processes here.
    pub process_root: Option<PathBuf>,
    /// The berth binary, for the process runtime's shim.
    pub berth_binary: PathBuf,
}

impl RuntimeFactory for SystemRuntimes {
    fn kinds(&self) -> BTreeSet<RuntimeKind> {
        let docker = self.docker_socket.as_ref().map(|_| RuntimeKind::Docker);
        let process = self.process_root.as_ref().map(|_| RuntimeKind::Process);
        docker.into_iter().chain(process).collect()
    }

    fn open(&self, kind: RuntimeKind, cluster: ClusterId) -> Result<Arc<dyn Runtime>, RuntimeError> {
        let (cluster, host) = (cluster.to_string(), self.host.to_string());
        let missing = |runtime| RuntimeError::Unavailable { runtime, reason: "it is not configured on this host".to_owned() };
        match kind {
            RuntimeKind::Docker => {
                let socket = self.docker_socket.clone().ok_or_else(|| missing("docker"))?;
                Ok(Arc::new(DockerRuntime::new(DockerConfig { socket, cluster, host })))
            }
            RuntimeKind::Process => {
                let root = self.process_root.clone().ok_or_else(|| missing("process"))?;
                let berth_binary = self.berth_binary.clone();
                Ok(Arc::new(ProcessRuntime::new(ProcessConfig { root, cluster, host, berth_binary })?))
            }
            // What others start has no runtime of ours.
            RuntimeKind::External => Err(missing("external")),
        }
    }
}

/// Clones share the opened runtimes.
#[derive(Clone)]
pub struct Runtimes {
    factory: Arc<dyn RuntimeFactory>,
    opened: Arc<Mutex<BTreeMap<RuntimeKind, Arc<dyn Runtime>>>>,
    /// Whether claimed leases are served; opened from the start then.
    external: bool,
}

impl Runtimes {
    #[must_use]
    pub fn new(factory: Arc<dyn RuntimeFactory>) -> Self {
        Self { factory, opened: Arc::default(), external: false }
    }

    /// With claimed leases, which need no factory.
    #[must_use]
    pub fn with_external(mut self, external: Option<Arc<dyn Runtime>>) -> Self {
        if let Some(external) = external {
            self.external = true;
            self.opened.lock().unwrap_or_else(PoisonError::into_inner).insert(RuntimeKind::External, external);
        }
        self
    }

    #[must_use]
    pub fn kinds(&self) -> BTreeSet<RuntimeKind> {
        let external = self.external.then_some(RuntimeKind::External);
        self.factory.kinds().into_iter().chain(external).collect()
    }

    #[must_use]
    pub fn get(&self, kind: RuntimeKind) -> Option<Arc<dyn Runtime>> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner).get(&kind).cloned()
    }

    /// The runtime of this cluster, made if it is not there yet; `None` when that fails now.
    #[must_use]
    pub fn open(&self, kind: RuntimeKind, cluster: ClusterId) -> Option<Arc<dyn Runtime>> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(runtime) = opened.get(&kind) {
            return Some(Arc::clone(runtime));
        }
        match self.factory.open(kind, cluster) {
            Ok(runtime) => {
                opened.insert(kind, Arc::clone(&runtime));
                Some(runtime)
            }
            Err(error) => {
                warn!(?kind, %error, "runtime cannot be opened");
                None
            }
        }
    }

    /// Those that work now, each tried. Before the first session the cluster is not known: then they are tried under no cluster's name.
    pub async fn probe(&self, cluster: Option<ClusterId>) -> BTreeSet<RuntimeKind> {
        let mut working = BTreeSet::new();
        for kind in self.kinds() {
            let runtime = match cluster {
                Some(cluster) => self.open(kind, cluster),
                None if kind == RuntimeKind::External => self.get(kind),
                None => self
                    .factory
                    .open(kind, ClusterId::default())
                    .inspect_err(|error| warn!(?kind, %error, "runtime does not work here"))
                    .ok(),
            };
            let Some(runtime) = runtime else { continue };
            match tokio::time::timeout(PROBE_TIMEOUT, runtime.probe()).await {
                Ok(Ok(())) => {
                    working.insert(kind);
                }
                Ok(Err(error)) => warn!(?kind, %error, "runtime does not work here"),
                Err(_) => warn!(?kind, "runtime does not answer"),
            }
        }
        working
    }
}
