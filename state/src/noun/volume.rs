//! Volumes: registered units of data with at most one writer.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::ids::{HostId, Revision, Time, Token, Version, VolumeId};
use crate::storage::StorageOptions;

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Volume {
    pub id: VolumeId,
    pub spec: VolumeSpec,
    pub version: Version,
    pub created: Revision,
    /// Token of the newest lease that ever named this volume; 0: none yet.
    pub last_token: Token,
    /// Hosts that the storage keeps out (L15), at most one entry each.
    pub bars: Vec<Bar>,
    /// Two holders are suspected: no new lease until an operator clears it.
    pub suspicion: Option<Suspicion>,
}

impl Volume {
    #[must_use]
    pub fn bar(&self, host: &HostId) -> Option<&Bar> {
        self.bars.iter().find(|bar| bar.host == *host)
    }
}

/// A host that the storage does not let in to a volume. There since the fence action was ordered, because it may take effect late.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Bar {
    pub host: HostId,
    /// Cut there and not yet known to be gone.
    pub tokens: Vec<Token>,
    /// The newest token that was cut there: a lift for an older one must not undo it.
    pub newest: Token,
    pub since: Revision,
    /// The entry after which the bar may be lifted at the storage; accepted only when `tokens` is empty.
    pub lifting: Option<Revision>,
}

/// A new holder saw the heartbeat of another one advance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Suspicion {
    pub token: Token,
    pub other: Token,
    pub at: Revision,
    pub time: Time,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VolumeSpec {
    pub driver: Driver,
    /// The driver's own options; checked when the volume is added.
    pub options: BTreeMap<String, String>,
    pub takeover: Takeover,
    /// The owner's statement that all hosts share one page cache or the storage takes only synchronous writes, so that a dead
    /// holder's dirty pages cannot reach the data later.
    pub coherent: bool,
    /// Waited after expiry before RanOut may be proposed (L12).
    pub lock_delay_ms: u64,
}

impl VolumeSpec {
    pub const DEFAULT_LOCK_DELAY_MS: u64 = 500;
    pub const MAX_LOCK_DELAY_MS: u64 = 3_600_000;
}

impl VolumeSpec {
    /// Whether this volume's driver can keep a dead holder's dirty pages from the storage.
    #[must_use]
    pub fn can_cut(&self) -> bool {
        StorageOptions::parse(self.driver, &self.options).is_ok_and(|options| options.can_cut())
    }

    /// Whether the storage behind it can cut off a client by itself, acknowledged (StorageCut).
    #[must_use]
    pub fn can_fence(&self) -> bool {
        StorageOptions::parse(self.driver, &self.options).is_ok_and(|options| options.can_fence())
    }

    /// Whether that cut can only bar a whole host, so that it must be lifted before the host may have the volume again.
    #[must_use]
    pub fn bars_host(&self) -> bool {
        StorageOptions::parse(self.driver, &self.options).is_ok_and(|options| options.bars_host())
    }
}

/// Storage drivers; their options are in [`crate::storage`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Driver {
    /// A directory on storage that every host mounts at the same place.
    Path,
    /// A file system in an image file on shared storage.
    Image,
    Nfs,
    Glusterfs,
    /// Through ceph-fuse.
    Cephfs,
    /// A program that speaks the documented protocol.
    Exec,
}

/// What must be true before another holder may take the volume over from one that fell silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Takeover {
    AfterExpiry,
    AfterFence,
    Manual,
}
