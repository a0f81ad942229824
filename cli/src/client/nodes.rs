//! Each control node asked by itself, so that something can be said without a quorum: the given endpoints, then the members that those name.

use std::time::Duration;

use berth_state::ids::ClusterId;
use berth_state::pb::api;
use futures::future::join_all;
use serde::Serialize;

use super::Client;
use super::answer::{Refused, classify};
use crate::failure::Failure;

/// For one node to answer about itself.
const PATIENCE: Duration = Duration::from_secs(2);

/// A node as it sees itself, or as the others know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NodeView {
    /// `None`: it did not answer, and no other node names this address.
    pub node: Option<u64>,
    pub address: String,
    pub reachable: bool,
    /// Why it did not answer.
    pub error: Option<String>,
    pub role: Option<String>,
    pub term: Option<u64>,
    pub leader: Option<u64>,
    pub has_quorum: bool,
    pub last_log_index: Option<u64>,
    pub applied_index: Option<u64>,
    pub snapshot_index: Option<u64>,
    pub voter: Option<bool>,
    pub program: Option<String>,
    pub cluster: Option<String>,
}

impl NodeView {
    fn silent(address: &str, why: String) -> Self {
        Self {
            node: None,
            address: address.to_owned(),
            reachable: false,
            error: Some(why),
            role: None,
            term: None,
            leader: None,
            has_quorum: false,
            last_log_index: None,
            applied_index: None,
            snapshot_index: None,
            voter: None,
            program: None,
            cluster: None,
        }
    }

    fn answered(status: &api::StatusResponse) -> Self {
        let cluster = <[u8; 16]>::try_from(status.cluster_id.as_slice()).ok().map(|id| ClusterId(id).to_string());
        Self {
            node: Some(status.node_id),
            address: status.address.clone(),
            reachable: true,
            error: None,
            role: Some(status.role.clone()),
            term: Some(status.term),
            leader: Some(status.leader_id).filter(|id| *id != 0),
            has_quorum: status.has_quorum,
            last_log_index: Some(status.last_log_index),
            applied_index: Some(status.applied_index),
            snapshot_index: Some(status.snapshot_index),
            voter: None,
            program: Some(status.program.clone()),
            cluster,
        }
    }

    #[must_use]
    pub fn leads(&self) -> bool {
        self.has_quorum && self.role.as_deref() == Some("leader")
    }
}

impl Client {
    /// All nodes that are known, sorted by id; those that did not answer say why.
    ///
    /// # Errors
    /// [`Failure::WrongCluster`].
    pub async fn nodes(&mut self) -> Result<Vec<NodeView>, Failure> {
        let mut views: Vec<NodeView> = Vec::new();
        let mut members: Vec<api::Member> = Vec::new();
        for (endpoint, answer) in self.ask_each(self.endpoints.clone()).await {
            match answer {
                Ok(status) => {
                    self.same_cluster(&endpoint, &status)?;
                    add(&mut views, NodeView::answered(&status));
                    members.extend(status.members);
                }
                Err(why) => add(&mut views, NodeView::silent(&endpoint, why)),
            }
        }
        members.sort_by_key(|m| m.id);
        members.dedup_by_key(|m| m.id);
        let unasked = members.iter().filter(|m| !views.iter().any(|v| v.node == Some(m.id) || v.address == m.address));
        let unasked: Vec<String> = unasked.map(|m| m.address.clone()).collect();
        for (endpoint, answer) in self.ask_each(unasked).await {
            add(&mut views, answer.map_or_else(|why| NodeView::silent(&endpoint, why), |status| NodeView::answered(&status)));
        }
        for view in &mut views {
            let member = members.iter().find(|m| view.node.map_or(m.address == view.address, |id| m.id == id));
            view.node = view.node.or(member.map(|m| m.id));
            view.voter = member.map(|m| m.voter);
        }
        views.sort_by_key(|v| (v.node.unwrap_or(u64::MAX), v.address.clone()));
        Ok(views)
    }

    async fn ask_each(&mut self, endpoints: Vec<String>) -> Vec<(String, Result<api::StatusResponse, String>)> {
        let patience = PATIENCE.min(self.timeout);
        let mut clients = Vec::new();
        for endpoint in endpoints {
            let client = self.connect(&endpoint).await;
            clients.push((endpoint, client));
        }
        let asked = clients.into_iter().map(|(endpoint, client)| async move {
            let answer = match client {
                Err(why) => Err(why),
                Ok(mut client) => match tokio::time::timeout(patience, client.status(api::StatusRequest {})).await {
                    Ok(Ok(response)) => Ok(response.into_inner()),
                    Ok(Err(status)) => Err(text(&classify(&status))),
                    Err(_) => Err("no answer".to_owned()),
                },
            };
            (endpoint, answer)
        });
        join_all(asked).await
    }

    fn same_cluster(&self, endpoint: &str, status: &api::StatusResponse) -> Result<(), Failure> {
        let actual = <[u8; 16]>::try_from(status.cluster_id.as_slice()).ok().map(ClusterId);
        match (self.cluster, actual) {
            (Some(expected), Some(actual)) if expected != actual => {
                Err(Failure::wrong_cluster(endpoint, Some(expected), &actual.to_string()))
            }
            (Some(_) | None, _) => Ok(()),
        }
    }

    /// Reads what a node that answered has, from the one that is furthest on. For when there is no quorum.
    ///
    /// # Errors
    /// That node is gone meanwhile.
    pub async fn read_from(&mut self, nodes: &[NodeView]) -> Result<super::registry::Registry, Failure> {
        let best = nodes.iter().filter(|n| n.reachable).max_by_key(|n| n.applied_index);
        self.leader = best.map(|n| n.address.clone());
        self.read_as(true).await
    }
}

/// One line per node, also when it is reached by two addresses.
fn add(views: &mut Vec<NodeView>, view: NodeView) {
    let known = |v: &NodeView| v.address == view.address || (v.node.is_some() && v.node == view.node);
    match views.iter_mut().find(|v| known(v)) {
        Some(old) if view.reachable => *old = view,
        Some(_) => {}
        None => views.push(view),
    }
}

fn text(refused: &Refused) -> String {
    match refused {
        Refused::NotLeader { .. } => "does not lead".to_owned(),
        Refused::Busy => "busy".to_owned(),
        Refused::WrongCluster { actual } => format!("belongs to cluster {actual}"),
        Refused::NoQuorum(why)
        | Refused::Unknown(why)
        | Refused::NotFound(why)
        | Refused::CorruptHistory(why)
        | Refused::Failed(why)
        | Refused::Lost(why) => why.clone(),
    }
}
