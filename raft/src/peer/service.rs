//! The answering side of the traffic between nodes: checks who speaks, then hands each message to openraft. Served on the node's one
//! port. It uses nothing of a message before the doorman has admitted it.

use std::sync::Arc;

use openraft::Raft;
use openraft::raft::AppendEntriesResponse;
use tokio::sync::Mutex;
use tonic::{Request, Response, Status, Streaming};

use crate::peer::convert::{self, BadMessage};
use crate::peer::heard::Heard;
use crate::peer::identity::Doorman;
use crate::peer::pb;
use crate::peer::pb::peer_server::Peer;
use crate::peer::receive_snapshot;
use crate::store::events::EventLog;
use crate::store::machine::Machine;
use crate::store::snapshot::Snapshots;
use crate::store::state::StateStore;
use crate::types::TypeConfig;

impl From<BadMessage> for Status {
    fn from(bad: BadMessage) -> Self {
        Self::invalid_argument(bad.to_string())
    }
}

/// openraft has ended here; the caller backs off.
fn ended(error: &impl std::fmt::Display) -> Status {
    Status::unavailable(format!("this node's raft has ended: {error}"))
}

/// See the module. Cheap to clone.
pub struct PeerService<M: Machine> {
    doorman: Doorman,
    raft: Raft<TypeConfig, StateStore<M>>,
    events: EventLog,
    snapshots: Snapshots,
    heard: Heard,
    /// Held while a snapshot arrives; two at once would only fill the disk.
    receiving: Arc<Mutex<()>>,
}

impl<M: Machine> Clone for PeerService<M> {
    fn clone(&self) -> Self {
        Self {
            doorman: self.doorman.clone(),
            raft: self.raft.clone(),
            events: self.events.clone(),
            snapshots: self.snapshots.clone(),
            heard: self.heard.clone(),
            receiving: self.receiving.clone(),
        }
    }
}

impl<M: Machine> PeerService<M> {
    #[must_use]
    pub fn new(doorman: Doorman, raft: Raft<TypeConfig, StateStore<M>>, events: EventLog, snapshots: Snapshots, heard: Heard) -> Self {
        Self { doorman, raft, events, snapshots, heard, receiving: Arc::default() }
    }
}

#[tonic::async_trait]
impl<M: Machine> Peer for PeerService<M> {
    async fn hello(&self, request: Request<pb::HelloRequest>) -> Result<Response<pb::HelloResponse>, Status> {
        self.doorman.admit(request.get_ref().envelope.as_ref())?;
        Ok(Response::new(pb::HelloResponse { store: self.doorman.store() }))
    }

    async fn append_entries(&self, request: Request<pb::AppendEntriesRequest>) -> Result<Response<pb::AppendEntriesResponse>, Status> {
        let request = request.into_inner();
        self.doorman.admit(request.envelope.as_ref())?;
        let answer = self.raft.append_entries(convert::append_from_pb(request)?).await.map_err(|e| ended(&e))?;
        if !matches!(answer, AppendEntriesResponse::HigherVote(_)) {
            self.heard.note();
        }
        Ok(Response::new(convert::append_answer_to_pb(&answer, self.doorman.store())))
    }

    async fn vote(&self, request: Request<pb::VoteRequest>) -> Result<Response<pb::VoteResponse>, Status> {
        let request = request.into_inner();
        self.doorman.admit(request.envelope.as_ref())?;
        let answer = self.raft.vote(convert::vote_request_from_pb(request)?).await.map_err(|e| ended(&e))?;
        Ok(Response::new(convert::vote_answer_to_pb(&answer, self.doorman.store())))
    }

    async fn pre_vote(&self, request: Request<pb::VoteRequest>) -> Result<Response<pb::VoteResponse>, Status> {
        let request = request.into_inner();
        self.doorman.admit(request.envelope.as_ref())?;
        let answer = self.raft.pre_vote(convert::vote_request_from_pb(request)?).await.map_err(|e| ended(&e))?;
        Ok(Response::new(convert::vote_answer_to_pb(&answer, self.doorman.store())))
    }

    async fn transfer_leader(&self, request: Request<pb::TransferLeaderRequest>) -> Result<Response<pb::TransferLeaderResponse>, Status> {
        let request = request.into_inner();
        self.doorman.admit(request.envelope.as_ref())?;
        let answer = self.raft.handle_transfer_leader(convert::transfer_from_pb(request)?).await.map_err(|e| ended(&e))?;
        Ok(Response::new(convert::transfer_answer_to_pb(&answer, self.doorman.store())))
    }

    async fn last_event(&self, request: Request<pb::LastEventRequest>) -> Result<Response<pb::LastEventResponse>, Status> {
        self.doorman.admit(request.get_ref().envelope.as_ref())?;
        let head = self.events.last_event().map(|head| convert::head_to_pb(&head));
        Ok(Response::new(pb::LastEventResponse { head, store: self.doorman.store() }))
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<pb::SnapshotPart>>,
    ) -> Result<Response<pb::InstallSnapshotResponse>, Status> {
        let busy = || Status::resource_exhausted("another snapshot is just arriving here: send this one later");
        let _one_at_a_time = self.receiving.try_lock().map_err(|_| busy())?;
        let (vote, snapshot) = receive_snapshot::receive(&self.doorman, &self.snapshots, request.into_inner()).await?;
        let answer = self.raft.install_full_snapshot(vote, snapshot).await.map_err(|e| ended(&e))?;
        self.heard.note();
        Ok(Response::new(pb::InstallSnapshotResponse { vote: Some(convert::vote_to_pb(&answer.vote)), store: self.doorman.store() }))
    }
}
