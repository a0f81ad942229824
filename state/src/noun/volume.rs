//! Volumes: registered units of data with at most one writer.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::ids::{Revision, Token, Version, VolumeId};

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Volume {
    pub id: VolumeId,
    pub spec: VolumeSpec,
    pub version: Version,
    pub created: Revision,
    /// Token of the newest lease that ever named this volume; 0: none yet.
    pub last_token: Token,
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

/// Storage drivers. `Path`: a directory on storage that every host mounts at the same place; option `path`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Driver {
    Path,
}

impl Driver {
    /// Whether this driver can keep a dead holder's dirty pages from the storage.
    #[must_use]
    pub fn can_cut(self) -> bool {
        match self {
            Self::Path => false,
        }
    }

    /// Whether the storage behind this driver can cut off a client by itself, acknowledged (StorageCut).
    #[must_use]
    pub fn can_fence(self) -> bool {
        match self {
            Self::Path => false,
        }
    }
}

/// What must be true before another holder may take the volume over from one that fell silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Takeover {
    AfterExpiry,
    AfterFence,
    Manual,
}
