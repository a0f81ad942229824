//! What must hold before entries are purged: the state that they made is on disk. Implemented by the state store, asked by the log.

use crate::store::error::StoreError;

/// Asked before every purge.
pub trait PurgeBarrier: Send + Sync + 'static {
    /// Makes sure that the effect of all entries up to `index` is durable. May block for a sync.
    ///
    /// # Errors
    /// It is not, and waiting does not help: the entries must stay.
    fn make_durable(&self, index: u64) -> Result<(), StoreError>;
}

/// Lets everything be purged: only for a log that is tested without a state.
#[derive(Clone, Copy, Debug)]
pub struct NoBarrier;

impl PurgeBarrier for NoBarrier {
    fn make_durable(&self, _: u64) -> Result<(), StoreError> {
        Ok(())
    }
}
