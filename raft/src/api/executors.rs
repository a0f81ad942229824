//! Service Executors: what executors call. Each call is one proposal, or a stream of applied state.

use std::sync::Arc;
use std::time::Duration;

use berth_state::codec::Wire;
use berth_state::command::{AddHost, Keepalive, ObservedInstance, OpenSession, Order, RecordObservation, ReleaseLease};
use berth_state::ids::{BootId, HostId, LeaseId, LedgerId, SessionId, Token};
use berth_state::noun::host::HostSpec;
use berth_state::pb::api;
use berth_state::pb::api::executors_server::Executors;
use berth_state::{Outcome, Rejection};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::api::assignments;
use crate::api::errors::ApiError;
use crate::api::keepalives::Keepalives;
use crate::api::logs::LogRelay;
use crate::api::registry::{Streamed, part, request_id};
use crate::core::Core;

/// A keepalive without an own deadline is not proposed after this.
const KEEPALIVE_DEADLINE: Duration = Duration::from_secs(2);

pub struct ExecutorsService {
    core: Arc<Core>,
    keepalives: Keepalives,
    logs: LogRelay,
}

impl ExecutorsService {
    #[must_use]
    pub fn new(core: Arc<Core>, keepalives: Keepalives, logs: LogRelay) -> Self {
        Self { core, keepalives, logs }
    }

    /// Adds the host on its executor's word, if it is not there. A host that exists keeps its spec: operators change it.
    async fn register(&self, host: &HostId, spec: HostSpec) -> Result<(), Status> {
        if self.core.view(|view| view.state.host(host).is_some()) {
            return Ok(());
        }
        let order = Order::AddHost(AddHost { host: host.clone(), spec });
        match self.core.propose(order, None, format!("executor {host}")).await? {
            Outcome::Accepted(_) | Outcome::Rejected(Rejection::HostExists { .. }) => Ok(()),
            Outcome::Rejected(why) => Err(ApiError::Failed(why.to_string()).into()),
            Outcome::Keepalives(_) => Err(ApiError::Failed("an AddHost was answered as a keepalive".to_owned()).into()),
        }
    }
}

fn sixteen(field: &'static str, bytes: &[u8]) -> Result<[u8; 16], ApiError> {
    <[u8; 16]>::try_from(bytes).map_err(|_| ApiError::BadRequest { field, reason: "16 bytes".to_owned() })
}

fn host_id(text: &str) -> Result<HostId, ApiError> {
    HostId::new(text).map_err(|e| ApiError::BadRequest { field: "host", reason: e.to_string() })
}

/// The deadline the caller set on this call, from the standard `grpc-timeout` header.
fn caller_deadline<T>(request: &Request<T>) -> Duration {
    let header = request.metadata().get("grpc-timeout").and_then(|v| v.to_str().ok());
    header.and_then(parse_timeout).unwrap_or(KEEPALIVE_DEADLINE).min(KEEPALIVE_DEADLINE)
}

/// At most eight digits and a unit, as gRPC over HTTP/2 defines it.
fn parse_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let value: u64 = digits.parse().ok().filter(|_| digits.len() <= 8)?;
    match unit {
        "H" => Some(Duration::from_secs(value * 3_600)),
        "M" => Some(Duration::from_secs(value * 60)),
        "S" => Some(Duration::from_secs(value)),
        "m" => Some(Duration::from_millis(value)),
        "u" => Some(Duration::from_micros(value)),
        "n" => Some(Duration::from_nanos(value)),
        _ => None,
    }
}

/// What an executor may order, and only in its own session's name.
fn own_order(order: &Order, session: SessionId) -> Result<(), ApiError> {
    let named = if let Order::ClaimLease(claim) = order {
        Some(claim.session)
    } else if let Order::SuspectSplitBrain(suspicion) = order {
        Some(suspicion.session)
    } else {
        None
    };
    if named == Some(session) {
        return Ok(());
    }
    Err(ApiError::BadRequest {
        field: "order",
        reason: "an executor orders ClaimLease and SuspectSplitBrain, in its own session's name".to_owned(),
    })
}

#[tonic::async_trait]
impl Executors for ExecutorsService {
    type AssignmentsStream = Streamed<api::AssignmentsResponse>;
    type LogChannelStream = Streamed<api::LogOrder>;

