//! Puts a snapshot of another node in the place of this node's state. The new objects go under the next generation, where nobody looks; one
//! synced batch makes them the state. After a crash at any point there is the old state or the new one. The local event log is only ever
//! added to: events that are missing come with the snapshot, and must continue the local hash exactly.

use tracing::info;

use super::{APPLIED, StateCore, object_key};
use crate::engine::{Batch, Family};
use crate::fatal::FatalKind;
use crate::store::codec::seal;
use crate::store::error::StoreError;
use crate::store::events::{EventHead, chain, drop_beyond, put};
use crate::store::machine::Machine;
use crate::store::probe::Point;
use crate::store::shared::{Held, Standing};
use crate::store::snapshot::{SnapshotError, SnapshotHandle};
use crate::types::SnapshotMeta;

/// How much is written at once.
const BATCH_BYTES: usize = 4 << 20;

impl<M: Machine> StateCore<M> {
    /// Installs a snapshot; openraft calls nothing else meanwhile.
    pub(super) fn install(&self, meta: &SnapshotMeta, snapshot: SnapshotHandle) -> Result<(), StoreError> {
        let _one = self.one_at_a_time();
        let manifest = snapshot.manifest().clone();
        if manifest.meta() != *meta {
            let detail = format!("its manifest says {}, openraft was told {meta}", manifest.meta());
            return Err(SnapshotError::Damaged { path: snapshot.path.clone(), detail }.into());
        }
        let now = self.shared.standing();
        if let (Some(applied), Some(found)) = (now.last, manifest.last)
            && found.index < applied.index
        {
            return Err(StoreError::SnapshotTooOld { found: found.index, applied: applied.index });
        }
        let snapshot = self.snapshots.bring_in(snapshot).map_err(|e| self.fail(FatalKind::DurableWrite, "copying a snapshot", e.into()))?;
        let generation = now.generation + 1;
        let machine = self.write_objects(&snapshot, generation)?;
        self.probe.at(Point::InstallAfterObjects);
        self.append_received_events(&snapshot, now.head, manifest.head)?;
        self.probe.at(Point::InstallAfterEvents);
        let standing = Standing { last: manifest.last, membership: manifest.membership.clone(), head: manifest.head, generation };
        self.flip(&standing)?;
        *self.shared.lock_write() = Held { machine, standing };
        self.events.set_head(manifest.head);
        self.durable.fetch_max(manifest.last.map_or(0, |id| id.index + 1), std::sync::atomic::Ordering::AcqRel);
        // After the flip: a snapshot in the folder is never newer than the durable state beside it.
        let published = self.snapshots.publish(snapshot);
        published.map_err(|e| self.fail(FatalKind::DurableWrite, "publishing a snapshot", e.into()))?;
        self.shared.announce();
        let index = manifest.last.map_or(0, |id| id.index);
        info!(index, objects = manifest.objects, "snapshot installed");
        self.observer.installed(index);
        Ok(())
    }

    fn write(&self, batch: Batch) -> Result<(), StoreError> {
        self.engine.write(batch).map_err(|e| self.fail(FatalKind::DurableWrite, "installing a snapshot", e.into()))
    }

    /// Writes the objects under a generation that is not in force, and builds the machine from the same bytes.
    fn write_objects(&self, snapshot: &SnapshotHandle, generation: u64) -> Result<M, StoreError> {
        let damaged = |detail: String| StoreError::from(SnapshotError::Damaged { path: snapshot.path.clone(), detail });
        let mut batch = Batch::new();
        // An earlier try may have left something.
        batch.delete_range(Family::State, object_key(generation, &[]), object_key(generation + 1, &[]));
        let mut objects = snapshot.objects()?;
        let mut failed = None;
        let mut writing = std::iter::from_fn(|| {
            if failed.is_some() {
                return None;
            }
            let (key, value) = objects.next()?;
            batch.put(Family::State, object_key(generation, &key), value.as_slice());
            if batch.size_bytes() >= BATCH_BYTES
                && let Err(error) = self.write(std::mem::take(&mut batch))
            {
                failed = Some(error);
                return None;
            }
            Some((key, value))
        });
        let machine = M::load(&mut writing);
        if let Some(error) = failed {
            return Err(error);
        }
        objects.finish().map_err(damaged)?;
        self.write(batch)?;
        machine.map_err(damaged)
    }

    /// Adds the events between the local head and the snapshot's. They are not part of the log before the flip.
    fn append_received_events(
        &self,
        snapshot: &SnapshotHandle,
        have: Option<EventHead>,
        wanted: Option<EventHead>,
    ) -> Result<(), StoreError> {
        let mut head = have;
        let mut batch = Batch::new();
        drop_beyond(&mut batch, have.as_ref());
        let unreadable = |source| SnapshotError::File { path: snapshot.path.clone(), action: "reading received events", source };
        for event in snapshot.events.iter().flat_map(|events| events.read()) {
            let event = event.map_err(unreadable)?;
            // Applied here while the snapshot was on its way: must be the very same.
            if have.is_some_and(|have| event.position <= have.position()) {
                if !self.events.contains(&event.head())? {
                    return Err(self.diverged(&event.head()));
                }
                continue;
            }
            if wanted.is_none_or(|wanted| event.position > wanted.position()) {
                break;
            }
            if chain(head.as_ref(), event.position, event.payload.clone()).hash != event.hash {
                return Err(self.diverged(&event.head()));
            }
            put(&mut batch, &event);
            head = Some(event.head());
            if batch.size_bytes() >= BATCH_BYTES {
                self.write(std::mem::take(&mut batch))?;
            }
        }
        self.write(batch)?;
        self.check_reached(head, wanted)
    }

    fn check_reached(&self, reached: Option<EventHead>, wanted: Option<EventHead>) -> Result<(), StoreError> {
        if reached == wanted {
            return Ok(());
        }
        let text = |head: Option<EventHead>| head.map_or_else(|| "the beginning".to_owned(), |head| format!("{}.{}", head.index, head.seq));
        match (reached, wanted) {
            // Same place, other hash; or events here that the snapshot's node never had.
            (Some(reached), Some(wanted)) if reached.position() >= wanted.position() => Err(self.diverged(&wanted)),
            (Some(reached), None) => Err(self.diverged(&reached)),
            (Some(_) | None, _) => Err(StoreError::EventsMissing { have: text(reached), wanted: text(wanted) }),
        }
    }

    fn diverged(&self, head: &EventHead) -> StoreError {
        let error = StoreError::Diverged { index: head.index, seq: head.seq };
        self.fail(FatalKind::Diverged, "installing a snapshot", error)
    }

    /// Makes the new generation the state, durably.
    fn flip(&self, standing: &Standing) -> Result<(), StoreError> {
        let mut batch = Batch::new();
        batch.put(Family::SmMeta, APPLIED, seal(&standing.to_pb()));
        batch.delete_range(Family::State, Vec::new(), object_key(standing.generation, &[]));
        self.probe.at(Point::InstallBeforeFlip);
        self.write(batch)?;
        self.probe.at(Point::InstallAfterFlip);
        // Durable before reply. Batches become durable in order, so the objects and events are on disk too.
        self.engine.sync().map_err(|e| self.fail(FatalKind::DurableWrite, "syncing an installed snapshot", e.into()))?;
        self.probe.at(Point::InstallAfterSync);
        Ok(())
    }
}
