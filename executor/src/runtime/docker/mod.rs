//! The runtime `docker`: each instance is one Docker container, driven through the engine's API (bollard). Called through
//! [`Runtime`] only. It must never start what it was not told to start, never restart an exited instance, and never believe the
//! engine alone when the question is whether a process still lives.
//!
//! - `config`: [`DockerConfig`]. - `engine`: the connection, every call with a time limit. - `call_error`: how a call fails.
//! - `labels`: whose container it is. - `create`: what to run, in the engine's words. - `guard`: the guard as its first process. - `state`, `found`: what the engine reports.
//! - `settings`: what rules a start out.
//! - `find`: one instance, or all. - `starts`, `start`: at most one start per instance. - `handle`: killing without the engine.
//! - `liveness`: is it gone. - `stop`: stop, kill, remove. - `exec`, `logs`, `events` (with
//!   `engine_time`). - `probe`: can this host run us.

mod call_error;
mod config;
mod create;
mod engine;
mod engine_time;
mod events;
mod exec;
mod find;
mod found;
mod guard;
mod handle;
mod handles;
mod labels;
mod liveness;
mod logs;
mod probe;
mod settings;
mod start;
mod starts;
mod state;
mod stop;

use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;

pub use config::DockerConfig;

use super::{ExecOutput, InstanceKey, InstanceSpec, KillAhead, KillHandle, LogChunk, LogOptions, Observed, Runtime, RuntimeError};
use engine::Engine;
use events::Events;
use handles::Handles;
use labels::Owner;
use starts::Starts;

/// Runs instances as containers of one Docker engine. All state that matters lives in the engine; what is kept here only
/// serves the case that the engine does not answer.
#[derive(Debug)]
pub struct DockerRuntime {
    engine: Engine,
    owner: Owner,
    starts: Starts,
    handles: Handles,
    events: Events,
}

impl DockerRuntime {
    /// Connects on first use, so that an executor can start before its engine does.
    #[must_use]
    pub fn new(config: DockerConfig) -> Self {
        Self {
            engine: Engine::new(config.socket),
            owner: Owner { cluster: config.cluster, host: config.host },
            starts: Starts::default(),
            handles: Handles::default(),
            events: Events::default(),
        }
    }
}

#[async_trait]
impl Runtime for DockerRuntime {
    fn name(&self) -> &'static str {
        "docker"
    }

    async fn probe(&self) -> Result<(), RuntimeError> {
        self.probe_engine().await
    }

    async fn list(&self) -> Result<Vec<Observed>, RuntimeError> {
        self.list_instances().await
    }

    async fn inspect(&self, key: &InstanceKey) -> Result<Option<Observed>, RuntimeError> {
        self.inspect_instance(key).await
    }

    async fn create(&self, spec: &InstanceSpec) -> Result<(), RuntimeError> {
        self.create_instance(spec).await
    }

    async fn start(&self, key: &InstanceKey) -> Result<KillHandle, RuntimeError> {
        self.start_instance(key).await
    }

    async fn kill_handle(&self, key: &InstanceKey) -> Result<Option<KillHandle>, RuntimeError> {
        self.running_handle(key).await
    }

    async fn kill_ahead(&self, key: &InstanceKey) -> Result<Vec<KillAhead>, RuntimeError> {
        // The engine chooses the folder at start; the id is in its name however it does.
        let found = self.find(key, engine::CALL_LIMIT).await?;
        Ok(found.map(|found| KillAhead::GroupNamed(found.id)).into_iter().collect())
    }

    async fn stop(&self, key: &InstanceKey, grace: Duration) -> Result<(), RuntimeError> {
        self.stop_instance(key, grace).await
    }

    async fn kill(&self, key: &InstanceKey) -> Result<(), RuntimeError> {
        self.kill_instance(key).await
    }

    async fn remove(&self, key: &InstanceKey) -> Result<(), RuntimeError> {
        self.remove_instance(key).await
    }

    async fn exec(&self, key: &InstanceKey, argv: &[String], timeout: Duration) -> Result<ExecOutput, RuntimeError> {
        self.exec_in(key, argv, timeout).await
    }

    async fn logs(
        &self,
        key: &InstanceKey,
        options: LogOptions,
    ) -> Result<BoxStream<'static, Result<LogChunk, RuntimeError>>, RuntimeError> {
        self.stream_logs(key, options).await
    }

    async fn changed(&self, at_most: Duration) {
        self.events.changed(&self.engine, &self.owner, at_most).await;
    }
}
