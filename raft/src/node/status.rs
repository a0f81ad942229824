//! Numbers about this node and its group, for people. Asks nobody else; nothing may be decided on them.

use std::time::Duration;

use openraft::{Instant, ServerState};

use crate::node::leadership::Metrics;
use crate::node::start::Node;
use crate::store::machine::Machine;

/// A member of the group as this node knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberStatus {
    pub id: u64,
    pub address: String,
    pub voter: bool,
}

/// This node as it sees itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    pub address: String,
    /// `leader`, `follower`, `candidate`, `learner` or `stopped`.
    pub role: String,
    pub term: u64,
    pub last_log_index: u64,
    pub applied_index: u64,
    /// 0: no snapshot yet.
    pub snapshot_index: u64,
    /// Everything up to here is gone from the log; 0: nothing is.
    pub purged_index: u64,
    pub members: Vec<MemberStatus>,
    /// A leader: a majority answered it lately. Others: they heard the leader lately.
    pub has_quorum: bool,
}

impl<M: Machine> Node<M> {
    #[must_use]
    pub fn status(&self) -> NodeStatus {
        let applied_index = self.read(|_, index| index);
        let heard = self.heard.lately();
        let recently = Duration::from_millis(self.silence_ms);
        self.with_metrics(|metrics| NodeStatus {
            address: self.advertise.clone(),
            role: role(metrics.state).to_owned(),
            term: metrics.current_term,
            last_log_index: metrics.last_log_index.unwrap_or(0),
            applied_index,
            snapshot_index: metrics.snapshot.map_or(0, |id| id.index),
            purged_index: metrics.purged.map_or(0, |id| id.index),
            members: members(metrics),
            has_quorum: if metrics.state == ServerState::Leader { acknowledged(metrics, recently) } else { heard },
        })
    }
}

fn members(metrics: &Metrics) -> Vec<MemberStatus> {
    let config = &metrics.membership_config;
    let voters: Vec<u64> = config.voter_ids().collect();
    config.nodes().map(|(id, member)| MemberStatus { id: *id, address: member.address.clone(), voter: voters.contains(id) }).collect()
}

fn acknowledged(metrics: &Metrics, recently: Duration) -> bool {
    let alone = metrics.membership_config.voter_ids().count() == 1;
    alone || metrics.last_quorum_acked.is_some_and(|acked| acked.elapsed() < recently)
}

fn role(state: ServerState) -> &'static str {
    match state {
        ServerState::Leader => "leader",
        ServerState::Follower => "follower",
        ServerState::Candidate => "candidate",
        ServerState::Learner => "learner",
        ServerState::Shutdown => "stopped",
    }
}
