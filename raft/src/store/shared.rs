//! The applied state, shared between the one writer (apply) and many readers (API, leader loops). A reader sees a state only together with the
//! index it stands at, and never before its events can be read.

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tokio::sync::watch;

use super::codec::{log_id_from_pb, log_id_to_pb, stored_membership_from_pb, stored_membership_to_pb};
use super::error::StoreError;
use super::events::EventHead;
use super::pb;
use crate::types::{LogId, StoredMembership};

/// Where the applied state stands; one record, written with every batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    pub last: Option<LogId>,
    pub membership: StoredMembership,
    pub head: Option<EventHead>,
    /// Prefix of the objects in force. Each snapshot install takes the next one.
    pub generation: u64,
}

impl Standing {
    /// Index of the last applied entry.
    #[must_use]
    pub fn index(&self) -> Option<u64> {
        self.last.map(|id| id.index)
    }

    pub(super) fn to_pb(&self) -> pb::Applied {
        pb::Applied {
            last: self.last.as_ref().map(log_id_to_pb),
            membership: Some(stored_membership_to_pb(&self.membership)),
            head: self.head.map(EventHead::to_pb),
            generation: self.generation,
        }
    }

    pub(super) fn from_pb(applied: &pb::Applied) -> Result<Self, StoreError> {
        Ok(Self {
            last: applied.last.as_ref().map(log_id_from_pb),
            membership: stored_membership_from_pb(applied.membership.as_ref())?,
            head: applied.head.as_ref().map(EventHead::from_pb).transpose()?,
            generation: applied.generation,
        })
    }
}

pub(super) struct Held<M> {
    pub machine: M,
    pub standing: Standing,
}

/// See the module.
pub struct Shared<M> {
    held: RwLock<Held<M>>,
    applied: watch::Sender<u64>,
    event_head: watch::Sender<u64>,
}

impl<M> Shared<M> {
    pub(super) fn new(machine: M, standing: Standing) -> Self {
        let applied = watch::Sender::new(standing.index().unwrap_or(0));
        let event_head = watch::Sender::new(standing.head.as_ref().map_or(0, |head| head.index));
        Self { held: RwLock::new(Held { machine, standing }), applied, event_head }
    }

    pub(super) fn lock_read(&self) -> RwLockReadGuard<'_, Held<M>> {
        // A reader that panicked changed nothing; an apply that panicked has stopped this node's Raft, and readers may look on.
        self.held.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn lock_write(&self) -> RwLockWriteGuard<'_, Held<M>> {
        self.held.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the watchers; called after the lock is free.
    pub(super) fn announce(&self) {
        let (applied, head) = {
            let held = self.lock_read();
            (held.standing.index().unwrap_or(0), held.standing.head.as_ref().map_or(0, |head| head.index))
        };
        // Events first: who wakes on the applied index may read events at once.
        self.event_head.send_if_modified(|now| std::mem::replace(now, head) != head);
        self.applied.send_if_modified(|now| std::mem::replace(now, applied) != applied);
    }

    /// Reads the machine and the index it stands at (0: nothing applied yet). Holds up apply: keep it short.
    pub fn read<T>(&self, read: impl FnOnce(&M, u64) -> T) -> T {
        let held = self.lock_read();
        read(&held.machine, held.standing.index().unwrap_or(0))
    }

    /// Changes what is not replicated in the machine (notes and the like). Replicated state changes only by apply.
    pub fn change<T>(&self, change: impl FnOnce(&mut M) -> T) -> T {
        change(&mut self.lock_write().machine)
    }

    /// Where the state stands.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.lock_read().standing.clone()
    }

    /// The applied index; changes when entries were applied or a snapshot was installed.
    #[must_use]
    pub fn applied(&self) -> watch::Receiver<u64> {
        self.applied.subscribe()
    }

    /// The revision of the last event; changes when a new event can be read.
    #[must_use]
    pub fn event_head(&self) -> watch::Receiver<u64> {
        self.event_head.subscribe()
    }
}
