//! openraft's network: sends one node's Raft messages to its peers. Created by `node`, driven by openraft alone. It never grants, acknowledges or
//! retries anything on its own: an answer is what the peer answered, and every transport failure is Unreachable.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use openraft::error::{RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, RPCTypes, RaftNetworkFactory, RaftNetworkV2};
use tonic::transport::Channel;
use tonic::{Response, Status};

use crate::peer::convert;
use crate::peer::identity::Doorman;
use crate::peer::links::{Lane, Links};
use crate::peer::pb;
use crate::peer::pb::peer_client::PeerClient;
use crate::peer::send_snapshot::{self, SnapshotJob};
use crate::store::events::EventLog;
use crate::store::snapshot::SnapshotHandle;
use crate::types::{Member, Snapshot, TypeConfig, Vote};

type RpcError = RPCError<TypeConfig>;

fn unreachable<E: std::error::Error + 'static>(error: &E) -> RpcError {
    RPCError::Unreachable(Unreachable::new(error))
}

/// Makes a client per peer for openraft.
#[derive(Clone)]
pub struct PeerNetwork {
    doorman: Doorman,
    links: Arc<Links>,
    events: EventLog,
    append_deadline: Duration,
}

impl PeerNetwork {
    /// `append_deadline` bounds one append that carries entries. openraft offers its heartbeat interval for it, and enforces nothing; on a
    /// follower whose fsync takes longer than that the same entries would be sent over and over.
    #[must_use]
    pub fn new(doorman: Doorman, links: Arc<Links>, events: EventLog, append_deadline: Duration) -> Self {
        Self { doorman, links, events, append_deadline }
    }

    fn link(&self, target: u64, member: &Member, lane: Lane) -> PeerLink {
        PeerLink { network: self.clone(), me: self.doorman.identity().node, target, address: member.address.clone(), lane }
    }
}

impl RaftNetworkFactory<TypeConfig> for PeerNetwork {
    type Network = PeerLink;

    async fn new_client(&mut self, target: u64, node: &Member) -> PeerLink {
        self.link(target, node, Lane::Log)
    }

    async fn new_heartbeat_client(&mut self, target: u64, node: &Member) -> PeerLink {
        self.link(target, node, Lane::Heartbeat)
    }

    async fn new_snapshot_client(&mut self, target: u64, node: &Member) -> PeerLink {
        self.link(target, node, Lane::Snapshot)
    }
}

/// The way to one peer.
pub struct PeerLink {
    network: PeerNetwork,
    me: u64,
    target: u64,
    address: String,
    lane: Lane,
}

impl PeerLink {
    fn stub(&self) -> Result<PeerClient<Channel>, RpcError> {
        self.network.links.to(self.target, &self.address, self.lane).map_err(|e| unreachable(&e))
    }

    fn envelope(&self) -> pb::Envelope {
        self.network.doorman.envelope(self.target)
    }

    /// Before anything of an answer is used.
    fn recognise(&self, store: &[u8]) -> Result<(), RpcError> {
        self.network.doorman.recognise(self.target, store).map_err(|e| unreachable(&e))
    }

    async fn within<T>(
        &self,
        action: RPCTypes,
        timeout: Duration,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, RpcError> {
        match tokio::time::timeout(timeout, call).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(unreachable(&status)),
            Err(_elapsed) => Err(RPCError::Timeout(Timeout { action, id: self.me, target: self.target, timeout })),
        }
    }
}

impl RaftNetworkV2<TypeConfig> for PeerLink {
    type SnapshotData = SnapshotHandle;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RpcError> {
        let timeout = if rpc.entries.is_empty() { option.soft_ttl() } else { option.soft_ttl().max(self.network.append_deadline) };
        let from_start = rpc.prev_log_id.is_none();
        let message = convert::append_to_pb(self.envelope(), rpc);
        let mut stub = self.stub()?;
        let answer = self.within(RPCTypes::AppendEntries, timeout, stub.append_entries(message)).await?;
        self.recognise(&answer.store)?;
        convert::append_answer_from_pb(answer, from_start).map_err(|e| unreachable(&e))
    }

    async fn vote(&mut self, rpc: VoteRequest<TypeConfig>, option: RPCOption) -> Result<VoteResponse<TypeConfig>, RpcError> {
        let mut stub = self.stub()?;
        let message = convert::vote_request_to_pb(self.envelope(), &rpc);
        let answer = self.within(RPCTypes::Vote, option.soft_ttl(), stub.vote(message)).await?;
        self.recognise(&answer.store)?;
        convert::vote_answer_from_pb(answer).map_err(|e| unreachable(&e))
    }

    // openraft's default grants without asking: an isolated node would raise its term for ever, and disturb the group when it heals.
    async fn pre_vote(&mut self, rpc: VoteRequest<TypeConfig>, option: RPCOption) -> Result<VoteResponse<TypeConfig>, RpcError> {
        let mut stub = self.stub()?;
        let message = convert::vote_request_to_pb(self.envelope(), &rpc);
        let answer = self.within(RPCTypes::Vote, option.soft_ttl(), stub.pre_vote(message)).await?;
        self.recognise(&answer.store)?;
        convert::vote_answer_from_pb(answer).map_err(|e| unreachable(&e))
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let stub = self.stub()?;
        let job = SnapshotJob {
            doorman: &self.network.doorman,
            events: &self.network.events,
            target: self.target,
            vote,
            snapshot,
            idle: option.soft_ttl(),
        };
        tokio::select! {
            closed = cancel => Err(StreamingError::Closed(closed)),
            sent = send_snapshot::send(job, stub) => match sent {
                Ok(vote) => Ok(SnapshotResponse::new(vote)),
                Err(error) => Err(StreamingError::Unreachable(Unreachable::new(&error))),
            },
        }
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RpcError> {
        let mut stub = self.stub()?;
        let message = convert::transfer_to_pb(self.envelope(), &req);
        let answer = self.within(RPCTypes::TransferLeader, option.soft_ttl(), stub.transfer_leader(message)).await?;
        self.recognise(&answer.store)?;
        convert::transfer_answer_from_pb(answer).map_err(|e| unreachable(&e))
    }
}
