//! What writer and readers of the log share: the engine, and where the log stands. Only `log` uses it.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::cache::{RecentEntries, size_of};
use crate::engine::{Direction, Engine, Family, Span};
use crate::store::codec::{decode_entry, index_key};
use crate::store::error::StoreError;
use crate::types::{Entry, LogId, Vote};

/// Keys in [`Family::Meta`].
pub const VOTE: &[u8] = b"vote";
pub const PURGED: &[u8] = b"purged";
pub const COMMITTED: &[u8] = b"committed";

/// Where the log stands. All of it is also in the engine, though not all of it synced.
#[derive(Default)]
pub struct Standing {
    pub vote: Option<Vote>,
    pub committed: Option<LogId>,
    pub purged: Option<LogId>,
    /// Index of the first entry that is there.
    pub first: Option<u64>,
    /// The last entry, or the last purged one if there is no entry.
    pub last: Option<LogId>,
    pub recent: RecentEntries,
}

pub struct LogCore {
    pub engine: Arc<dyn Engine>,
    /// For error texts.
    pub path: PathBuf,
    standing: Mutex<Standing>,
}

impl LogCore {
    pub fn new(engine: Arc<dyn Engine>, path: PathBuf, standing: Standing) -> Self {
        Self { engine, path, standing: Mutex::new(standing) }
    }

    pub fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Entries from `from` to `to` (excluded), as far as the log has them, up to about `max_bytes`, at least one. Never with a hole.
    pub fn read(&self, from: u64, to: u64, max_bytes: usize) -> Result<Vec<Entry>, StoreError> {
        let (from, to) = {
            let standing = self.standing();
            let (Some(first), Some(last)) = (standing.first, standing.last) else { return Ok(Vec::new()) };
            let (from, to) = (from.max(first), to.min(last.index.saturating_add(1)));
            if from >= to {
                return Ok(Vec::new());
            }
            if let Some(entries) = standing.recent.read(from, to, max_bytes) {
                return Ok(entries);
            }
            (from, to)
        };
        self.scan(from, to, max_bytes)
    }

    fn scan(&self, from: u64, to: u64, max_bytes: usize) -> Result<Vec<Entry>, StoreError> {
        let (mut entries, mut bytes, mut failed) = (Vec::new(), 0, None);
        let mut full = false;
        self.engine.scan(Family::Log, &Span::between(index_key(from), index_key(to)), Direction::Forward, &mut |key, value| {
            if bytes >= max_bytes && !entries.is_empty() {
                full = true;
                return ControlFlow::Break(());
            }
            match decode_entry(key, value) {
                Ok(entry) if entry.log_id.index == from + entries.len() as u64 => {
                    bytes += size_of(&entry);
                    entries.push(entry);
                    ControlFlow::Continue(())
                }
                Ok(entry) => {
                    failed = Some(self.damaged(format!("entry {} follows entry {}", entry.log_id.index, from + entries.len() as u64)));
                    ControlFlow::Break(())
                }
                Err(e) => {
                    failed = Some(self.damaged(e.to_string()));
                    ControlFlow::Break(())
                }
            }
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
        let next = from + entries.len() as u64;
        if !full && next < to {
            // A purge may have taken the beginning since the bounds were read; anything else is a hole.
            let purged = self.standing().purged.is_some_and(|purged| purged.index >= next);
            return if purged { Ok(Vec::new()) } else { Err(self.damaged(format!("entry {next} is missing"))) };
        }
        Ok(entries)
    }

    pub fn damaged(&self, detail: String) -> StoreError {
        StoreError::DamagedLog { path: self.path.clone(), detail }
    }
}
