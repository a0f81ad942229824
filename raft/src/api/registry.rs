//! Service Registry: what users call. Translates and delegates; the rules are in `berth_state`.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;

use berth_state::Order;
use berth_state::codec::Wire;
use berth_state::ids::{ContainerId, RequestId, Revision};
use berth_state::pb::api::registry_server::Registry;
use berth_state::pb::{api, state as pb};
use futures::Stream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::api::errors::ApiError;
use crate::api::logs::LogRelay;
use crate::api::why::story::{HISTORY, Story};
use crate::api::{read, watch, why};
use crate::core::Core;
use crate::fencing::metadata;

pub type Streamed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

pub struct RegistryService {
    core: Arc<Core>,
    logs: LogRelay,
}

impl RegistryService {
    #[must_use]
    pub fn new(core: Arc<Core>, logs: LogRelay) -> Self {
        Self { core, logs }
    }
}

/// 16 bytes that name a write.
///
/// # Errors
/// [`ApiError::BadRequest`]: without one, a retry could do the write twice.
pub fn request_id(bytes: &[u8]) -> Result<RequestId, ApiError> {
    let id = <[u8; 16]>::try_from(bytes).map_err(|_| ApiError::BadRequest { field: "request_id", reason: "16 bytes".to_owned() })?;
    Ok(RequestId(id))
}

/// A decoded part of a request.
///
/// # Errors
/// [`ApiError::BadRequest`] when it is missing or malformed.
pub fn part<T: Wire>(field: &'static str, message: Option<T::Pb>) -> Result<T, ApiError> {
    let message = message.ok_or_else(|| ApiError::BadRequest { field, reason: "missing".to_owned() })?;
    T::from_pb(message).map_err(|e| ApiError::BadRequest { field, reason: e.to_string() })
}

/// Orders that users may give; the rest is for leader loops and executors, whose own calls check more.
fn user_order(order: &Order) -> Result<(), ApiError> {
    match order {
        Order::ChangeSettings(_)
        | Order::RaiseFormat(_)
        | Order::AddHost(_)
        | Order::UpdateHost(_)
        | Order::RemoveHost(_)
        | Order::SetScheduling(_)
        | Order::AddVolume(_)
        | Order::UpdateVolume(_)
        | Order::RemoveVolume(_)
        | Order::AddContainer(_)
        | Order::UpdateContainer(_)
        | Order::RemoveContainer(_)
        | Order::SetDesired(_)
        | Order::RestartContainer(_)
        | Order::MoveContainer(_)
        | Order::RevokeLease(_)
        | Order::UnfenceHost(_)
        | Order::ClearSuspicion(_) => Ok(()),
        Order::FenceLease(fence) => match fence.evidence {
            berth_state::noun::lease::Evidence::OperatorConfirmed { .. } => Ok(()),
            berth_state::noun::lease::Evidence::RanOut { .. }
            | berth_state::noun::lease::Evidence::StorageCut
            | berth_state::noun::lease::Evidence::PoweredOff => not_yours("this evidence"),
        },
        Order::InitCluster(_)
        | Order::SetHealth(_)
        | Order::GrantLease(_)
        | Order::WithdrawLease(_)
        | Order::CloseLease(_)
        | Order::ExpireLease(_)
        | Order::StartFence(_)
        | Order::ReleaseLease(_)
        | Order::ClaimLease(_)
        | Order::BeginFenceAttempt(_)
        | Order::EndFenceAttempt(_)
        | Order::StartLift(_)
        | Order::FinishLift(_)
        | Order::SuspectSplitBrain(_)
        | Order::OpenSession(_)
        | Order::CloseSession(_)
        | Order::ExpireSession(_)
        | Order::RecordKeepalives(_)
        | Order::RecordObservation(_) => not_yours("this order"),
    }
}

/// A host that only seems to be fenceable would be found out when it has to be fenced. Only the leader looks: it is the one that fences.
async fn check_agents(core: &Core, order: &Order) -> Result<(), ApiError> {
    if core.node().is_leader_ready().is_none() {
        return Ok(());
    }
    let agents = core.view(|view| metadata::new_agents(view.state, order));
    for agent in &agents {
        metadata::check(agent).await.map_err(|reason| ApiError::BadRequest { field: "fence_agents", reason })?;
    }
    Ok(())
}

fn not_yours(what: &str) -> Result<(), ApiError> {
    Err(ApiError::BadRequest { field: "order", reason: format!("{what} is not a user's to give") })
}

