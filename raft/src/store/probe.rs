//! Named points around every sync, rename and flip, where a test can stop the process or take a picture of the disk. Real nodes pass
//! a probe that does nothing.

use std::fmt;
use std::sync::Arc;

/// A point the store passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Point {
    LogBeforeSync,
    LogAfterSync,
    PurgeBeforeSync,
    PurgeAfterSync,
    ApplyAfterWrite,
    SnapshotBeforeFileSync,
    SnapshotBeforeRename,
    SnapshotAfterRename,
    SnapshotAfterFolderSync,
    InstallAfterObjects,
    InstallAfterEvents,
    InstallBeforeFlip,
    InstallAfterFlip,
    InstallAfterSync,
}

impl Point {
    /// Every point, for tests that go through all.
    pub const ALL: [Self; 14] = [
        Self::LogBeforeSync,
        Self::LogAfterSync,
        Self::PurgeBeforeSync,
        Self::PurgeAfterSync,
        Self::ApplyAfterWrite,
        Self::SnapshotBeforeFileSync,
        Self::SnapshotBeforeRename,
        Self::SnapshotAfterRename,
        Self::SnapshotAfterFolderSync,
        Self::InstallAfterObjects,
        Self::InstallAfterEvents,
        Self::InstallBeforeFlip,
        Self::InstallAfterFlip,
        Self::InstallAfterSync,
    ];
}

/// What happens at the points. Cheap to clone.
#[derive(Clone)]
pub struct Probe(Arc<dyn Fn(Point) + Send + Sync>);

impl Probe {
    #[must_use]
    pub fn none() -> Self {
        Self(Arc::new(|_| {}))
    }

    #[must_use]
    pub fn new(at: impl Fn(Point) + Send + Sync + 'static) -> Self {
        Self(Arc::new(at))
    }

    pub(crate) fn at(&self, point: Point) {
        (self.0)(point);
    }
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Probe")
    }
}
