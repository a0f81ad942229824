//! The few engine calls about containers that are not ours. A listing takes no container's lock, so it is safe while the engine starts one and waits for
//! our plugin; an inspection takes it, so it has a short bound and its silence says something. Every call is bounded.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bollard::models::{ContainerSummary, ContainerSummaryStateEnum, EventMessage, HostConfig};
use bollard::query_parameters::{
    EventsOptionsBuilder, InspectContainerOptions, KillContainerOptionsBuilder, ListContainersOptionsBuilder, StopContainerOptionsBuilder,
};
use bollard::{API_DEFAULT_VERSION, Docker};
use futures::StreamExt;
use futures::stream::BoxStream;

const LIST: Duration = Duration::from_secs(3);
/// The engine answers in milliseconds, unless it has the container locked.
const INSPECT: Duration = Duration::from_millis(400);
const KILL: Duration = Duration::from_secs(2);
const CLIENT_LIMIT_SECS: u64 = 900;

/// A container as a listing shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    pub id: String,
    /// Has processes, or may have.
    pub live: bool,
    pub mounts: Vec<Mounted>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mounted {
    /// Docker's name of the volume; empty for a bind mount.
    pub name: String,
    pub driver: String,
    pub source: PathBuf,
}

/// What an inspection found.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Inspected {
    Config(Box<HostConfig>),
    Gone,
    /// No answer in time: the engine has it locked, as it does while it starts one.
    Locked,
}

#[derive(Debug)]
pub(super) struct Engine {
    socket: PathBuf,
    client: Mutex<Option<Docker>>,
}

impl Engine {
    pub(super) fn new(socket: PathBuf) -> Self {
        let bare = socket.to_str().and_then(|text| text.strip_prefix("unix://")).map(PathBuf::from);
        Self { socket: bare.unwrap_or(socket), client: Mutex::new(None) }
    }

    async fn client(&self) -> Result<Docker, String> {
        let known = self.client.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(docker) = known {
            return Ok(docker);
        }
        let path = self.socket.to_string_lossy();
        let docker = Docker::connect_with_unix(&path, CLIENT_LIMIT_SECS, API_DEFAULT_VERSION).map_err(|error| error.to_string())?;
        let docker = docker.negotiate_version().await.map_err(|error| error.to_string())?;
        *self.client.lock().unwrap_or_else(PoisonError::into_inner) = Some(docker.clone());
        Ok(docker)
    }

    async fn call<T, F>(&self, limit: Duration, request: impl FnOnce(Docker) -> F) -> Result<T, String>
    where
        F: Future<Output = Result<T, bollard::errors::Error>>,
    {
        let work = async { request(self.client().await?).await.map_err(|error| error.to_string()) };
        let ended = tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(format!("no answer within {limit:?}")));
        if ended.is_err() {
            // The engine behind it may be another one by now.
            *self.client.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        ended
    }

    /// Every container, running or not.
    pub(super) async fn list(&self) -> Result<Vec<Listed>, String> {
        let options = ListContainersOptionsBuilder::default().all(true).build();
        let all = self.call(LIST, |docker| async move { docker.list_containers(Some(options)).await }).await?;
        Ok(all.into_iter().map(listed).collect())
    }

    pub(super) async fn inspect(&self, id: &str) -> Inspected {
        let asked = id.to_owned();
        let call = async move {
            let docker = self.client().await.ok()?;
            Some(docker.inspect_container(&asked, None::<InspectContainerOptions>).await)
        };
        match tokio::time::timeout(INSPECT, call).await {
            Ok(Some(Ok(found))) => Inspected::Config(Box::new(found.host_config.unwrap_or_default())),
            Ok(Some(Err(_)) | None) => Inspected::Gone,
            Err(_) => Inspected::Locked,
        }
    }

    /// Where the engine keeps its containers.
    pub(super) async fn root(&self) -> Option<PathBuf> {
        let info = self.call(LIST, |docker| async move { docker.info().await }).await.ok()?;
        info.docker_root_dir.map(PathBuf::from)
    }

    pub(super) async fn kill(&self, id: &str) -> Result<(), String> {
        let (id, options) = (id.to_owned(), KillContainerOptionsBuilder::default().signal("SIGKILL").build());
        self.call(KILL, |docker| async move { docker.kill_container(&id, Some(options)).await }).await
    }

    /// Stop signal, grace, kill: by the engine.
    pub(super) async fn stop(&self, id: &str, grace: Duration) -> Result<(), String> {
        let seconds = i32::try_from(grace.as_secs()).unwrap_or(i32::MAX);
        let (id, options) = (id.to_owned(), StopContainerOptionsBuilder::default().t(seconds).build());
        self.call(grace + KILL, |docker| async move { docker.stop_container(&id, Some(options)).await }).await
    }

    /// Hints that some container has changed.
    pub(super) async fn events(&self) -> Option<BoxStream<'static, Result<EventMessage, bollard::errors::Error>>> {
        let docker = tokio::time::timeout(LIST, self.client()).await.ok()?.ok()?;
        let filters = [("type", vec!["container"]), ("event", vec!["create", "start", "die", "destroy", "unpause"])];
        let filters = filters.map(|(key, values)| (key.to_owned(), values.into_iter().map(str::to_owned).collect())).into_iter().collect();
        Some(docker.events(Some(EventsOptionsBuilder::default().filters(&filters).build())).boxed())
    }
}

fn listed(summary: ContainerSummary) -> Listed {
    let live = match summary.state.unwrap_or(ContainerSummaryStateEnum::EMPTY) {
        ContainerSummaryStateEnum::CREATED
        | ContainerSummaryStateEnum::EXITED
        | ContainerSummaryStateEnum::DEAD
        | ContainerSummaryStateEnum::REMOVING => false,
        // What we cannot name is taken as running: the careful side.
        ContainerSummaryStateEnum::RUNNING
        | ContainerSummaryStateEnum::PAUSED
        | ContainerSummaryStateEnum::RESTARTING
        | ContainerSummaryStateEnum::STOPPING
        | ContainerSummaryStateEnum::EMPTY => true,
    };
    let mounted = |mount: bollard::models::MountPoint| Mounted {
        name: mount.name.unwrap_or_default(),
        driver: mount.driver.unwrap_or_default(),
        source: mount.source.unwrap_or_default().into(),
    };
    Listed { id: summary.id.unwrap_or_default(), live, mounts: summary.mounts.unwrap_or_default().into_iter().map(mounted).collect() }
}
