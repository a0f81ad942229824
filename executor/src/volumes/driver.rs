//! What a volume driver is. Implemented once for each kind of storage, called by the steps of a workload under a live lease only.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use berth_state::ids::{ContainerId, HostId, LeaseId, Token, VolumeId};
use berth_state::noun::session::Cut;
use berth_state::noun::volume::Driver;

use super::cut::{self, CutPlan};
use super::error::VolumeError;
use super::place::DriverContext;

/// A clean unmount may have much to flush; beyond this it is repeated, or the lease ends and the volume is cut.
const UNMOUNT: Duration = Duration::from_secs(120);
/// Beyond what a cut itself allows its parts.
const CUT: Duration = Duration::from_secs(30);

/// Which volume, and for whom.
#[derive(Clone, Debug)]
pub struct VolumeRequest {
    pub volume: VolumeId,
    pub options: BTreeMap<String, String>,
    pub host: HostId,
    pub container: ContainerId,
    pub lease: LeaseId,
    /// A cut names this identity, which is never let in again (L15); drivers that log in do so under it.
    pub token: Token,
    pub read_only: bool,
    pub still: Still,
}

impl VolumeRequest {
    /// Where this volume is mounted under this token.
    pub(super) fn mount_point(&self, context: &DriverContext) -> PathBuf {
        context.mount_point(&self.volume, self.token)
    }

    /// Asked right before anything that writes to the storage begins: a call may have been frozen since it was made (I11).
    pub(super) fn still_may(&self) -> Result<(), VolumeError> {
        if self.still.may() { Ok(()) } else { Err(VolumeError::NoRight { volume: self.volume.clone() }) }
    }
}

/// Whether the right that a request was made under still lasts, by the clock as it is at the call.
#[derive(Clone)]
pub struct Still(Arc<dyn Fn() -> bool + Send + Sync>);

impl Still {
    #[must_use]
    pub fn new(may: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(may))
    }

    /// For calls that lead away from a start: they need no right.
    #[must_use]
    pub fn always() -> Self {
        Self::new(|| true)
    }

    #[must_use]
    pub fn may(&self) -> bool {
        (self.0)()
    }
}

impl fmt::Debug for Still {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Still({})", self.may())
    }
}

/// One kind of storage. Every call is safe to repeat; what a driver has nothing to do for is `Ok`, what it cannot do is `Unsupported`.
#[async_trait]
pub trait VolumeDriver: Send + Sync + 'static {
    fn driver(&self) -> Driver;

    /// How write-back of a dead holder is cut on this host.
    fn cut_kind(&self) -> Cut;

    /// Whether this host has what the driver needs. Asked before the driver is declared, and again at each mount.
    ///
    /// # Errors
    /// [`VolumeError::Needs`], with what to install.
    async fn probe(&self) -> Result<(), VolumeError>;

    /// How the volume is cut and unmounted by whoever must do so at the deadline. Pure, and complete before anything is attached.
    ///
    /// # Errors
    /// When the options are not those of the driver.
    fn cut_plan(&self, request: &VolumeRequest) -> Result<CutPlan, VolumeError>;

    /// Makes the volume reachable from this host: log in, find its data. Makes data only where that is provably the first time.
    async fn attach(&self, request: &VolumeRequest) -> Result<(), VolumeError>;

    /// Makes it a directory; returns where. A mount of the same token, by an earlier process too, is taken over as it is.
    async fn mount(&self, request: &VolumeRequest) -> Result<PathBuf, VolumeError>;

    /// Flushes, and takes the directory away. Must not return before nothing of it is dirty and the storage is let go of.
    async fn unmount(&self, request: &VolumeRequest) -> Result<(), VolumeError>;

    /// The opposite of attach.
    async fn detach(&self, request: &VolumeRequest) -> Result<(), VolumeError>;

    /// Makes a copy as of now, under `name`.
    async fn snapshot(&self, request: &VolumeRequest, name: &str) -> Result<(), VolumeError>;

    /// Cuts write-back of a dead or dying holder at once, dirty pages included, and takes the directory away unflushed.
    async fn cut(&self, request: &VolumeRequest) -> Result<(), VolumeError> {
        let (volume, plan) = (request.volume.clone(), self.cut_plan(request)?);
        let failed = |source| VolumeError::Cut { volume: volume.clone(), source };
        blocking(&volume, "the cut", CUT, move || {
            cut::cut_now(&plan)?;
            cut::unmount_now(&plan)
        })
        .await?
        .map_err(failed)
        .map(drop)
    }
}

/// Runs what may block on a thread of its own. A hung storage costs its thread and its lease, nothing else.
pub(super) async fn blocking<R: Send + 'static>(
    volume: &VolumeId,
    what: &'static str,
    at_most: Duration,
    act: impl FnOnce() -> R + Send + 'static,
) -> Result<R, VolumeError> {
    match tokio::time::timeout(at_most, tokio::task::spawn_blocking(act)).await {
        Ok(Ok(result)) => Ok(result),
        Ok(Err(join)) => Err(VolumeError::invalid(volume, format!("{what}: {join}"))),
        Err(_) => Err(VolumeError::TooSlow { volume: volume.clone(), what, seconds: at_most.as_secs() }),
    }
}

/// [`blocking`] with the bound of a clean unmount.
pub(super) async fn unmounting<R: Send + 'static>(volume: &VolumeId, act: impl FnOnce() -> R + Send + 'static) -> Result<R, VolumeError> {
    blocking(volume, "the unmount", UNMOUNT, act).await
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test")]
mod tests {
    use super::*;
    use crate::testing::rig::Rig;

    #[tokio::test]
    async fn a_host_offers_a_driver_only_when_it_has_what_the_driver_needs() {
        for lacks in [false, true] {
            let rig = Rig::new();
            rig.machine.lacks(lacks);
            let executor = rig.started().await;
            let offered = rig.control.opened()[0].order.declared.drivers.contains_key(&Driver::Path);
            assert_eq!(offered, !lacks);
            executor.stop().await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_storage_that_hangs_costs_its_call_and_no_more() {
        let volume = VolumeId::new("pg").unwrap();
        let (end, hang) = std::sync::mpsc::sync_channel::<()>(1);
        let result = blocking(&volume, "the mount", Duration::from_millis(20), move || hang.recv()).await;
        assert!(matches!(result, Err(VolumeError::TooSlow { .. })));
        drop(end);
    }
}
