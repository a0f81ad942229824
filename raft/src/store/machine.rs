//! What the store replicates, as it sees it: something that applies commands and consists of objects under keys. Implemented by
//! `crate::machine`; tests bring a toy.

use std::sync::Arc;

use bytes::Bytes;

/// What applying one command did.
#[derive(Clone, Debug, Default)]
pub struct Applied {
    /// The answer to the proposer.
    pub outcome: Option<Arc<berth_state::Outcome>>,
    /// Encoded events, in order.
    pub events: Vec<Bytes>,
    /// Objects that changed: the new value, or none if the object is gone.
    pub changed: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

/// Key and value of an object.
pub type Object = (Vec<u8>, Vec<u8>);

/// A replicated state machine.
pub trait Machine: Send + Sync + 'static {
    /// Applies the command of one log entry. Deterministic and infallible: the same on every node, also for bytes it cannot decode.
    fn apply(&mut self, index: u64, command: &[u8]) -> Applied;

    /// Builds the machine from its objects, in key order; from none, the machine before the first entry.
    ///
    /// # Errors
    /// An object cannot be read; the text says which.
    fn load(objects: &mut dyn Iterator<Item = Object>) -> Result<Self, String>
    where
        Self: Sized;

    /// All objects in key order; identical on all nodes with the same applied index.
    fn dump(&self) -> Vec<Object>;
}

/// One applied entry.
#[derive(Clone, Debug)]
pub struct AppliedEntry {
    pub index: u64,
    /// None for blank and membership entries.
    pub outcome: Option<Arc<berth_state::Outcome>>,
    pub events: Vec<Bytes>,
}

/// Hears of applied entries, in order, on every node.
pub trait ApplyObserver: Send + Sync {
    /// Called after the entries are in the state and the event log, before any proposer is answered. Must be quick: apply waits for it.
    fn applied(&self, entries: &[AppliedEntry]);

    /// Called after a snapshot replaced the state, which now stands at `last_index`.
    fn installed(&self, last_index: u64);
}

/// Hears nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoObserver;

impl ApplyObserver for NoObserver {
    fn applied(&self, _: &[AppliedEntry]) {}
    fn installed(&self, _: u64) {}
}
