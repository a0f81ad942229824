//! The one way to write: a proposal goes to the log and comes back as the reply of its own apply. Called by `core`. It never calls an outcome failed
//! that may yet come true.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openraft::Raft;
use openraft::error::{ClientWriteError, ForwardToLeader};
use openraft::impls::ProgressResponder;

use crate::node::start::Node;
use crate::store::machine::Machine;
use crate::store::state::StateStore;
use crate::types::{Proposal, Reply, TypeConfig};

/// Largest command, in bytes. Far above any we make, and far below the largest message between nodes: an entry that cannot be sent would hold up
/// the log for ever.
pub const MAX_COMMAND_BYTES: usize = 4 << 20;

/// Why there is no reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Refused before it entered the log: it has no effect. `None`: no leader is known, or this leader has lost its majority.
    #[error("this node does not lead{}; nothing was written", leader.as_ref().map(|(id, address)| format!(", node {id} at {address} does")).unwrap_or_default())]
    NotLeader { leader: Option<(u64, String)> },
    /// It may take effect yet, or have done so already.
    #[error("the outcome is unknown ({why}): it may or may not take effect; repeat it with the same request id")]
    Unknown { why: String },
    /// Refused before it entered the log: it has no effect.
    #[error("too many proposals are on their way; nothing was written, repeat it in a moment")]
    Busy,
    /// Refused before it entered the log: it has no effect. A message to a follower has to hold it.
    #[error("a command of {bytes} bytes is too large; nothing was written, {MAX_COMMAND_BYTES} bytes are allowed")]
    TooLarge { bytes: usize },
    /// Refused before it entered the log: it has no effect.
    #[error("this node's raft has ended ({why}); nothing was written, ask another node")]
    Fatal { why: String },
}

pub(crate) fn leader_of(forward: ForwardToLeader<TypeConfig>) -> Option<(u64, String)> {
    Some((forward.leader_id?, forward.leader_node?.address))
}

impl<M: Machine> Node<M> {
    /// Proposes one command and waits until it is applied here; returns its log index and its reply.
    ///
    /// # Errors
    /// [`ProposeError`]; only `Unknown` leaves it open whether the command takes effect.
    pub async fn propose(&self, command: Bytes, deadline: Duration) -> Result<(u64, Reply), ProposeError> {
        if command.len() > MAX_COMMAND_BYTES {
            return Err(ProposeError::TooLarge { bytes: command.len() });
        }
        let permit = Arc::clone(&self.in_flight).try_acquire_owned().map_err(|_| ProposeError::Busy)?;
        let raft = self.raft.clone();
        // A task of its own keeps the permit until the entry's fate is known, not only until the caller has gone: a leader without a majority
        // then gathers no more than a bounded number of entries.
        let submitted = tokio::spawn(async move {
            let result = submit(&raft, command).await;
            drop(permit);
            result
        });
        match tokio::time::timeout(deadline, submitted).await {
            Ok(Ok(result)) => result.map_err(|error| self.without_silent_leader(error)),
            Ok(Err(ended)) => Err(ProposeError::Unknown { why: format!("its task ended: {ended}") }),
            Err(_elapsed) => Err(ProposeError::Unknown { why: format!("no majority confirmed it within {deadline:?}") }),
        }
    }

    /// A leader that has not been heard for long is no help to a client.
    fn without_silent_leader(&self, error: ProposeError) -> ProposeError {
        match error {
            ProposeError::NotLeader { leader } => ProposeError::NotLeader { leader: leader.filter(|_| self.heard.lately()) },
            ProposeError::Unknown { .. } | ProposeError::Busy | ProposeError::TooLarge { .. } | ProposeError::Fatal { .. } => error,
        }
    }
}

async fn submit<M: Machine>(raft: &Raft<TypeConfig, StateStore<M>>, command: Bytes) -> Result<(u64, Reply), ProposeError> {
    let (responder, answer) = ProgressResponder::complete_only();
    // An error here means that openraft's core never saw it.
    raft.client_write_ff(Proposal(command), Some(responder)).await.map_err(|fatal| ProposeError::Fatal { why: fatal.to_string() })?;
    match answer.await {
        Ok(Ok(written)) => Ok((written.log_id.index, written.data)),
        // openraft says this only before it appends.
        Ok(Err(ClientWriteError::ForwardToLeader(forward))) => Err(ProposeError::NotLeader { leader: leader_of(forward) }),
        // Overwritten by a later leader here, or skipped by a snapshot: the entry itself may still have been committed by others.
        Ok(Err(ClientWriteError::LogEntryDiscarded(_))) => {
            Err(ProposeError::Unknown { why: "this node lost the leadership while it was on its way".to_owned() })
        }
        // No proposal of ours asks for these; if one comes, say no more than is known.
        Ok(Err(other @ (ClientWriteError::ChangeMembershipError(_) | ClientWriteError::PreconditionFailed(_)))) => {
            Err(ProposeError::Unknown { why: other.to_string() })
        }
        Err(_dropped) => Err(ProposeError::Unknown { why: "this node stopped while it was on its way".to_owned() }),
    }
}