fn stream<T: Send + 'static>(out: mpsc::Receiver<Result<T, Status>>) -> Response<Streamed<T>> {
    Response::new(Box::pin(ReceiverStream::new(out)))
}

#[tonic::async_trait]
impl Registry for RegistryService {
    type WatchStream = Streamed<api::WatchResponse>;
    type EventsStream = Streamed<api::EventBatch>;
    type LogsStream = Streamed<api::LogsResponse>;

    async fn write(&self, request: Request<api::WriteRequest>) -> Result<Response<api::WriteResponse>, Status> {
        let request = request.into_inner();
        self.core.check_cluster(&request.cluster_id)?;
        let id = request_id(&request.request_id)?;
        let order: Order = part("order", request.order)?;
        user_order(&order)?;
        check_agents(&self.core, &order).await?;
        let outcome = self.core.propose(order, Some(id), request.actor).await?;
        Ok(Response::new(api::WriteResponse { outcome: Some(outcome.to_pb()) }))
    }

    async fn read(&self, request: Request<api::ReadRequest>) -> Result<Response<api::ReadResponse>, Status> {
        let request = request.into_inner();
        self.core.check_cluster(&request.cluster_id)?;
        if !request.stale {
            self.core.linearize().await?;
        }
        Ok(Response::new(self.core.view(|view| read::full(&self.core, &view))))
    }

    async fn watch(&self, request: Request<api::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let request = request.into_inner();
        self.core.check_cluster(&request.cluster_id)?;
        let (out, messages) = mpsc::channel(watch::BUFFER);
        tokio::spawn(watch::watch(self.core.clone(), Revision(request.after_revision), out));
        Ok(stream(messages))
    }

    async fn events(&self, request: Request<api::EventsRequest>) -> Result<Response<Self::EventsStream>, Status> {
        let request = request.into_inner();
        self.core.check_cluster(&request.cluster_id)?;
        let (out, batches) = mpsc::channel(watch::BUFFER);
        let form = if request.raw { watch::Form::Raw } else { watch::Form::Decoded };
        tokio::spawn(watch::history(self.core.clone(), Revision(request.after_revision), request.limit, form, out));
        Ok(stream(batches))
    }

    async fn why(&self, request: Request<api::WhyRequest>) -> Result<Response<api::WhyResponse>, Status> {
        let request = request.into_inner();
        self.core.check_cluster(&request.cluster_id)?;
        self.core.linearize().await?;
        self.core.refresh_notes();
        let now = self.core.clock().raw_now();
        let mut answer = self.core.notes(|notes| self.core.view(|view| why::why(&view, notes, now, &request.name)))?;
        match history_of(&self.core, &request.name) {
            Ok(history) => answer.history = history,
            // Who holds it is known all the same.
            Err(error) => answer.blocks.push(error.to_string()),
        }
        Ok(Response::new(answer))
    }

    async fn status(&self, _request: Request<api::StatusRequest>) -> Result<Response<api::StatusResponse>, Status> {
        Ok(Response::new(crate::api::read::status(&self.core)))
    }

    async fn logs(&self, request: Request<api::LogsRequest>) -> Result<Response<Self::LogsStream>, Status> {
        let request = request.into_inner();
        self.core.check_cluster(&request.cluster_id)?;
        self.core.linearize().await?;
        let id = ContainerId::new(&request.container).map_err(|e| ApiError::BadRequest { field: "container", reason: e.to_string() })?;
        let found = self.core.view(|view| {
            view.state.need_container(&id).map_err(|e| ApiError::NotFound(e.to_string()))?;
            let lease = view.state.lease_of_container(&id).map(|l| (l.session, l.token));
            lease.ok_or_else(|| {
                ApiError::Failed(format!("container {id} has no lease now, so no host has its output: see `berth why {id}`"))
            })
        })?;
        Ok(stream(self.logs.read(found.0, found.1, &request)?))
    }
}

/// The newest events about a volume or container, oldest first. Reads the whole log once: a person asked, and it is bounded by the log.
fn history_of(core: &Core, name: &str) -> Result<Vec<pb::Event>, ApiError> {
    let mut story = Story::of(name);
    let mut newest = VecDeque::new();
    let mut at = Revision(0);
    loop {
        let events = core.events_after(at, 1_024)?;
        let Some(last) = events.last() else { break };
        at = last.revision;
        for event in events {
            if story.concerns(&event) {
                if newest.len() == HISTORY {
                    newest.pop_front();
                }
                newest.push_back(event.to_pb());
            }
        }
    }
    Ok(newest.into())
}
