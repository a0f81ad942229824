//! Why a runtime could not do what it was asked. Shown to users through the lease's observation.

/// One failed runtime call. `retry` in [`RuntimeError::may_succeed_later`] says whether a repeat can help.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    #[error("{runtime} cannot run here: {reason}")]
    Unavailable { runtime: &'static str, reason: String },
    #[error("image {image} is not on this host: load or pull it there")]
    ImageMissing { image: String },
    #[error("{what}: {reason}")]
    InvalidSpec { what: &'static str, reason: String },
    #[error("{instance}: {reason}")]
    Refused { instance: String, reason: String },
    #[error("{instance}: command did not end within {timeout_ms} ms")]
    ExecTimeout { instance: String, timeout_ms: u64 },
    #[error("{operation} {instance}")]
    Io {
        operation: &'static str,
        instance: String,
        #[source]
        source: std::io::Error,
    },
    #[error("docker {operation} {instance}: {message}")]
    Docker { operation: &'static str, instance: String, message: String },
}

impl RuntimeError {
    /// `false` when only a changed spec or host helps.
    #[must_use]
    pub fn may_succeed_later(&self) -> bool {
        match self {
            Self::InvalidSpec { .. } => false,
            Self::Unavailable { .. }
            | Self::ImageMissing { .. }
            | Self::Refused { .. }
            | Self::ExecTimeout { .. }
            | Self::Io { .. }
            | Self::Docker { .. } => true,
        }
    }
}