    async fn open_session(&self, request: Request<api::OpenSessionRequest>) -> Result<Response<api::OpenSessionResponse>, Status> {
        let request = request.into_inner();
        self.core.check_cluster(&request.cluster_id)?;
        self.core.need_leader()?;
        let host = host_id(&request.host)?;
        if let Some(spec) = request.register {
            let spec = HostSpec::from_pb(spec).map_err(|e| ApiError::BadRequest { field: "register", reason: e.to_string() })?;
            self.register(&host, spec).await?;
        }
        let order = OpenSession {
            host: host.clone(),
            boot: BootId(sixteen("boot_id", &request.boot_id)?),
            ledger: LedgerId(sixteen("ledger_id", &request.ledger_id)?),
            predecessor: (request.predecessor != 0).then_some(SessionId(request.predecessor)),
            declared: part("declared", request.declared)?,
        };
        let id = request_id(&request.request_id)?;
        let outcome = self.core.propose(Order::OpenSession(order), Some(id), format!("executor {host}")).await?;
        let (incarnation, ttl_ms) =
            self.core.view(|view| (view.state.cluster().map_or(0, |c| c.incarnation.0), view.state.settings().ttl_ms));
        let cluster_id = self.core.cluster().0.to_vec();
        let fence_after_ms = self.core.view(|view| view.state.settings().fence_after_ms);
        Ok(Response::new(api::OpenSessionResponse { outcome: Some(outcome.to_pb()), cluster_id, incarnation, ttl_ms, fence_after_ms }))
    }

    async fn keepalive(&self, request: Request<api::KeepaliveRequest>) -> Result<Response<api::KeepaliveResponse>, Status> {
        let until = self.core.clock().raw_now().plus_ms(u64::try_from(caller_deadline(&request).as_millis()).unwrap_or(u64::MAX));
        let request = request.into_inner();
        self.core.check_cluster(&request.cluster_id)?;
        self.core.need_leader()?;
        let keepalive: Keepalive = part("keepalive", request.keepalive)?;
        let answer = self.keepalives.send(keepalive, until).await?;
        Ok(Response::new(api::KeepaliveResponse { answer: Some(answer.to_pb()) }))
    }

    async fn assignments(&self, request: Request<api::AssignmentsRequest>) -> Result<Response<Self::AssignmentsStream>, Status> {
        let request = request.into_inner();
        self.core.check_cluster(&request.cluster_id)?;
        let host = host_id(&request.host)?;
        let (out, messages) = mpsc::channel(assignments::BUFFER);
        tokio::spawn(assignments::stream(self.core.clone(), host, SessionId(request.session), out));
        Ok(Response::new(Box::pin(ReceiverStream::new(messages))))
    }

    async fn report(&self, request: Request<api::ReportRequest>) -> Result<Response<api::ReportResponse>, Status> {
        let request = request.into_inner();
        self.core.check_cluster(&request.cluster_id)?;
        let instances: Result<Vec<ObservedInstance>, ApiError> =
            request.instances.into_iter().map(|i| part("instances", Some(i))).collect();
        let order = RecordObservation { session: SessionId(request.session), instances: instances? };
        let id = request_id(&request.request_id)?;
        let outcome = self.core.propose(Order::RecordObservation(order), Some(id), self.actor(request.session)).await?;
        Ok(Response::new(api::ReportResponse { outcome: Some(outcome.to_pb()) }))
    }

    async fn release(&self, request: Request<api::ReleaseRequest>) -> Result<Response<api::ReleaseResponse>, Status> {
        let request = request.into_inner();
        self.core.check_cluster(&request.cluster_id)?;
        let exit = request.exit.map(|exit| part("exit", Some(exit))).transpose()?;
        let order = ReleaseLease {
            lease: LeaseId(request.lease),
            token: Token(request.token),
            session: SessionId(request.session),
            exit,
            finished: request.finished,
        };
        let id = request_id(&request.request_id)?;
        let outcome = self.core.propose(Order::ReleaseLease(order), Some(id), self.actor(request.session)).await?;
        Ok(Response::new(api::ReleaseResponse { outcome: Some(outcome.to_pb()) }))
    }

    async fn propose(&self, request: Request<api::ProposeRequest>) -> Result<Response<api::WriteResponse>, Status> {
        let request = request.into_inner();
        self.core.check_cluster(&request.cluster_id)?;
        let order: Order = part("order", request.order)?;
        own_order(&order, SessionId(request.session))?;
        let id = request_id(&request.request_id)?;
        let outcome = self.core.propose(order, Some(id), self.actor(request.session)).await?;
        Ok(Response::new(api::WriteResponse { outcome: Some(outcome.to_pb()) }))
    }

    async fn log_channel(&self, request: Request<Streaming<api::LogDelivery>>) -> Result<Response<Self::LogChannelStream>, Status> {
        self.core.need_leader()?;
        let mut deliveries = request.into_inner();
        let hello = tokio::time::timeout(Duration::from_secs(5), deliveries.message()).await;
        let Ok(Ok(Some(hello))) = hello else {
            return Err(ApiError::BadRequest { field: "session", reason: "the first delivery names the session".to_owned() }.into());
        };
        let orders = self.logs.attach(SessionId(hello.session), deliveries);
        Ok(Response::new(Box::pin(ReceiverStream::new(orders))))
    }
}

impl ExecutorsService {
    fn actor(&self, session: u64) -> String {
        let host = self.core.view(|view| view.state.session(SessionId(session)).map(|s| s.host.to_string()));
        host.map_or_else(|| format!("session {session}"), |host| format!("executor {host}"))
    }
}
