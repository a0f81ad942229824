//! Runtimes: what actually runs an instance. Called by the reconciler (async side) and by the deadline thread
//! (`kill_now` only). A runtime knows nothing of leases; it must never start anything that it was not told to start,
//! and never restart anything by itself.
//!
//! - [`spec`]: what to run ([`InstanceSpec`]) and what was seen ([`Observed`]).
//! - [`error`]: why not ([`RuntimeError`]).
//! - `guarded`: the guard, which is the first process of every instance.
//! - [`docker`]: Docker containers through bollard.
//! - [`kill`]: kills an instance with system calls alone, for the deadline thread.
//! - [`process`]: child process trees in their own cgroup and pid namespace.

pub mod docker;
pub mod error;
mod guarded;
pub mod kill;
pub mod process;
pub mod spec;

use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;

pub use error::RuntimeError;
pub use spec::{ExecOutput, InstanceKey, InstanceSpec, InstanceState, KillAhead, KillHandle, LogChunk, LogOptions, Observed};

/// One way to run instances on this host. All calls are safe to repeat.
#[async_trait]
pub trait Runtime: Send + Sync + 'static {
    /// `docker` or `process`; shown to users.
    fn name(&self) -> &'static str;

    /// Checks that this host can run instances this way.
    ///
    /// # Errors
    /// [`RuntimeError::Unavailable`] says what is missing and what to do.
    async fn probe(&self) -> Result<(), RuntimeError>;

    /// Every instance of this cluster and host that exists in any state, running or not, found by label or by the runtime's
    /// own records; leftovers of an earlier executor included.
    async fn list(&self) -> Result<Vec<Observed>, RuntimeError>;

    /// The instance as it is now; `None` when there is no trace of it.
    async fn inspect(&self, key: &InstanceKey) -> Result<Option<Observed>, RuntimeError>;

    /// Creates the instance without starting it: pulls nothing, binds nothing that another instance holds.
    ///
    /// # Errors
    /// [`RuntimeError::ImageMissing`], [`RuntimeError::InvalidSpec`], or the lower cause.
    async fn create(&self, spec: &InstanceSpec) -> Result<(), RuntimeError>;

    /// Starts a created instance and returns how to kill it without help. Idempotent on a running one; an exited one is never restarted.
    async fn start(&self, key: &InstanceKey) -> Result<KillHandle, RuntimeError>;

    /// The kill handle of a running instance (after an executor restart); `None` when it does not run.
    async fn kill_handle(&self, key: &InstanceKey) -> Result<Option<KillHandle>, RuntimeError>;

    /// How a created instance will be killed without help, should its start end only after whoever asked for it. Empty: that cannot be known before.
    async fn kill_ahead(&self, _key: &InstanceKey) -> Result<Vec<KillAhead>, RuntimeError> {
        Ok(vec![])
    }

    /// Sends the stop signal, waits up to `grace`, then kills. Returns when no process of the instance is left. `Ok` if it was not running.
    async fn stop(&self, key: &InstanceKey, grace: Duration) -> Result<(), RuntimeError>;

    /// Kills the whole instance at once. Returns when no process of it is left. `Ok` if it was not running.
    async fn kill(&self, key: &InstanceKey) -> Result<(), RuntimeError>;

    /// Removes a stopped instance and its records (logs too). `Ok` if there is none. Refuses a running one.
    async fn remove(&self, key: &InstanceKey) -> Result<(), RuntimeError>;

    /// Runs a command inside the running instance (health checks). Output is cut at 4 KiB.
    ///
    /// # Errors
    /// [`RuntimeError::ExecTimeout`] after `timeout`; the command is killed then.
    async fn exec(&self, key: &InstanceKey, argv: &[String], timeout: Duration) -> Result<ExecOutput, RuntimeError>;

    /// The instance's output. With `follow`, ends when the instance has exited and all is delivered.
    async fn logs(
        &self,
        key: &InstanceKey,
        options: LogOptions,
    ) -> Result<BoxStream<'static, Result<LogChunk, RuntimeError>>, RuntimeError>;

    /// Waits until some instance of this host may have changed state, or `at_most` has passed: a hint, never the truth.
    async fn changed(&self, at_most: Duration);
}
