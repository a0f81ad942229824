//! How one engine call fails. Made by [`super::engine`], turned into a [`RuntimeError`] where the call is understood. It must
//! keep "was never sent" apart from "may still be carried out": only the first is safe to treat as not done.

use std::error::Error as StdError;
use std::path::Path;
use std::time::Duration;

use bollard::errors::Error as BollardError;

use crate::runtime::RuntimeError;

/// Clonable, because several callers may wait for one start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum CallError {
    /// The request never left this process.
    #[error("{reason}")]
    NotReachable { reason: String },
    /// The engine may still carry the request out.
    #[error("dockerd did not answer within {limit_ms} ms and may still carry this out: see whether dockerd hangs on this host")]
    TimedOut { limit_ms: u64 },
    /// The engine refused, in its own words.
    #[error("{message}")]
    Status { code: u16, message: String },
    /// The connection broke half-way, or the answer made no sense.
    #[error("the connection to dockerd broke: {message}")]
    Broken { message: String },
}

impl CallError {
    pub(super) fn timed_out(limit: Duration) -> Self {
        Self::TimedOut { limit_ms: millis(limit) }
    }

    pub(super) fn from_bollard(error: &BollardError, socket: &Path) -> Self {
        if let BollardError::DockerResponseServerError { status_code, message } = error {
            return Self::Status { code: *status_code, message: message.trim().to_owned() };
        }
        let connecting = if let BollardError::HyperLegacyError { err } = error { err.is_connect() } else { false };
        let never_sent = connecting || matches!(error, BollardError::SocketNotFoundError(_));
        if never_sent {
            let reason = format!("no dockerd answers at {} ({}): start it, or give the right socket", socket.display(), chain(error));
            return Self::NotReachable { reason };
        }
        Self::Broken { message: chain(error) }
    }

    /// The status the engine answered with, if it answered.
    pub(super) fn status(&self) -> Option<u16> {
        match self {
            Self::Status { code, .. } => Some(*code),
            Self::NotReachable { .. } | Self::TimedOut { .. } | Self::Broken { .. } => None,
        }
    }

    /// Whether another engine could be behind the socket now, so that the API version must be negotiated again.
    pub(super) fn ends_connection(&self) -> bool {
        match self {
            Self::NotReachable { .. } | Self::Broken { .. } => true,
            Self::Status { code, message } => *code == 400 && message.contains("client version"),
            Self::TimedOut { .. } => false,
        }
    }

    pub(super) fn into_runtime(self, operation: &'static str, instance: &str) -> RuntimeError {
        match self {
            Self::NotReachable { reason } => RuntimeError::Unavailable { runtime: "docker", reason },
            Self::TimedOut { .. } | Self::Status { .. } | Self::Broken { .. } => {
                RuntimeError::Docker { operation, instance: instance.to_owned(), message: self.to_string() }
            }
        }
    }
}

/// Whole milliseconds; a duration too long for the field is shown as the longest.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The error and its causes in one line: the outer text of the HTTP client alone says nothing useful.
fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
    }
    text
}
