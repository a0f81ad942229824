//! Where the engine is and for whom we run containers. Made by the executor's start-up from its own configuration.

use std::path::PathBuf;

/// What [`super::DockerRuntime`] needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DockerConfig {
    /// The engine's socket; a leading `unix://` is accepted.
    pub socket: PathBuf,
    /// Cluster id, 32 hex digits.
    pub cluster: String,
    /// This host's name in Berth.
    pub host: String,
}
