//! The event log: what happened, in order, for ever. Written by apply and by snapshot install, read by watch, history and the peer
//! network. Only committed facts are in it, so nothing is ever cut or rewritten; a rolling hash makes any difference between two nodes
//! visible from that event on.

use std::ops::ControlFlow;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::codec::{seal, unseal};
use super::error::StoreError;
use super::pb;
use crate::engine::{Batch, Direction, Engine, Family, Span};

/// Hash before the first event.
const GENESIS: [u8; 32] = [0; 32];
const KEY_BYTES: usize = 12;

/// Where an event stands: the index of its log entry (its revision), and its place among the events of that entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventPosition {
    pub index: u64,
    pub seq: u32,
}

impl EventPosition {
    fn key(self) -> [u8; KEY_BYTES] {
        let mut key = [0; KEY_BYTES];
        key[..8].copy_from_slice(&self.index.to_be_bytes());
        key[8..].copy_from_slice(&self.seq.to_be_bytes());
        key
    }

    /// The first key after this event's.
    fn key_after(self) -> Vec<u8> {
        let mut key = self.key().to_vec();
        key.push(0);
        key
    }

    fn from_key(key: &[u8]) -> Option<Self> {
        let (index, seq) = key.split_first_chunk::<8>()?;
        Some(Self { index: u64::from_be_bytes(*index), seq: u32::from_be_bytes(seq.try_into().ok()?) })
    }
}

/// The last event and the rolling hash up to it: two logs with the same head are the same log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventHead {
    pub index: u64,
    pub seq: u32,
    pub hash: [u8; 32],
}

impl EventHead {
    #[must_use]
    pub fn position(&self) -> EventPosition {
        EventPosition { index: self.index, seq: self.seq }
    }

    pub(super) fn to_pb(self) -> pb::EventHead {
        pb::EventHead { index: self.index, seq: self.seq, hash: Bytes::copy_from_slice(&self.hash) }
    }

    pub(super) fn from_pb(head: &pb::EventHead) -> Result<Self, StoreError> {
        Ok(Self { index: head.index, seq: head.seq, hash: hash_from(&head.hash)? })
    }
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    pub position: EventPosition,
    /// Rolling hash up to and including this event.
    pub hash: [u8; 32],
    pub payload: Bytes,
}

impl StoredEvent {
    #[must_use]
    pub fn head(&self) -> EventHead {
        EventHead { index: self.position.index, seq: self.position.seq, hash: self.hash }
    }
}

/// Events in a row, and the rolling hash that the first of them follows on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chained {
    pub before: [u8; 32],
    pub events: Vec<StoredEvent>,
}

fn does_not_follow(at: EventPosition) -> StoreError {
    StoreError::DamagedEvents { index: at.index, seq: at.seq, detail: "its hash does not follow on the history before it".to_owned() }
}

fn hash_from(bytes: &[u8]) -> Result<[u8; 32], StoreError> {
    bytes.try_into().map_err(|_| StoreError::Undecodable { detail: format!("event hash of {} bytes", bytes.len()) })
}

/// The event that follows `before`.
#[must_use]
pub fn chain(before: Option<&EventHead>, position: EventPosition, payload: Bytes) -> StoredEvent {
    let mut hasher = Sha256::new();
    hasher.update(before.map_or(GENESIS, |head| head.hash));
    hasher.update(position.key());
    hasher.update(&payload);
    StoredEvent { position, hash: hasher.finalize().into(), payload }
}

/// Puts an event into a batch.
pub(super) fn put(batch: &mut Batch, event: &StoredEvent) {
    let record = pb::EventRecord { hash: Bytes::copy_from_slice(&event.hash), payload: event.payload.clone() };
    batch.put(Family::Events, event.position.key(), seal(&record));
}

