//! Start requests sent to the engine by this process. A start goes on in the engine when its caller gives up waiting, so each
//! one runs in its own task to its end, and everyone who cares waits for that one. It must never let a second start request
//! for the same instance out: after a quick exit it would run the instance again.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bollard::query_parameters::StartContainerOptions;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};

use super::call_error::CallError;
use super::engine::Engine;
use crate::runtime::InstanceKey;

/// How long a start is followed at all. Its caller waits far shorter.
const FOLLOW_LIMIT: Duration = Duration::from_secs(600);

/// The engine's answer to one start request, for all who wait.
pub(super) type StartOutcome = Shared<BoxFuture<'static, Result<(), CallError>>>;

/// By instance; entries go when the start failed, or the instance is found to be gone.
#[derive(Debug, Default)]
pub(super) struct Starts {
    sent: Mutex<BTreeMap<InstanceKey, StartOutcome>>,
}

impl Starts {
    /// Sends the start unless one was sent before.
    pub(super) fn send(&self, engine: &Engine, key: &InstanceKey, id: &str) -> StartOutcome {
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(outcome) = sent.get(key) {
            return outcome.clone();
        }
        let (engine, id) = (engine.clone(), id.to_owned());
        let task = tokio::spawn(async move {
            let request = |docker: bollard::Docker| async move { docker.start_container(&id, None::<StartContainerOptions>).await };
            engine.call(FOLLOW_LIMIT, request).await
        });
        let outcome = async move { task.await.unwrap_or_else(|error| Err(CallError::Broken { message: error.to_string() })) };
        let outcome = outcome.boxed().shared();
        sent.insert(key.clone(), outcome.clone());
        outcome
    }

    /// A start that the engine has not answered yet.
    pub(super) fn pending(&self, key: &InstanceKey) -> Option<StartOutcome> {
        let sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        // A shared future knows its result only once someone polled it: `now_or_never` polls.
        sent.get(key).filter(|outcome| (*outcome).clone().now_or_never().is_none()).cloned()
    }

    pub(super) fn forget(&self, key: &InstanceKey) {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    /// For an instance that the engine no longer knows.
    pub(super) fn forget_if_over(&self, key: &InstanceKey) {
        if self.pending(key).is_none() {
            self.forget(key);
        }
    }
}
