//! What openraft writes to the log. It calls one method at a time. It must never acknowledge an entry or a vote before it is synced, never lower the
//! vote or the commit mark, and never leave a hole.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use openraft::OptionalSend;
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use tokio::sync::oneshot;

use super::barrier::PurgeBarrier;
use super::core::{COMMITTED, LogCore, PURGED, VOTE};
use super::reader::LogReader;
use super::sync::{SyncQueue, Waiter};
use super::{check, core::Standing};
use crate::engine::{Batch, Engine, Family};
use crate::fatal::{Fatal, FatalKind};
use crate::store::codec::{encode_entry, index_key, log_id_to_pb, seal, vote_to_pb};
use crate::store::error::StoreError;
use crate::store::probe::Probe;
use crate::types::{Entry, LogId, TypeConfig, Vote};

/// The Raft log of this node.
pub struct LogStore {
    core: Arc<LogCore>,
    sync: SyncQueue,
    barrier: Arc<dyn PurgeBarrier>,
    fatal: Fatal,
    /// Keeps the data folder locked as long as the log is open.
    _lock: Arc<dyn Send + Sync>,
}

impl LogStore {
    /// Reads and checks the whole log. `path` is for error texts; `lock` is held until the store is dropped.
    ///
    /// # Errors
    /// The log is damaged, or cannot be read.
    pub fn open(
        engine: Arc<dyn Engine>,
        path: PathBuf,
        barrier: Arc<dyn PurgeBarrier>,
        fatal: Fatal,
        probe: Probe,
        lock: Arc<dyn Send + Sync>,
    ) -> Result<Self, StoreError> {
        let standing = check::load(&*engine, &path)?;
        let spawned = SyncQueue::start(engine.clone(), fatal.clone(), probe);
        let sync = spawned.map_err(|source| StoreError::File { path: path.clone(), action: "starting the sync thread", source })?;
        Ok(Self { core: Arc::new(LogCore::new(engine, path, standing)), sync, barrier, fatal, _lock: lock })
    }

    /// The last purged entry, to compare with where the state stands.
    #[must_use]
    pub fn purged(&self) -> Option<LogId> {
        self.core.standing().purged
    }

    fn write(&self, batch: Batch, during: &'static str) -> Result<(), StoreError> {
        self.core.engine.write(batch).map_err(|error| {
            self.fatal.raise(FatalKind::DurableWrite, during, &error);
            error.into()
        })
    }

    /// Entries must follow the log without a gap; an empty log that was never purged may begin anywhere.
    fn check_order(&self, entries: &[Entry]) -> Result<(), StoreError> {
        let mut last = self.core.standing().last;
        for entry in entries {
            let id = entry.log_id;
            if let Some(last) = last
                && (id.index != last.index + 1 || id.leader_id < last.leader_id)
            {
                return Err(StoreError::OutOfOrder { detail: format!("entry {id} cannot follow entry {last}") });
            }
            last = Some(id);
        }
        Ok(())
    }

    fn append_entries(&self, entries: Vec<Entry>) -> Result<(), StoreError> {
        if entries.is_empty() {
            return Ok(());
        }
        self.check_order(&entries)?;
        let mut batch = Batch::new();
        for entry in &entries {
            batch.put(Family::Log, index_key(entry.log_id.index), encode_entry(entry));
        }
        self.write(batch, "appending to the raft log")?;
        let mut standing = self.core.standing();
        for entry in entries {
            standing.first.get_or_insert(entry.log_id.index);
            standing.last = Some(entry.log_id);
            standing.recent.push(entry);
        }
        Ok(())
    }

    fn truncate(&self, keep: Option<LogId>) -> Result<(), StoreError> {
        let from = keep.map_or(0, |id| id.index + 1);
        let (last, purged) = {
            let standing = self.core.standing();
            (standing.last, standing.purged)
        };
        let Some(last) = last.filter(|last| last.index >= from) else { return Ok(()) };
        let mut batch = Batch::new();
        batch.delete_range(Family::Log, index_key(from), index_key(last.index + 1));
        // Not synced: what comes back after power loss was never committed, and the append that follows shares this WAL.
        self.write(batch, "truncating the raft log")?;
        let mut standing = self.core.standing();
        standing.recent.clear();
        // openraft truncates only above what is committed, and purges only below.
        standing.last = keep.max(purged);
        if standing.first.is_some_and(|first| first >= from) {
            standing.first = None;
        }
        Ok(())
    }

    fn purge_to(&self, id: LogId) -> Result<(), StoreError> {
        let first = {
            let standing = self.core.standing();
            if standing.purged.is_some_and(|purged| purged >= id) {
                return Ok(());
            }
            standing.first.unwrap_or(0)
        };
        let mut batch = Batch::new();
        batch.put(Family::Meta, PURGED, seal(&log_id_to_pb(&id)));
        batch.delete_range(Family::Log, index_key(first.min(id.index)), index_key(id.index + 1));
        self.write(batch, "purging the raft log")?;
        let mut standing = self.core.standing();
        standing.purged = Some(id);
        standing.recent.purge(id.index);
        if standing.last.is_none_or(|last| last.index <= id.index) {
            standing.first = None;
            standing.last = Some(id);
        } else {
            standing.first = Some(id.index + 1);
        }
        Ok(())
    }

    fn write_vote(&self, vote: Vote) -> Result<(), StoreError> {
        let before = self.core.standing().vote;
        if let Some(before) = before
            && vote < before
        {
            return Err(StoreError::OutOfOrder { detail: format!("vote {vote} is lower than the saved vote {before}") });
        }
        let mut batch = Batch::new();
        batch.put(Family::Meta, VOTE, seal(&vote_to_pb(&vote)));
        self.write(batch, "saving the vote")?;
        // Visible to readers at once: a stream for an older leader must end as early as it can.
        self.core.standing().vote = Some(vote);
        Ok(())
    }

    fn write_committed(&self, committed: LogId) -> Result<(), StoreError> {
        if self.core.standing().committed.is_some_and(|before| before >= committed) {
            return Ok(());
        }
        let mut batch = Batch::new();
        batch.put(Family::Meta, COMMITTED, seal(&log_id_to_pb(&committed)));
        // Not synced: it saves work after a restart, and nothing relies on it.
        self.write(batch, "saving the commit mark")?;
        self.core.standing().committed = Some(committed);
        Ok(())
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = LogReader;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let standing = self.core.standing();
        let Standing { purged, last, .. } = &*standing;
        Ok(LogState { last_purged_log_id: *purged, last_log_id: *last })
    }

    async fn get_log_reader(&mut self) -> LogReader {
        LogReader { core: self.core.clone() }
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        self.write_vote(*vote)?;
        let (done, synced) = oneshot::channel();
        self.sync.push(Waiter::Vote(done)).await?;
        // Durable before reply.
        synced.await.map_err(|_| StoreError::Stopped.to_io())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        Ok(committed.map_or(Ok(()), |committed| self.write_committed(committed))?)
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.core.standing().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        self.append_entries(entries.into_iter().collect())?;
        // Completed by the sync thread, after the sync.
        Ok(self.sync.push(Waiter::Append(callback)).await?)
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        Ok(self.truncate(last_log_id)?)
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        let barrier = self.barrier.clone();
        // It may wait for a sync of the state, and openraft's core task must not.
        let ready = tokio::task::spawn_blocking(move || barrier.make_durable(log_id.index)).await;
        ready.map_err(io::Error::other)??;
        Ok(self.purge_to(log_id)?)
    }
}
