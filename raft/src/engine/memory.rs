//! An engine of maps that keeps apart what was synced and what was not. Used by tests and simulation: it can lose unsynced writes, hold a
//! sync back, and fail. It must promise exactly what RocksDB promises, and no more.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::error::Cause;
use super::{Batch, Direction, Engine, EngineError, Family, Op, Span, Visit};

type Tables = BTreeMap<(Family, Vec<u8>), Vec<u8>>;

/// See the module.
pub struct MemoryEngine {
    /// For error texts only.
    name: PathBuf,
    inner: Mutex<Inner>,
    released: Condvar,
}

#[derive(Clone, Default)]
struct Inner {
    durable: Tables,
    live: Tables,
    /// Written, not yet synced, in order.
    unsynced: Vec<Batch>,
    syncs: u64,
    /// Syncs that are being held back.
    waiting: usize,
    hold: bool,
    fail_sync: bool,
    fail_write: bool,
}

impl MemoryEngine {
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { name: PathBuf::from(name), inner: Mutex::default(), released: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets every sync wait until [`MemoryEngine::release_syncs`].
    pub fn hold_syncs(&self) {
        self.lock().hold = true;
    }

    pub fn release_syncs(&self) {
        self.lock().hold = false;
        self.released.notify_all();
    }

    /// Lets every sync from now on fail, as a broken disk does.
    pub fn fail_syncs(&self) {
        self.lock().fail_sync = true;
    }

    /// Lets every write from now on fail.
    pub fn fail_writes(&self) {
        self.lock().fail_write = true;
    }

    /// Syncs that succeeded.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    /// Syncs that are being held back right now.
    #[must_use]
    pub fn waiting_syncs(&self) -> usize {
        self.lock().waiting
    }

    /// Batches that a power loss may take.
    #[must_use]
    pub fn unsynced(&self) -> usize {
        self.lock().unsynced.len()
    }

    /// What a disk would hold after power loss now: all that was synced and the first `kept` batches of the rest.
    #[must_use]
    pub fn after_power_loss(&self, kept: usize) -> Self {
        let inner = self.lock();
        let mut durable = inner.durable.clone();
        for batch in inner.unsynced.iter().take(kept) {
            apply(&mut durable, batch);
        }
        let inner = Inner { live: durable.clone(), durable, ..Inner::default() };
        Self { name: self.name.clone(), inner: Mutex::new(inner), released: Condvar::new() }
    }
}

fn apply(tables: &mut Tables, batch: &Batch) {
    for op in batch.ops() {
        match op {
            Op::Put { family, key, value } => {
                tables.insert((*family, key.clone()), value.clone());
            }
            Op::Delete { family, key } => {
                tables.remove(&(*family, key.clone()));
            }
            Op::DeleteRange { family, from, to } => {
                let gone: Vec<_> = tables.range((*family, from.clone())..(*family, to.clone())).map(|(key, _)| key.clone()).collect();
                for key in gone {
                    tables.remove(&key);
                }
            }
        }
    }
}

fn injected() -> Cause {
    "injected failure".into()
}

impl Engine for MemoryEngine {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        Ok(self.lock().live.get(&(family, key.to_vec())).cloned())
    }

    fn scan(&self, family: Family, span: &Span, direction: Direction, visit: &mut Visit<'_>) -> Result<(), EngineError> {
        if span.is_empty() {
            return Ok(());
        }
        // A copy, so that a visitor may call this engine again, as it may with RocksDB.
        let rows: Vec<(Vec<u8>, Vec<u8>)> = {
            let inner = self.lock();
            let to = span.to.as_ref().map_or(Bound::Unbounded, |to| Bound::Excluded((family, to.clone())));
            let rows = inner.live.range((Bound::Included((family, span.from.clone())), to));
            rows.take_while(|((f, _), _)| *f == family).map(|((_, key), value)| (key.clone(), value.clone())).collect()
        };
        let mut each = |(key, value): &(Vec<u8>, Vec<u8>)| visit(key, value);
        // Stopping early is the visitor's right, not an error.
        let _ = match direction {
            Direction::Forward => rows.iter().try_for_each(&mut each),
            Direction::Backward => rows.iter().rev().try_for_each(&mut each),
        };
        Ok(())
    }

    fn write(&self, batch: Batch) -> Result<(), EngineError> {
        let mut inner = self.lock();
        if inner.fail_write {
            return Err(EngineError::Write { path: self.name.clone(), source: injected() });
        }
        apply(&mut inner.live, &batch);
        inner.unsynced.push(batch);
        Ok(())
    }

    fn sync(&self) -> Result<(), EngineError> {
        let mut inner = self.lock();
        // What is written while the sync is under way need not be in it.
        let covered = inner.unsynced.len();
        inner.waiting += 1;
        while inner.hold {
            inner = self.released.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
        inner.waiting -= 1;
        if inner.fail_sync {
            return Err(EngineError::Sync { path: self.name.clone(), source: injected() });
        }
        let covered = covered.min(inner.unsynced.len());
        let batches: Vec<Batch> = inner.unsynced.drain(..covered).collect();
        for batch in &batches {
            apply(&mut inner.durable, batch);
        }
        inner.syncs += 1;
        Ok(())
    }
}
