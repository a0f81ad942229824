//! The connection to one Docker engine. Called by every other file of this runtime. It must never make a call without a time
//! limit and never hold a lock across one: a hung engine call may cost its caller the limit, and nobody else anything.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bollard::errors::Error as BollardError;
use bollard::{API_DEFAULT_VERSION, Docker};

use super::call_error::CallError;

/// Most calls: far more than a healthy engine needs, little enough that a reconcile round goes on.
pub(super) const CALL_LIMIT: Duration = Duration::from_secs(10);
/// Calls on the way to a kill: then system calls take over.
pub(super) const KILL_CALL_LIMIT: Duration = Duration::from_secs(2);
/// Removing deletes file trees.
pub(super) const REMOVE_LIMIT: Duration = Duration::from_secs(60);
/// The client's own limit, only a backstop: shorter ones are set per call.
const CLIENT_LIMIT_SECS: u64 = 900;

/// A cheap handle; clones share the negotiated connection.
#[derive(Clone, Debug)]
pub(super) struct Engine {
    socket: Arc<PathBuf>,
    client: Arc<Mutex<Option<Docker>>>,
}

impl Engine {
    pub(super) fn new(socket: PathBuf) -> Self {
        let bare = socket.to_str().and_then(|text| text.strip_prefix("unix://")).map(PathBuf::from);
        Self { socket: Arc::new(bare.unwrap_or(socket)), client: Arc::default() }
    }

    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    /// One request within `limit`, connecting and negotiating the API version first where needed.
    pub(super) async fn call<T, F, Fut>(&self, limit: Duration, request: F) -> Result<T, CallError>
    where
        F: FnOnce(Docker) -> Fut,
        Fut: Future<Output = Result<T, BollardError>>,
    {
        let work = async {
            let docker = self.client().await?;
            request(docker).await.map_err(|error| self.failed(&error))
        };
        tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(CallError::timed_out(limit)))
    }

    /// For answers that stream: the caller sets the limits while it reads.
    pub(super) async fn client_within(&self, limit: Duration) -> Result<Docker, CallError> {
        tokio::time::timeout(limit, self.client()).await.unwrap_or_else(|_| Err(CallError::timed_out(limit)))
    }

    /// Classifies a failure, and forgets the connection when the engine behind it may have been replaced.
    pub(super) fn failed(&self, error: &BollardError) -> CallError {
        let error = CallError::from_bollard(error, &self.socket);
        if error.ends_connection() {
            *self.client.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        error
    }

    async fn client(&self) -> Result<Docker, CallError> {
        let known = self.client.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(docker) = known {
            return Ok(docker);
        }
        // Two callers may negotiate at the same time: harmless, and better than one waiting for the other's hung call.
        let path = self.socket.to_string_lossy();
        let docker = Docker::connect_with_unix(&path, CLIENT_LIMIT_SECS, API_DEFAULT_VERSION).map_err(|error| self.failed(&error))?;
        let docker = docker.negotiate_version().await.map_err(|error| self.failed(&error))?;
        *self.client.lock().unwrap_or_else(PoisonError::into_inner) = Some(docker.clone());
        Ok(docker)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "test")]

    use super::*;

    #[tokio::test]
    async fn a_missing_socket_is_told_apart_from_a_refusal() {
        let folder = tempfile::tempdir().unwrap();
        let engine = Engine::new(folder.path().join("none.sock"));
        let error = engine.call(CALL_LIMIT, |docker| async move { docker.ping().await }).await.unwrap_err();
        assert!(
            matches!(&error, CallError::NotReachable { reason } if reason.contains("none.sock") && reason.contains("start it")),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_dead_socket_is_not_reachable_and_the_url_form_is_understood() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dead.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let engine = Engine::new(PathBuf::from(format!("unix://{}", path.display())));
        assert_eq!(engine.socket(), path);
        let error = engine.call(CALL_LIMIT, |docker| async move { docker.ping().await }).await.unwrap_err();
        assert!(matches!(&error, CallError::NotReachable { reason } if reason.contains("refused")), "{error}");
    }

    #[tokio::test]
    async fn an_engine_that_accepts_and_never_answers_costs_only_the_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hung.sock");
        let _listener = tokio::net::UnixListener::bind(&path).unwrap();
        let engine = Engine::new(path);
        let limit = Duration::from_millis(100);
        let call = || engine.call(limit, |docker| async move { docker.ping().await });
        // Many at once: none waits for another's limit, or the outer bound would pass.
        let all = futures::future::join_all((0..20).map(|_| call()));
        let errors = tokio::time::timeout(Duration::from_millis(1000), all).await.unwrap();
        assert!(errors.iter().all(|outcome| *outcome == Err(CallError::TimedOut { limit_ms: 100 })));
    }
}
