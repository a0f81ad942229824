//! Stopping, killing and removing. Called by the reconciler through [`super::DockerRuntime`]. `Ok` from stop and kill means that no
//! process is left, checked with the kernel; it must never rest on the engine's word alone, nor need the engine to kill.

use std::time::Duration;

use bollard::query_parameters::{KillContainerOptionsBuilder, RemoveContainerOptionsBuilder};

use super::DockerRuntime;
use super::call_error::CallError;
use super::engine::{CALL_LIMIT, KILL_CALL_LIMIT, REMOVE_LIMIT};
use super::found::Found;
use super::liveness::gone_within;
use super::start::refused;
use crate::runtime::kill::kill_now;
use crate::runtime::{InstanceKey, KillHandle, RuntimeError};

/// After the engine's SIGKILL, before ours.
const ENGINE_KILL_TAKES: Duration = Duration::from_secs(1);
/// After our own SIGKILL: longer only for a process stuck in the kernel, on dead storage for instance.
const KILL_TAKES: Duration = Duration::from_secs(10);
const REMOVAL_LOOK_EVERY: Duration = Duration::from_millis(100);
const DEFAULT_STOP_SIGNAL: &str = "SIGTERM";

impl DockerRuntime {
    pub(super) async fn stop_instance(&self, key: &InstanceKey, grace: Duration) -> Result<(), RuntimeError> {
        self.after_pending_start(key, CALL_LIMIT).await?;
        let Some(found) = self.find(key, CALL_LIMIT).await?.filter(Found::running) else {
            return self.kill_instance(key).await;
        };
        if let Some(handle) = self.handle_of(&found).await? {
            // A frozen process handles no signal.
            self.thaw(&found).await;
            let signal = found.stop_signal.as_deref().unwrap_or(DEFAULT_STOP_SIGNAL);
            match self.engine_kill(&found.id, signal, CALL_LIMIT.min(grace.max(KILL_CALL_LIMIT))).await {
                Ok(()) if gone_within(&handle, grace).await => return self.settled(key).await,
                Ok(()) => tracing::info!(instance = %key.instance_name(), "still runs after its grace period: killed"),
                Err(error) => tracing::warn!(instance = %key.instance_name(), %error, "stop signal not delivered: killed"),
            }
        }
        self.kill_instance(key).await
    }

    pub(super) async fn kill_instance(&self, key: &InstanceKey) -> Result<(), RuntimeError> {
        // A start under way would run after we said that nothing does. A known process is killed without waiting.
        if self.handles.alive(key).is_none() {
            self.after_pending_start(key, KILL_CALL_LIMIT).await?;
        }
        let found = match self.find(key, KILL_CALL_LIMIT).await {
            Ok(found) => found,
            Err(error) => {
                // No engine: what we know of the process is enough.
                let Some(handle) = self.handles.alive(key) else { return Err(error) };
                tracing::warn!(instance = %key.instance_name(), %error, "dockerd does not answer: killed without it");
                return self.kill_by_handle(key, &handle).await;
            }
        };
        let Some(found) = found.filter(Found::running) else {
            // An engine that lost track of a process must not make us say that it is gone.
            return match self.handles.alive(key) {
                Some(handle) => self.kill_by_handle(key, &handle).await,
                None => Ok(()),
            };
        };
        let handle = self.handle_of(&found).await;
        if let Err(error) = self.engine_kill(&found.id, "SIGKILL", KILL_CALL_LIMIT).await {
            tracing::warn!(instance = %key.instance_name(), %error, "dockerd did not kill it");
        }
        self.thaw(&found).await;
        match handle {
            Ok(Some(handle)) => {
                if !gone_within(&handle, ENGINE_KILL_TAKES).await {
                    self.kill_by_handle(key, &handle).await?;
                }
                self.settled(key).await
            }
            Ok(None) => Ok(()),
            // Not ours to look at in /proc: then the engine's word is all there is.
            Err(_) if self.noticed_end(key).await? => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn remove_instance(&self, key: &InstanceKey) -> Result<(), RuntimeError> {
        self.after_pending_start(key, CALL_LIMIT).await?;
        if self.handles.alive(key).is_some() {
            return Err(refused(key, "it still runs: stop it first"));
        }
        if let Some(found) = self.find(key, CALL_LIMIT).await? {
            if found.running() {
                return Err(refused(key, "it still runs: stop it first"));
            }
            self.engine_remove(&found).await?;
        }
        self.starts.forget(key);
        self.handles.forget(key);
        Ok(())
    }

    /// Never forced: a container that somehow got a process again must not die as a side effect of tidying up.
    async fn engine_remove(&self, found: &Found) -> Result<(), RuntimeError> {
        let id = found.id.clone();
        // `v`: anonymous volumes that the image declares go along.
        let options = RemoveContainerOptionsBuilder::default().v(true).force(false).build();
        match self.engine.call(REMOVE_LIMIT, |docker| async move { docker.remove_container(&id, Some(options)).await }).await {
            Ok(()) => Ok(()),
            Err(error) if error.status() == Some(404) => Ok(()),
            // Somebody else's removal is under way: as good as ours, once it is through.
            Err(error) if error.status() == Some(409) && self.vanished(&found.key).await? => Ok(()),
            Err(error) => Err(error.into_runtime("remove", &found.key.instance_name())),
        }
    }

    async fn vanished(&self, key: &InstanceKey) -> Result<bool, RuntimeError> {
        let wait = async {
            while self.find(key, CALL_LIMIT).await?.is_some() {
                tokio::time::sleep(REMOVAL_LOOK_EVERY).await;
            }
            Ok(true)
        };
        tokio::time::timeout(CALL_LIMIT, wait).await.unwrap_or(Ok(false))
    }

    pub(super) async fn engine_kill(&self, id: &str, signal: &str, limit: Duration) -> Result<(), CallError> {
        let id = id.to_owned();
        let options = KillContainerOptionsBuilder::default().signal(signal).build();
        match self.engine.call(limit, |docker| async move { docker.kill_container(&id, Some(options)).await }).await {
            // Gone, or not running: nothing to signal.
            Err(error) if matches!(error.status(), Some(404 | 409)) => Ok(()),
            other => other,
        }
    }

    async fn thaw(&self, found: &Found) {
        if !found.paused {
            return;
        }
        let id = found.id.clone();
        if let Err(error) = self.engine.call(KILL_CALL_LIMIT, |docker| async move { docker.unpause_container(&id).await }).await {
            // Expected after a kill that already resumed it.
            tracing::debug!(instance = %found.key.instance_name(), %error, "not resumed");
        }
    }

    async fn kill_by_handle(&self, key: &InstanceKey, handle: &KillHandle) -> Result<(), RuntimeError> {
        kill_now(handle)?;
        if gone_within(handle, KILL_TAKES).await {
            return Ok(());
        }
        let reason =
            format!("process {} is still there {} s after SIGKILL (paused, or stuck in the kernel?)", handle.pid, KILL_TAKES.as_secs());
        Err(refused(key, &reason))
    }

    /// The process is gone: give the engine a moment to see it, so that a remove right after is not refused. Its failure to is
    /// no failure of ours.
    async fn settled(&self, key: &InstanceKey) -> Result<(), RuntimeError> {
        if !self.noticed_end(key).await.unwrap_or(false) {
            tracing::warn!(instance = %key.instance_name(), "dockerd has not noticed its end yet");
        }
        Ok(())
    }
}
