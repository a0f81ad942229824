//! Reads: what is applied here, its events, and the linearizable point. Called by `core`. Never reads on a leader's lease: a voter that restarts
//! forgets the lease it gave, so that two nodes could both believe they hold it.

use std::collections::BTreeMap;
use std::time::Duration;

use openraft::error::{LinearizableReadError, RaftError};
use openraft::{LinearizerOption, ReadPolicy};
use tokio::sync::watch;

use crate::node::propose::leader_of;
use crate::node::start::Node;
use crate::store::StoreError;
use crate::store::events::{Chained, EventHead, EventLog};
use crate::store::machine::Machine;
use crate::types::Member;

/// Why there is no linearizable point. A read changes nothing, so each of these may simply be repeated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    #[error("this node does not lead{}", leader.as_ref().map(|(id, address)| format!(", node {id} at {address} does")).unwrap_or_default())]
    NotLeader { leader: Option<(u64, String)> },
    #[error("no majority of the nodes confirmed that this one still leads ({why})")]
    NoQuorum { why: String },
    #[error("this node's raft has ended ({why}); ask another node")]
    Fatal { why: String },
}

impl<M: Machine> Node<M> {
    /// Waits until everything committed before this call is applied here, as a majority confirms it now; returns the index read at or
    /// above.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn read_index(&self, deadline: Duration) -> Result<u64, ReadError> {
        let option = LinearizerOption::from(ReadPolicy::ReadIndex).with_wait_timeout(deadline);
        let confirmed = async {
            let point = self.raft.get_read_linearizer(option).await.map_err(read_error)?;
            let reached = point.await_ready(&self.raft).await.map_err(|fatal| ReadError::Fatal { why: fatal.to_string() })?;
            Ok(reached.read_log_id().index())
        };
        match tokio::time::timeout(deadline, confirmed).await {
            Ok(Err(ReadError::NotLeader { leader })) => Err(ReadError::NotLeader { leader: leader.filter(|_| self.heard.lately()) }),
            Ok(result) => result,
            Err(_elapsed) => Err(ReadError::NoQuorum { why: format!("nothing within {deadline:?}") }),
        }
    }

    /// The applied machine and the index it stands at (0: nothing yet). Holds up apply: keep it short, and never await inside.
    pub fn read<T>(&self, read: impl FnOnce(&M, u64) -> T) -> T {
        self.shared.read(read)
    }

    /// Changes what is not replicated in the machine. Replicated state changes by apply only.
    pub fn change<T>(&self, change: impl FnOnce(&mut M) -> T) -> T {
        self.shared.change(change)
    }

    /// The applied index; wakes when it grew.
    #[must_use]
    pub fn applied(&self) -> watch::Receiver<u64> {
        self.shared.applied()
    }

    /// The revision of the last event; wakes when a new one can be read.
    #[must_use]
    pub fn event_head(&self) -> watch::Receiver<u64> {
        self.shared.event_head()
    }

    /// The last event and the rolling hash up to it; equal on two nodes: so are their event logs up to there.
    #[must_use]
    pub fn last_event(&self) -> Option<EventHead> {
        self.events.last_event()
    }

    /// Encoded events after a revision, oldest first, with their hashes checked; about `limit`, but the events of one revision are never split.
    ///
    /// # Errors
    /// The event log cannot be read or is damaged.
    pub fn events_after(&self, revision: u64, limit: usize) -> Result<Chained, StoreError> {
        self.events.checked(revision, limit)
    }

    /// The event log with positions and hashes.
    #[must_use]
    pub fn event_log(&self) -> &EventLog {
        &self.events
    }

    /// Voters and learners, as this node's log names them; committed or not.
    #[must_use]
    pub fn members(&self) -> BTreeMap<u64, Member> {
        self.with_metrics(|metrics| metrics.membership_config.nodes().map(|(id, member)| (*id, member.clone())).collect())
    }
}

fn read_error(error: RaftError<crate::types::TypeConfig, LinearizableReadError<crate::types::TypeConfig>>) -> ReadError {
    match error {
        RaftError::APIError(LinearizableReadError::ForwardToLeader(forward)) => ReadError::NotLeader { leader: leader_of(forward) },
        RaftError::APIError(LinearizableReadError::QuorumNotEnough(missing)) => ReadError::NoQuorum { why: missing.to_string() },
        RaftError::Fatal(fatal) => ReadError::Fatal { why: fatal.to_string() },
    }
}
