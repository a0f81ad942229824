//! Builds a snapshot of the applied state. Runs beside apply; takes the state in one short read lock. openraft purges the log once a snapshot
//! is built, so what it holds, and the events up to it, must be on disk before it has its name.

use std::io;
use std::sync::Arc;

use openraft::storage::RaftSnapshotBuilder;
use tracing::info;

use super::StateCore;
use crate::fatal::FatalKind;
use crate::store::error::StoreError;
use crate::store::machine::Machine;
use crate::store::snapshot::{Manifest, SnapshotHandle};
use crate::types::{Snapshot, TypeConfig};

/// See the module.
pub struct SnapshotBuilder<M> {
    core: Arc<StateCore<M>>,
}

impl<M: Machine> SnapshotBuilder<M> {
    pub(super) fn new(core: Arc<StateCore<M>>) -> Self {
        Self { core }
    }
}

impl<M: Machine> RaftSnapshotBuilder<TypeConfig> for SnapshotBuilder<M> {
    type SnapshotData = SnapshotHandle;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let core = self.core.clone();
        // Writes and syncs files: not on a runtime thread.
        let snapshot = tokio::task::spawn_blocking(move || core.build()).await.map_err(io::Error::other)??;
        Ok(Snapshot { meta: snapshot.manifest().meta(), snapshot })
    }
}

impl<M: Machine> StateCore<M> {
    pub(super) fn build(&self) -> Result<SnapshotHandle, StoreError> {
        let _one = self.one_at_a_time();
        let (manifest, objects) = {
            let held = self.shared.lock_read();
            let objects = held.machine.dump();
            let standing = &held.standing;
            let manifest = Manifest {
                cluster: self.cluster,
                last: standing.last,
                membership: standing.membership.clone(),
                objects: objects.len() as u64,
                head: standing.head,
            };
            (manifest, objects)
        };
        if let Some(current) = self.snapshots.current()
            && current.manifest().last == manifest.last
        {
            return Ok(current);
        }
        // The events are only in the engine, and a purge may follow.
        self.sync("syncing the state before a snapshot")?;
        let built = self.snapshots.create(&manifest, &objects);
        let built = built.map_err(|e| self.fail(FatalKind::DurableWrite, "building a snapshot", e.into()))?;
        info!(index = manifest.last.map(|id| id.index), objects = manifest.objects, size_bytes = built.len_bytes(), "snapshot built");
        Ok(built)
    }
}
