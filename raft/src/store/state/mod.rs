//! The applied state of this node: openraft drives it, one call at a time; readers see it through [`Shared`]. It must never show a state whose events
//! cannot be read, and never let the log be purged before the state is on disk.
//!
//! - [`apply`]: committed entries become objects and events, one batch at a time. [`load`]: state from disk at open.
//! - [`build`]: a snapshot of it. [`install`]: a snapshot of another node in its place.

mod apply;
mod build;
mod install;
pub(super) mod load;

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use berth_state::ids::ClusterId;
use futures::{Stream, StreamExt};
use openraft::OptionalSend;
use openraft::storage::{EntryResponder, RaftStateMachine};

pub use build::SnapshotBuilder;

use super::error::StoreError;
use super::events::EventLog;
use super::log::barrier::PurgeBarrier;
use super::machine::{ApplyObserver, Machine};
use super::probe::{Point, Probe};
use super::shared::Shared;
use super::snapshot::{SnapshotHandle, Snapshots};
use crate::engine::Engine;
use crate::fatal::{Fatal, FatalKind};
use crate::types::{LogId, Snapshot, SnapshotMeta, StoredMembership, TypeConfig};

/// Key of the one record in [`crate::engine::Family::SmMeta`] that says where the state stands.
pub(super) const APPLIED: &[u8] = b"applied";

/// Entries gathered into one batch, at most: bounds how long readers wait for the lock.
const MAX_BATCH_ENTRIES: usize = 1024;
/// Bytes of commands in one batch, roughly at most.
const MAX_BATCH_BYTES: usize = 4 << 20;

/// Key of an object in the engine.
pub(super) fn object_key(generation: u64, key: &[u8]) -> Vec<u8> {
    [&generation.to_be_bytes()[..], key].concat()
}

/// What the parts of the state store share.
pub(super) struct StateCore<M> {
    pub engine: Arc<dyn Engine>,
    pub cluster: ClusterId,
    pub shared: Arc<Shared<M>>,
    pub events: EventLog,
    pub snapshots: Snapshots,
    pub observer: Arc<dyn ApplyObserver>,
    pub fatal: Fatal,
    pub probe: Probe,
    /// One more than the highest index whose effect is known to be on disk; 0: none.
    pub durable: AtomicU64,
    /// One build or install at a time.
    pub changing: Mutex<()>,
    /// Keeps the data folder locked as long as the state is open.
    pub _lock: Arc<dyn Send + Sync>,
}

impl<M: Machine> StateCore<M> {
    /// Makes all that is applied durable, and gives back the index.
    fn sync(&self, during: &'static str) -> Result<Option<u64>, StoreError> {
        let applied = self.shared.lock_read().standing.index();
        self.probe.at(Point::PurgeBeforeSync);
        if let Err(error) = self.engine.sync() {
            self.fatal.raise(FatalKind::DurableWrite, during, &error);
            return Err(error.into());
        }
        self.probe.at(Point::PurgeAfterSync);
        self.durable.fetch_max(applied.map_or(0, |index| index + 1), Ordering::AcqRel);
        Ok(applied)
    }

    /// Reports an error after which this node must not go on.
    fn fail(&self, kind: FatalKind, during: &'static str, error: StoreError) -> StoreError {
        self.fatal.raise(kind, during, &error);
        error
    }
}

impl<M: Machine> PurgeBarrier for StateCore<M> {
    fn make_durable(&self, index: u64) -> Result<(), StoreError> {
        if self.durable.load(Ordering::Acquire) > index {
            return Ok(());
        }
        let applied = self.sync("syncing the state before a purge of the log")?;
        if applied.is_some_and(|applied| applied >= index) { Ok(()) } else { Err(StoreError::NotApplied { index, applied }) }
    }
}

/// The applied state as openraft drives it.
pub struct StateStore<M> {
    core: Arc<StateCore<M>>,
}

impl<M: Machine> StateStore<M> {
    pub(super) fn new(core: Arc<StateCore<M>>) -> Self {
        Self { core }
    }
}

impl<M: Machine> RaftStateMachine<TypeConfig> for StateStore<M> {
    type SnapshotData = SnapshotHandle;
    type SnapshotBuilder = SnapshotBuilder<M>;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        let standing = self.core.shared.standing();
        Ok((standing.last, standing.membership))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        let mut ended = false;
        while !ended {
            let mut chunk = apply::Chunk::default();
            while chunk.has_room() {
                match entries.next().await {
                    Some(entry) => chunk.push(entry?),
                    None => {
                        ended = true;
                        break;
                    }
                }
            }
            self.core.apply(chunk)?;
        }
        Ok(())
    }

    async fn try_create_snapshot_builder(&mut self, _force: bool) -> Option<SnapshotBuilder<M>> {
        Some(SnapshotBuilder::new(self.core.clone()))
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder<M> {
        SnapshotBuilder::new(self.core.clone())
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: SnapshotHandle) -> Result<(), io::Error> {
        let (core, meta) = (self.core.clone(), meta.clone());
        // Reads and writes the whole state: not on a runtime thread.
        tokio::task::spawn_blocking(move || core.install(&meta, snapshot)).await.map_err(io::Error::other)??;
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        let current = self.core.snapshots.current();
        Ok(current.map(|snapshot| Snapshot { meta: snapshot.manifest().meta(), snapshot }))
    }
}
