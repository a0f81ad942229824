//! The seam to durable storage: a small ordered key-value store with named families, write batches and one explicit sync. All store logic is
//! written against [`Engine`] and tested on both implementations.
//!
//! - [`rocks`]: RocksDB, what a control node runs on. [`memory`]: maps that know what was synced, for tests and simulation.
//! - [`batch`]: what one write does. [`error`]: why one failed. [`disk`]: the two engines of a node.
//!
//! An engine promises: a batch is atomic; batches become durable in the order they were written; after `sync` returns, all batches
//! written before the call survive power loss. It promises nothing about a batch that was not synced.

pub mod batch;
pub mod disk;
pub mod error;
pub mod memory;
pub mod rocks;

use std::ops::ControlFlow;

pub use batch::{Batch, Op};
pub use disk::{Disk, Half, MemoryDisk, RocksDisk};
pub use error::EngineError;

/// A named key space. The names are on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// Raft log entries.
    Log,
    /// Vote, purge and commit marks, identity; beside the log.
    Meta,
    /// Objects of the applied state.
    State,
    /// The event log.
    Events,
    /// Where the state stands, identity; beside the state.
    SmMeta,
}

impl Family {
    /// The name on disk.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Meta => "meta",
            Self::State => "state",
            Self::Events => "events",
            Self::SmMeta => "sm_meta",
        }
    }
}

/// Order of a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Forward,
    Backward,
}

/// Keys from `from` (included) to `to` (excluded; none: to the end).
#[derive(Clone, Debug)]
pub struct Span {
    pub from: Vec<u8>,
    pub to: Option<Vec<u8>>,
}

impl Span {
    /// Every key.
    #[must_use]
    pub fn all() -> Self {
        Self { from: Vec::new(), to: None }
    }

    /// Keys from `from` up to, not including, `to`.
    #[must_use]
    pub fn between(from: impl Into<Vec<u8>>, to: impl Into<Vec<u8>>) -> Self {
        Self { from: from.into(), to: Some(to.into()) }
    }

    /// No key can be inside.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.to.as_ref().is_some_and(|to| *to <= self.from)
    }
}

/// What a scan calls for each key and value, until it breaks.
pub type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// An ordered key-value store.
pub trait Engine: Send + Sync + 'static {
    /// The value under a key.
    ///
    /// # Errors
    /// The store could not be read; a retry does not help.
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError>;

    /// Visits keys of a span in order, from one consistent view.
    ///
    /// # Errors
    /// The store could not be read; a retry does not help.
    fn scan(&self, family: Family, span: &Span, direction: Direction, visit: &mut Visit<'_>) -> Result<(), EngineError>;

    /// Writes a batch: all of it or nothing, readable on return, durable only after the next [`Engine::sync`].
    ///
    /// # Errors
    /// Nothing can be said about what is on disk; the process must end.
    fn write(&self, batch: Batch) -> Result<(), EngineError>;

    /// Makes everything written before this call durable.
    ///
    /// # Errors
    /// Nothing can be said about what is on disk; the process must end, and must not call this again.
    fn sync(&self) -> Result<(), EngineError>;
}
