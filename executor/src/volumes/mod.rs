//! Volume drivers: how a volume becomes a directory on this host, and how a dead holder is kept from it. Called by the steps of a workload, under a live
//! lease only. A driver decides nothing about leases; it must never make data where there is none.
//!
//! - [`path`]: a directory on storage that every host mounts at the same place.
//! - [`fence_file`]: `.berth/fence`, the token on the volume itself; for every driver alike.

pub mod fence_file;
pub mod path;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use berth_state::ids::{ContainerId, HostId, LeaseId, Token, VolumeId};
use berth_state::noun::session::Cut;
use berth_state::noun::volume::Driver;

/// Which volume, and for whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeRequest {
    pub volume: VolumeId,
    pub options: BTreeMap<String, String>,
    pub host: HostId,
    pub container: ContainerId,
    pub lease: LeaseId,
    /// A cut names this identity, which is never let in again (L15); drivers that log in do so under it.
    pub token: Token,
    pub read_only: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    #[error("volume {volume}: driver {driver:?} cannot {operation}")]
    Unsupported { volume: VolumeId, driver: Driver, operation: &'static str },
    #[error("volume {volume}: {path} is not there: is the shared storage mounted on this host?")]
    NotThere { volume: VolumeId, path: PathBuf },
    #[error("volume {volume}: {why}")]
    Invalid { volume: VolumeId, why: String },
    #[error(
        "volume {volume} carries the fence of a newer token {found} (held by {holder}); this lease has token {token}, so it must not start"
    )]
    NewerToken { volume: VolumeId, token: Token, found: Token, holder: String },
    #[error("volume {volume}: {path}: {why}; see who wrote it before you remove it")]
    FenceUnreadable { volume: VolumeId, path: PathBuf, why: String },
    #[error("volume {volume}: cannot {action} {path}")]
    Io {
        volume: VolumeId,
        action: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

impl VolumeError {
    pub(crate) fn io(volume: &VolumeId, action: &'static str, path: &Path, source: std::io::Error) -> Self {
        Self::Io { volume: volume.clone(), action, path: path.to_owned(), source }
    }
}

/// One kind of storage. Every call is safe to repeat; what a driver has nothing to do for is `Ok`, what it cannot do is `Unsupported`.
#[async_trait]
pub trait VolumeDriver: Send + Sync + 'static {
    fn driver(&self) -> Driver;

    /// How write-back of a dead holder is cut on this host.
    fn cut_kind(&self) -> Cut;

    /// Makes the volume's data on the storage, empty. Never called for a volume that exists.
    async fn create(&self, request: &VolumeRequest) -> Result<(), VolumeError>;

    /// Makes the volume reachable from this host: log in, map a device.
    async fn attach(&self, request: &VolumeRequest) -> Result<(), VolumeError>;

    /// Makes it a directory; returns where.
    async fn mount(&self, request: &VolumeRequest) -> Result<PathBuf, VolumeError>;

    /// Flushes, and takes the directory away. Must not return before nothing of it is dirty.
    async fn unmount(&self, request: &VolumeRequest) -> Result<(), VolumeError>;

    /// The opposite of attach.
    async fn detach(&self, request: &VolumeRequest) -> Result<(), VolumeError>;

    /// Cuts write-back of a dead or dying holder at once, dirty pages included, before unmount.
    async fn cut(&self, request: &VolumeRequest) -> Result<(), VolumeError>;

    /// Bars the token's identity at the storage, acknowledged (L15): asked of another host's executor than the holder's.
    async fn fence(&self, request: &VolumeRequest) -> Result<(), VolumeError>;

    /// Makes a copy as of now, under `name`.
    async fn snapshot(&self, request: &VolumeRequest, name: &str) -> Result<(), VolumeError>;
}