fn decode(key: &[u8], value: &[u8]) -> Result<StoredEvent, StoreError> {
    let position =
        EventPosition::from_key(key).ok_or_else(|| StoreError::Undecodable { detail: format!("event key of {} bytes", key.len()) })?;
    let damaged = |e: StoreError| StoreError::DamagedEvents { index: position.index, seq: position.seq, detail: e.to_string() };
    let record: pb::EventRecord = unseal(value).map_err(damaged)?;
    Ok(StoredEvent { position, hash: hash_from(&record.hash).map_err(damaged)?, payload: record.payload })
}

/// The event log of this node. Cheap to clone; reads never wait for apply.
#[derive(Clone)]
pub struct EventLog {
    engine: Arc<dyn Engine>,
    /// What lies beyond it in the engine is not (yet) part of the log.
    head: Arc<RwLock<Option<EventHead>>>,
}

impl EventLog {
    pub(super) fn new(engine: Arc<dyn Engine>, head: Option<EventHead>) -> Self {
        Self { engine, head: Arc::new(RwLock::new(head)) }
    }

    pub(super) fn set_head(&self, head: Option<EventHead>) {
        *self.head.write().unwrap_or_else(PoisonError::into_inner) = head;
    }

    /// The last event; none while nothing has happened.
    #[must_use]
    pub fn last_event(&self) -> Option<EventHead> {
        *self.head.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Events after a revision (not included), oldest first: `limit`, and then whatever else belongs to the last one's revision, so that no
    /// revision is ever split. Each is checked as by [`EventLog::checked`].
    ///
    /// # Errors
    /// The log cannot be read or is damaged.
    pub fn events(&self, after_revision: u64, limit: usize) -> Result<Vec<StoredEvent>, StoreError> {
        Ok(self.checked(after_revision, limit)?.events)
    }

    /// The same with the hash they follow on. Every hash is computed anew from that of the record before it, and a read that reaches the end must end
    /// with the head that the state keeps apart from the log. So a changed, missing, added or moved event is found by the first read over it;
    /// one in front of the range by the read over that. Costs one record more than asked for, and one SHA-256 for each event.
    ///
    /// # Errors
    /// [`StoreError::DamagedEvents`] at the first event that is not what it must be.
    pub fn checked(&self, after_revision: u64, limit: usize) -> Result<Chained, StoreError> {
        let end = self.last_event();
        let (Some(from), Some(end)) = (after_revision.checked_add(1), end) else { return Ok(Chained::default()) };
        let from = EventPosition { index: from, seq: 0 }.key().to_vec();
        let first = self.before(&from)?;
        let (mut head, mut events, mut full, mut wrong) = (first, Vec::<StoredEvent>::new(), false, None);
        self.visit_to(from, &end, &mut |event| {
            full = events.len() >= limit && events.last().is_none_or(|last| last.position.index != event.position.index);
            if full {
                return ControlFlow::Break(());
            }
            if chain(head.as_ref(), event.position, event.payload.clone()).hash != event.hash {
                wrong = Some(event.position);
                return ControlFlow::Break(());
            }
            head = Some(event.head());
            events.push(event);
            ControlFlow::Continue(())
        })?;
        if !full && wrong.is_none() && end.index > after_revision && head != Some(end) {
            wrong = Some(end.position());
        }
        match wrong {
            Some(at) => Err(does_not_follow(at)),
            None => Ok(Chained { before: first.map_or(GENESIS, |head| head.hash), events }),
        }
    }

    /// The next events to send to a node whose log ends at `have` (none: it is empty): about `max_bytes` of payload, at least one, and
    /// nothing beyond `up_to`. Empty when it has them all.
    ///
    /// # Errors
    /// [`StoreError::Diverged`] when the other log is not a beginning of this one.
    pub fn events_after(&self, have: Option<&EventHead>, up_to: EventPosition, max_bytes: usize) -> Result<Vec<StoredEvent>, StoreError> {
        if let Some(have) = have {
            // A node that is ahead needs nothing, and cannot be checked from here.
            if have.position() >= up_to {
                return Ok(Vec::new());
            }
            self.check(have)?;
        }
        let from = have.map_or_else(Vec::new, |have| have.position().key_after());
        let (mut events, mut bytes) = (Vec::new(), 0);
        self.visit(from, &mut |event| {
            if event.position > up_to || (bytes >= max_bytes && !events.is_empty()) {
                return ControlFlow::Break(());
            }
            bytes += event.payload.len() + KEY_BYTES + GENESIS.len();
            events.push(event);
            ControlFlow::Continue(())
        })?;
        Ok(events)
    }

    /// Refuses a head that is not in this log with the same hash.
    ///
    /// # Errors
    /// [`StoreError::Diverged`].
    pub fn check(&self, head: &EventHead) -> Result<(), StoreError> {
        if self.contains(head)? { Ok(()) } else { Err(StoreError::Diverged { index: head.index, seq: head.seq }) }
    }

    /// Is there an event with this position and this hash?
    pub(super) fn contains(&self, head: &EventHead) -> Result<bool, StoreError> {
        Ok(self.get(head.position())?.is_some_and(|event| event.hash == head.hash))
    }

    /// Recomputes the hashes of the events of these revisions (both included), starting from the event before them, and gives back the head
    /// reached.
    ///
    /// # Errors
    /// [`StoreError::DamagedEvents`] at the first event whose hash is not what it must be.
    pub fn verify(&self, from_revision: u64, to_revision: u64) -> Result<Option<EventHead>, StoreError> {
        let start = EventPosition { index: from_revision, seq: 0 }.key().to_vec();
        let mut head = self.before(&start)?;
        let mut wrong = None;
        self.visit(start, &mut |event| {
            if event.position.index > to_revision {
                return ControlFlow::Break(());
            }
            if chain(head.as_ref(), event.position, event.payload.clone()).hash != event.hash {
                wrong = Some(event.position);
                return ControlFlow::Break(());
            }
            head = Some(event.head());
            ControlFlow::Continue(())
        })?;
        match wrong {
            Some(at) => Err(does_not_follow(at)),
            None => Ok(head),
        }
    }

    fn get(&self, position: EventPosition) -> Result<Option<StoredEvent>, StoreError> {
        if self.last_event().is_none_or(|head| position > head.position()) {
            return Ok(None);
        }
        let value = self.engine.get(Family::Events, &position.key())?;
        value.map(|value| decode(&position.key(), &value)).transpose()
    }

    /// The head of the log that ends before a key.
    fn before(&self, key: &[u8]) -> Result<Option<EventHead>, StoreError> {
        let mut found = Ok(None);
        self.engine.scan(Family::Events, &Span::between([], key), Direction::Backward, &mut |key, value| {
            found = decode(key, value).map(|event| Some(event.head()));
            ControlFlow::Break(())
        })?;
        found
    }

    /// Visits events from a key up to the head.
    fn visit(&self, from: Vec<u8>, visit: &mut dyn FnMut(StoredEvent) -> ControlFlow<()>) -> Result<(), StoreError> {
        let Some(head) = self.last_event() else { return Ok(()) };
        self.visit_to(from, &head, visit)
    }

    fn visit_to(&self, from: Vec<u8>, head: &EventHead, visit: &mut dyn FnMut(StoredEvent) -> ControlFlow<()>) -> Result<(), StoreError> {
        let mut failed = None;
        self.engine.scan(Family::Events, &Span::between(from, head.position().key_after()), Direction::Forward, &mut |key, value| {
            match decode(key, value) {
                Ok(event) => visit(event),
                Err(e) => {
                    failed = Some(e);
                    ControlFlow::Break(())
                }
            }
        })?;
        failed.map_or(Ok(()), Err)
    }
}

/// Puts into `batch` the removal of everything beyond the head: what an install that was cut off left behind.
pub(super) fn drop_beyond(batch: &mut Batch, head: Option<&EventHead>) {
    let from = head.map_or_else(Vec::new, |head| head.position().key_after());
    batch.delete_range(Family::Events, from, vec![0xff; KEY_BYTES + 1]);
}
