//! Committed entries become objects and events: one engine batch for many entries, then the observers, then the answers. The same on every node,
//! leader or not. It must never answer before the batch is written.

use std::sync::PoisonError;

use openraft::EntryPayload;
use openraft::storage::{ApplyResponder, EntryResponder};

use super::{APPLIED, MAX_BATCH_BYTES, MAX_BATCH_ENTRIES, StateCore, object_key};
use crate::engine::{Batch, Family};
use crate::fatal::FatalKind;
use crate::store::codec::seal;
use crate::store::error::StoreError;
use crate::store::events::{EventPosition, chain, put};
use crate::store::machine::{Applied, AppliedEntry, Machine};
use crate::store::probe::Point;
use crate::store::shared::{Held, Standing};
use crate::types::{Entry, Reply, StoredMembership, TypeConfig};

/// Entries that go into one batch.
#[derive(Default)]
pub(super) struct Chunk {
    entries: Vec<EntryResponder<TypeConfig>>,
    bytes: usize,
}

impl Chunk {
    pub fn has_room(&self) -> bool {
        self.entries.len() < MAX_BATCH_ENTRIES && self.bytes < MAX_BATCH_BYTES
    }

    pub fn push(&mut self, entry: EntryResponder<TypeConfig>) {
        if let EntryPayload::Normal(proposal) = &entry.0.payload {
            self.bytes += proposal.0.len();
        }
        self.entries.push(entry);
    }
}

impl<M: Machine> StateCore<M> {
    /// Applies a chunk of entries.
    pub(super) fn apply(&self, chunk: Chunk) -> Result<(), StoreError> {
        if chunk.entries.is_empty() {
            return Ok(());
        }
        let mut applied = Vec::with_capacity(chunk.entries.len());
        let mut responders: Vec<(ApplyResponder<TypeConfig>, Reply)> = Vec::new();
        {
            // Held until the batch is written: who sees the state can read its events.
            let mut held = self.shared.lock_write();
            let mut batch = Batch::new();
            for (entry, responder) in chunk.entries {
                let entry = apply_one(&mut held, &mut batch, entry)?;
                if let Some(responder) = responder {
                    responders.push((responder, Reply(entry.outcome.clone())));
                }
                applied.push(entry);
            }
            batch.put(Family::SmMeta, APPLIED, seal(&held.standing.to_pb()));
            // Not synced: after power loss the raft log, which is, gives the same entries again.
            if let Err(error) = self.engine.write(batch) {
                return Err(self.fail(FatalKind::DurableWrite, "applying entries", error.into()));
            }
            self.events.set_head(held.standing.head);
        }
        self.probe.at(Point::ApplyAfterWrite);
        self.shared.announce();
        self.observer.applied(&applied);
        for (responder, reply) in responders {
            responder.send(reply);
        }
        Ok(())
    }

    /// Waits for a build or install that is under way.
    pub(super) fn one_at_a_time(&self) -> std::sync::MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Applies one entry to the machine in memory, and puts what it did into the batch.
fn apply_one<M: Machine>(held: &mut Held<M>, batch: &mut Batch, entry: Entry) -> Result<AppliedEntry, StoreError> {
    let id = entry.log_id;
    let Held { machine, standing } = held;
    if let Some(last) = standing.last
        && id.index <= last.index
    {
        return Err(StoreError::OutOfOrder { detail: format!("entry {id} was to be applied after entry {last}") });
    }
    standing.last = Some(id);
    let done = match entry.payload {
        EntryPayload::Blank => Applied::default(),
        EntryPayload::Normal(proposal) => machine.apply(id.index, &proposal.0),
        EntryPayload::Membership(membership) => {
            standing.membership = StoredMembership::new(Some(id), membership);
            Applied::default()
        }
    };
    for (key, value) in &done.changed {
        let key = object_key(standing.generation, key);
        match value {
            Some(value) => batch.put(Family::State, key, value.as_slice()),
            None => batch.delete(Family::State, key),
        }
    }
    put_events(standing, batch, id.index, &done);
    Ok(AppliedEntry { index: id.index, outcome: done.outcome, events: done.events })
}

fn put_events(standing: &mut Standing, batch: &mut Batch, index: u64, done: &Applied) {
    for (payload, seq) in done.events.iter().zip(0..) {
        let event = chain(standing.head.as_ref(), EventPosition { index, seq }, payload.clone());
        put(batch, &event);
        standing.head = Some(event.head());
    }
}
