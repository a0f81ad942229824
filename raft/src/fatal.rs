//! The end of a process that must not go on: a durable write failed, or this node's data contradicts its group's. Called by the store;
//! tests put a hook in its place. It must never return to its caller in a real process: whoever goes on after it would answer for data that
//! is not on disk.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use tracing::error;

/// Exit code after a failed write or sync (documented beside the other exit codes of `berth server`).
pub const EXIT_DURABLE_WRITE_FAILED: i32 = 70;
/// Exit code after this node's data turned out to differ from what its group holds.
pub const EXIT_DIVERGED: i32 = 71;
/// Exit code after Raft ended by itself on this node.
pub const EXIT_RAFT_ENDED: i32 = 72;

/// Why the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FatalKind {
    /// A write or fsync failed. What is on disk is unknown, and a retry of fsync may lie: restart and read what is there.
    DurableWrite,
    /// Data of this node differs from that of its group. A restart does not help; the node must be looked at.
    Diverged,
    /// openraft ended by itself (a storage error that the store has not raised, or a broken invariant). A restart reads what is on disk.
    RaftEnded,
}

impl FatalKind {
    /// What the process ends with.
    #[must_use]
    pub fn exit_code(self) -> i32 {
        match self {
            Self::DurableWrite => EXIT_DURABLE_WRITE_FAILED,
            Self::Diverged => EXIT_DIVERGED,
            Self::RaftEnded => EXIT_RAFT_ENDED,
        }
    }
}

/// A fatal error as a hook sees it.
#[derive(Clone, Debug)]
pub struct FatalCause {
    pub kind: FatalKind,
    /// What was being done.
    pub during: &'static str,
    /// The error and its causes.
    pub error: String,
}

/// The way out. Cheap to clone.
#[derive(Clone)]
pub struct Fatal(Arc<dyn Fn(&FatalCause) + Send + Sync>);

impl Fatal {
    /// Logs the cause and ends the process.
    #[must_use]
    pub fn exit() -> Self {
        #[allow(clippy::disallowed_methods, reason = "this is the fatal path that the ban points to")]
        Self(Arc::new(|cause| std::process::exit(cause.kind.exit_code())))
    }

    /// Calls `hook` instead of ending the process: for tests and simulation, where the process is the test's own.
    #[must_use]
    pub fn hook(hook: impl Fn(&FatalCause) + Send + Sync + 'static) -> Self {
        Self(Arc::new(hook))
    }

    /// Ends the process (or calls the hook). Callers stop all work even if this returns.
    pub fn raise(&self, kind: FatalKind, during: &'static str, error: &(dyn Error + 'static)) {
        let cause = FatalCause { kind, during, error: chain(error) };
        error!(?kind, during, error = %cause.error, exit_code = kind.exit_code(), "fatal: the process ends");
        (self.0)(&cause);
    }
}

impl fmt::Debug for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fatal")
    }
}

/// An error and its causes in one line.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
