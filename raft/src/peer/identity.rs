//! Who speaks to whom: the envelope on every message between nodes, made and checked here only. A node that was re-addressed, belongs to another
//! cluster, or lost its data must never take part in another's traffic: its votes and acknowledgements would count for what it never stored.

use std::fmt;
use std::sync::Arc;

use berth_state::ids::ClusterId;
use bytes::Bytes;
use tonic::Status;

use crate::peer::acquaintances::{Acquaintances, MeetError};
use crate::peer::pb;

/// The random id a store was given when it was created. The node id says which seat of the group a node has; this says whether what sits
/// there is still what sat there before.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreId(pub [u8; 16]);

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreId({self})")
    }
}

/// What this node is towards its peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    pub cluster: ClusterId,
    pub node: u64,
    pub store: StoreId,
}

/// Why a message between nodes was refused.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("a message between nodes lacks a well-formed {field}: is the other node of another version?")]
    Malformed { field: &'static str },
    #[error(
        "this is node {node} of cluster {actual}, and the message is from node {sender} of cluster {claimed}: \
         one of the two has a wrong address in its member list or a wrong cluster id"
    )]
    OtherCluster { node: u64, actual: ClusterId, sender: u64, claimed: ClusterId },
    #[error("this is node {actual}, and node {sender} means node {meant}: the address of node {meant} is wrong in its member list")]
    OtherNode { actual: u64, sender: u64, meant: u64 },
    #[error("node {node} says it is itself the sender: two nodes run under one id")]
    Mirror { node: u64 },
    #[error(transparent)]
    Stranger(#[from] MeetError),
    #[error(
        "node {node} has store {actual}, and node {sender} knows it with store {known}: its data was lost or replaced. \
         It must not take part under its old id; give it back its data folder, or let it join under a new id"
    )]
    Replaced { node: u64, actual: StoreId, sender: u64, known: StoreId },
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        Self::failed_precondition(refusal.to_string())
    }
}

fn cluster_id(bytes: &[u8]) -> Result<ClusterId, Refusal> {
    bytes.try_into().map(ClusterId).map_err(|_| Refusal::Malformed { field: "cluster_id" })
}

fn store_id(bytes: &[u8]) -> Result<StoreId, Refusal> {
    bytes.try_into().map(StoreId).map_err(|_| Refusal::Malformed { field: "store" })
}

/// Makes and checks envelopes.
#[derive(Clone)]
pub struct Doorman {
    identity: Identity,
    acquaintances: Arc<Acquaintances>,
}

impl Doorman {
    #[must_use]
    pub fn new(identity: Identity, acquaintances: Arc<Acquaintances>) -> Self {
        Self { identity, acquaintances }
    }

    #[must_use]
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// This node's store, as every answer carries it.
    #[must_use]
    pub fn store(&self) -> Bytes {
        Bytes::copy_from_slice(&self.identity.store.0)
    }

    #[must_use]
    pub fn knows(&self, node: u64) -> bool {
        self.acquaintances.store_of(node).is_some()
    }

    /// What every message to `target` begins with.
    #[must_use]
    pub fn envelope(&self, target: u64) -> pb::Envelope {
        let known = self.acquaintances.store_of(target);
        pb::Envelope {
            cluster_id: Bytes::copy_from_slice(&self.identity.cluster.0),
            sender: self.identity.node,
            target,
            sender_store: self.store(),
            target_store: known.map(|store| Bytes::copy_from_slice(&store.0)).unwrap_or_default(),
        }
    }

    /// Lets a request in, or says why not. Returns the sender.
    ///
    /// # Errors
    /// [`Refusal`]; nothing of the request may be used then.
    pub fn admit(&self, envelope: Option<&pb::Envelope>) -> Result<u64, Refusal> {
        let envelope = envelope.ok_or(Refusal::Malformed { field: "envelope" })?;
        let (me, sender) = (self.identity, envelope.sender);
        let claimed = cluster_id(&envelope.cluster_id)?;
        if claimed != me.cluster {
            return Err(Refusal::OtherCluster { node: me.node, actual: me.cluster, sender, claimed });
        }
        if envelope.target != me.node {
            return Err(Refusal::OtherNode { actual: me.node, sender, meant: envelope.target });
        }
        if sender == me.node {
            return Err(Refusal::Mirror { node: me.node });
        }
        if !envelope.target_store.is_empty() {
            let known = store_id(&envelope.target_store)?;
            if known != me.store {
                return Err(Refusal::Replaced { node: me.node, actual: me.store, sender, known });
            }
        }
        self.acquaintances.meet(sender, store_id(&envelope.sender_store)?)?;
        Ok(sender)
    }

    /// Checks who answered.
    ///
    /// # Errors
    /// [`Refusal`]; nothing of the answer may be used then.
    pub fn recognise(&self, node: u64, store: &[u8]) -> Result<(), Refusal> {
        self.acquaintances.meet(node, store_id(store)?)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: ClusterId = ClusterId([7; 16]);

    fn doorman(cluster: ClusterId, node: u64, store: u8) -> (Doorman, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let book = Acquaintances::open(folder.path()).unwrap();
        (Doorman::new(Identity { cluster, node, store: StoreId([store; 16]) }, Arc::new(book)), folder)
    }

    #[test]
    fn a_message_for_this_node_of_this_cluster_is_let_in() {
        let (one, _f1) = doorman(CLUSTER, 1, 11);
        let (two, _f2) = doorman(CLUSTER, 2, 22);
        assert_eq!(two.admit(Some(&one.envelope(2))).unwrap(), 1);
    }

    #[test]
    fn another_cluster_another_target_and_a_double_are_refused() {
        let (two, _f2) = doorman(CLUSTER, 2, 22);
        let (foreign, _ff) = doorman(ClusterId([8; 16]), 1, 11);
        assert!(matches!(two.admit(Some(&foreign.envelope(2))), Err(Refusal::OtherCluster { .. })));
        let (one, _f1) = doorman(CLUSTER, 1, 11);
        assert!(matches!(two.admit(Some(&one.envelope(3))), Err(Refusal::OtherNode { actual: 2, meant: 3, .. })));
        let (double, _fd) = doorman(CLUSTER, 2, 23);
        assert!(matches!(two.admit(Some(&double.envelope(2))), Err(Refusal::Mirror { node: 2 })));
        assert!(matches!(two.admit(None), Err(Refusal::Malformed { .. })));
    }

    #[test]
    fn a_peer_that_comes_back_with_another_store_is_refused_in_both_directions() {
        let (two, _f2) = doorman(CLUSTER, 2, 22);
        let (one, _f1) = doorman(CLUSTER, 1, 11);
        two.admit(Some(&one.envelope(2))).unwrap();
        let (wiped, _fw) = doorman(CLUSTER, 1, 99);
        assert!(matches!(two.admit(Some(&wiped.envelope(2))), Err(Refusal::Stranger(_))));
        assert!(matches!(wiped.admit(Some(&two.envelope(1))), Err(Refusal::Replaced { node: 1, .. })));
        assert!(two.recognise(1, &[99; 16]).is_err());
        two.recognise(1, &[11; 16]).unwrap();
    }
}
