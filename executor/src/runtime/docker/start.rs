//! Starting an instance and finding out how to kill it. Called by the reconciler through [`super::DockerRuntime`]. It must never
//! start an exited instance, and never leave one running that cannot be killed without the engine.

use std::time::Duration;

use super::DockerRuntime;
use super::call_error::{CallError, millis};
use super::engine::{CALL_LIMIT, KILL_CALL_LIMIT};
use super::found::Found;
use super::handle::{self, HandleError};
use crate::runtime::guarded;
use crate::runtime::{InstanceKey, InstanceState, KillHandle, RuntimeError};

/// How long a caller waits for the engine to start something.
const START_WAIT: Duration = Duration::from_secs(30);
/// How long the engine may take to notice that a container has ended.
const NOTICE_LIMIT: Duration = Duration::from_secs(3);
/// How long, and how often looked, until a guard has said that the command runs: 2 s.
const WORD_LOOKS: u32 = 400;
const WORD_LOOK_EVERY: Duration = Duration::from_millis(5);
const NOTICE_LOOK_EVERY: Duration = Duration::from_millis(50);

impl DockerRuntime {
    pub(super) async fn start_instance(&self, key: &InstanceKey) -> Result<KillHandle, RuntimeError> {
        let outcome = match self.starts.pending(key) {
            Some(outcome) => outcome,
            None => {
                let found = self.find(key, CALL_LIMIT).await?.ok_or_else(|| refused(key, "it does not exist: create it first"))?;
                match &found.state {
                    InstanceState::Running => return self.handle_after_start(key, found).await,
                    InstanceState::Exited { reason, .. } => {
                        return Err(refused(key, &format!("an exited instance is never started again ({reason})")));
                    }
                    InstanceState::Created => match &found.refused {
                        Some(reason) => return Err(refused(key, reason)),
                        None => self.starts.send(&self.engine, key, &found.id),
                    },
                }
            }
        };
        let answer = tokio::time::timeout(START_WAIT, outcome).await.unwrap_or_else(|_| Err(CallError::timed_out(START_WAIT)));
        if let Err(error) = answer {
            // While unanswered it stays noted, so that kill and remove wait for it.
            self.starts.forget_if_over(key);
            return Err(error.into_runtime("start", &key.instance_name()));
        }
        let found = self.find(key, CALL_LIMIT).await?.ok_or_else(|| refused(key, "it was removed while it started"))?;
        let found = self.after_the_guards_first_word(key, found).await?;
        self.handle_after_start(key, found).await
    }

    pub(super) async fn running_handle(&self, key: &InstanceKey) -> Result<Option<KillHandle>, RuntimeError> {
        match self.find(key, CALL_LIMIT).await? {
            Some(found) if found.running() => self.handle_of(&found).await,
            Some(_) | None => Ok(None),
        }
    }

    /// Waits, within a limit, for a start that is under way: it decides whether the instance runs.
    pub(super) async fn after_pending_start(&self, key: &InstanceKey, limit: Duration) -> Result<(), RuntimeError> {
        let Some(outcome) = self.starts.pending(key) else { return Ok(()) };
        if tokio::time::timeout(limit, outcome).await.is_ok() {
            return Ok(());
        }
        let reason = format!("dockerd still works on its start after {} ms more, so it may yet run: try again", millis(limit));
        Err(RuntimeError::Refused { instance: key.instance_name(), reason })
    }

    /// The engine calls a container started that has only its guard: the command's start is known a moment later. A guard that says nothing does not
    /// hold up the caller, who has the instance to kill.
    async fn after_the_guards_first_word(&self, key: &InstanceKey, mut found: Found) -> Result<Found, RuntimeError> {
        for _ in 0..WORD_LOOKS {
            let Some(phase) = found.guard.phase() else { return Ok(found) };
            if guarded::has_begun(phase) {
                return Ok(found);
            }
            if !guarded::is_beginning(phase) || !found.running() {
                break;
            }
            tokio::time::sleep(WORD_LOOK_EVERY).await;
        }
        if self.noticed_end(key).await? {
            found = self.find(key, CALL_LIMIT).await?.ok_or_else(|| refused(key, "it was removed while it started"))?;
            if let InstanceState::Exited { reason, .. } = &found.state {
                return Err(refused(key, reason));
            }
        }
        Ok(found)
    }

    async fn handle_after_start(&self, key: &InstanceKey, found: Found) -> Result<KillHandle, RuntimeError> {
        if !found.running() {
            return Ok(handle::already_over());
        }
        match self.handle_of(&found).await {
            Ok(Some(handle)) => Ok(handle),
            Ok(None) => Ok(handle::already_over()),
            Err(error) => {
                // What could not be killed at its deadline must not run at all.
                tracing::error!(instance = %key.instance_name(), %error, "started but cannot be killed from here: stopped again");
                if let Err(error) = self.engine_kill(&found.id, "SIGKILL", KILL_CALL_LIMIT).await {
                    tracing::error!(instance = %key.instance_name(), %error, "kill failed");
                }
                Err(error)
            }
        }
    }

    /// The handle of a container that the engine called running. `None`: it has ended meanwhile.
    pub(super) async fn handle_of(&self, found: &Found) -> Result<Option<KillHandle>, RuntimeError> {
        let instance = found.key.instance_name();
        let Some(pid) = found.pid else {
            return if self.noticed_end(&found.key).await? {
                Ok(None)
            } else {
                Err(refused(&found.key, "dockerd calls it running but names no process"))
            };
        };
        match handle::make(pid, &found.id) {
            Ok(handle) => {
                self.handles.keep(&found.key, &handle);
                Ok(Some(handle))
            }
            // Ended, or invisible: the engine's own view, a moment later, tells which.
            Err(HandleError::NotVisible { .. }) if self.noticed_end(&found.key).await? => Ok(None),
            Err(error @ (HandleError::NotVisible { .. } | HandleError::Foreign { .. })) => {
                Err(RuntimeError::Refused { instance, reason: error.to_string() })
            }
            Err(HandleError::Io { source, .. }) => Err(RuntimeError::Io { operation: "examine", instance, source }),
        }
    }

    /// Whether the engine says, within a moment, that the instance no longer runs.
    pub(super) async fn noticed_end(&self, key: &InstanceKey) -> Result<bool, RuntimeError> {
        let wait = async {
            while self.find(key, CALL_LIMIT).await?.is_some_and(|found| found.running()) {
                tokio::time::sleep(NOTICE_LOOK_EVERY).await;
            }
            Ok(true)
        };
        tokio::time::timeout(NOTICE_LIMIT, wait).await.unwrap_or(Ok(false))
    }
}

pub(super) fn refused(key: &InstanceKey, reason: &str) -> RuntimeError {
    RuntimeError::Refused { instance: key.instance_name(), reason: reason.to_owned() }
}
