//! The link to the control nodes: gRPC behind [`ControlPlane`], and the one place where protobuf and domain types meet. Finds the leader by what nodes say
//! (`berth-leader`) and by trying. Must never send a keepalive twice.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use berth_state::Outcome;
use berth_state::codec::{CodecError, Wire};
use berth_state::command::Keepalive;
use berth_state::ids::{ClusterId, HostId, Incarnation, SessionId};
use berth_state::noun::lease::Lease;
use berth_state::noun::volume::Volume;
use berth_state::outcome::{KeepaliveAnswer, Made};
use berth_state::pb::api;
use berth_state::pb::api::executors_client::ExecutorsClient;
use berth_state::pb::api::registry_client::RegistryClient;
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status, Streaming};

use crate::assignments::AssignmentUpdate;
use crate::control::{
    ControlPlane, LinkError, LogDelivery, LogOrder, OpenRequest, Opened, ProposeRequest, ReleaseRequest, ReportRequest, WhyAnswer,
};
use crate::link_messages::{assignments, delivery, log_order};

const CONNECT: Duration = Duration::from_secs(1);
/// A connection without any sign of life for this long is dead: streams have no deadline of their own.
const PING_EVERY: Duration = Duration::from_secs(2);
const PING_TIMEOUT: Duration = Duration::from_secs(2);
/// A write waits for a commit, perhaps for an election.
const CALL: Duration = Duration::from_secs(3);
/// For a question that somebody waits for.
const READ: Duration = Duration::from_secs(2);
/// For the first answer on a stream.
const STREAM_OPEN: Duration = Duration::from_secs(3);

/// An endpoint of the configuration that cannot be one.
#[derive(Debug, thiserror::Error)]
#[error("{endpoint:?} is not an endpoint: use address:port")]
pub struct BadEndpoint {
    pub endpoint: String,
}

/// Connections to the control nodes. Made once; shared.
pub struct Link {
    endpoints: Vec<String>,
    state: Mutex<State>,
    changes: watch::Sender<u64>,
}

struct State {
    /// Believed to lead.
    current: String,
    /// Position in `endpoints` of the next to try.
    next: usize,
    channels: BTreeMap<String, Channel>,
}

impl Link {
    /// Connects on first use.
    ///
    /// # Errors
    /// [`BadEndpoint`]: also when there is none.
    pub fn new(endpoints: &[String]) -> Result<Self, BadEndpoint> {
        for address in endpoints {
            endpoint(address)?;
        }
        let first = endpoints.first().cloned().ok_or_else(|| BadEndpoint { endpoint: String::new() })?;
        let state = State { current: first, next: 1, channels: BTreeMap::new() };
        Ok(Self { endpoints: endpoints.to_vec(), state: Mutex::new(state), changes: watch::Sender::new(0) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client of the node that is believed to lead.
    fn client(&self) -> Result<(String, ExecutorsClient<Channel>), LinkError> {
        let mut state = self.lock();
        let address = state.current.clone();
        if let Some(channel) = state.channels.get(&address) {
            return Ok((address, ExecutorsClient::new(channel.clone())));
        }
        let made = endpoint(&address).map_err(|error| LinkError::Unreachable { address: address.clone(), why: error.to_string() })?;
        let channel = made.connect_lazy();
        // Leaders are named by nodes; a few more than the endpoints at most, and all of them are small.
        if state.channels.len() > self.endpoints.len() + 8 {
            state.channels.clear();
        }
        state.channels.insert(address.clone(), channel.clone());
        Ok((address, ExecutorsClient::new(channel)))
    }

    /// Learns from an error of the node at `address` whom to ask next. `true`: another node than before.
    fn learn(&self, address: &str, error: &LinkError, leader: Option<String>) -> bool {
        let mut state = self.lock();
        // Somebody else has learned meanwhile.
        if state.current != address {
            return true;
        }
        match error {
            LinkError::NotLeader { .. } | LinkError::NoQuorum { .. } | LinkError::Unknown { .. } | LinkError::Unreachable { .. } => {}
            LinkError::WrongCluster { .. } => {}
            LinkError::Rejected(_) | LinkError::Busy { .. } | LinkError::Failed { .. } => return false,
        }
        state.current = match leader {
            Some(leader) => leader,
            None => {
                let next = self.endpoints[state.next % self.endpoints.len()].clone();
                state.next = (state.next + 1) % self.endpoints.len();
                next
            }
        };
        let changed = state.current != address;
        drop(state);
        if changed {
            self.changes.send_modify(|count| *count = count.wrapping_add(1));
        }
        changed
    }

    /// One call to the believed leader, with a deadline.
    async fn once<M, R, F>(
        &self,
        message: M,
        timeout: Duration,
        call: impl FnOnce(ExecutorsClient<Channel>, Request<M>) -> F,
    ) -> Result<(String, R), LinkError>
    where
        F: Future<Output = Result<Response<R>, Status>>,
    {
        let (address, client) = self.client()?;
        let mut request = Request::new(message);
        request.set_timeout(timeout);
        // The transport's own deadline starts late when the connection is still being made.
        let answer = tokio::time::timeout(timeout, call(client, request)).await;
        let (error, leader) = match answer {
            Ok(Ok(response)) => return Ok((address, response.into_inner())),
            Ok(Err(status)) => understand(&address, &status),
            Err(_) => (LinkError::Unknown { address: address.clone(), why: "no answer in time".to_owned() }, None),
        };
        self.learn(&address, &error, leader);
        Err(error)
    }

    /// A write with a request id, which may be repeated: asks others when the node cannot say, each once.
    async fn write<M, R, F>(&self, message: M, call: impl Fn(ExecutorsClient<Channel>, Request<M>) -> F) -> Result<(String, R), LinkError>
    where
        M: Clone,
        F: Future<Output = Result<Response<R>, Status>>,
    {
        let mut hops = self.endpoints.len() + 1;
        loop {
            let error = match self.once(message.clone(), CALL, &call).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            hops = hops.saturating_sub(1);
            match error {
                LinkError::NotLeader { .. } | LinkError::Unreachable { .. } if hops > 0 => {}
                LinkError::NotLeader { .. }
                | LinkError::Unreachable { .. }
                | LinkError::Rejected(_)
                | LinkError::NoQuorum { .. }
                | LinkError::Unknown { .. }
                | LinkError::Busy { .. }
                | LinkError::WrongCluster { .. }
                | LinkError::Failed { .. } => return Err(error),
            }
        }
    }
}

fn endpoint(address: &str) -> Result<Endpoint, BadEndpoint> {
    let uri = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
    let bad = || BadEndpoint { endpoint: address.to_owned() };
    let made = Endpoint::from_shared(uri).map_err(|_| bad())?;
    if made.uri().port_u16().is_none() {
        return Err(bad());
    }
    Ok(made
        .connect_timeout(CONNECT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT)
        .keep_alive_while_idle(true))
}

/// The error a status stands for (api.proto), and who leads, if it says.
fn understand(address: &str, status: &Status) -> (LinkError, Option<String>) {
    let (address, why) = (address.to_owned(), status.message().to_owned());
    let text = |key: &str| status.metadata().get(key).and_then(|value| value.to_str().ok());
    // `<node id>=<address>`
    let leader = text("berth-leader").and_then(|value| value.split_once('=')).map(|(_, leader)| leader.to_owned());
    let error = match text("berth-error") {
        Some("not-leader") => LinkError::NotLeader { address, leader_known: leader.is_some() },
        Some("no-quorum") => LinkError::NoQuorum { address, why },
        Some("unknown") => LinkError::Unknown { address, why },
        Some("busy") => LinkError::Busy { address },
        Some("wrong-cluster") => LinkError::WrongCluster { address, why },
        Some(_) => LinkError::Failed { address, why },
        None if matches!(status.code(), tonic::Code::DeadlineExceeded | tonic::Code::Cancelled) => LinkError::Unknown { address, why },
        None => LinkError::Unreachable { address, why },
    };
    (error, leader)
}

fn garbled(address: &str, error: &CodecError) -> LinkError {
    LinkError::Failed { address: address.to_owned(), why: error.to_string() }
}

fn part<T: Wire>(address: &str, pb: Option<T::Pb>) -> Result<T, LinkError> {
    let pb = pb.ok_or_else(|| LinkError::Failed { address: address.to_owned(), why: "an answer without its contents".to_owned() })?;
    T::from_pb(pb).map_err(|error| garbled(address, &error))
}

/// What the command made; a rejection is an error here.
fn made(address: &str, outcome: Option<<Outcome as Wire>::Pb>) -> Result<Made, LinkError> {
    match part::<Outcome>(address, outcome)? {
        Outcome::Accepted(accepted) => Ok(accepted.made),
        Outcome::Rejected(why) => Err(LinkError::Rejected(Box::new(why))),
        Outcome::Keepalives(_) => {
            Err(LinkError::Failed { address: address.to_owned(), why: "a write was answered as a keepalive".to_owned() })
        }
    }
}

#[async_trait]
impl ControlPlane for Link {
    async fn open_session(&self, request: OpenRequest) -> Result<Opened, LinkError> {
        let order = request.order;
        let message = api::OpenSessionRequest {
            cluster_id: request.cluster.map(|id| id.0.to_vec()).unwrap_or_default(),
            request_id: request.request.0.to_vec(),
            host: order.host.to_string(),
            boot_id: order.boot.0.to_vec(),
            ledger_id: order.ledger.0.to_vec(),
            predecessor: order.predecessor.map_or(0, |id| id.0),
            declared: Some(order.declared.to_pb()),
            register: request.register.map(|spec| spec.to_pb()),
        };
        let (address, answer) = self.write(message, |mut client, request| async move { client.open_session(request).await }).await?;
        let failed = |why: &str| LinkError::Failed { address: address.clone(), why: why.to_owned() };
        let Made::Session(session) = made(&address, answer.outcome)? else { return Err(failed("an opening that made no session")) };
        let cluster = <[u8; 16]>::try_from(answer.cluster_id).map_err(|_| failed("a cluster id that has not 16 bytes"))?;
        let (incarnation, ttl_ms, fence_after_ms) = (Incarnation(answer.incarnation), answer.ttl_ms, answer.fence_after_ms);
        Ok(Opened { session, cluster: ClusterId(cluster), incarnation, ttl_ms, fence_after_ms })
    }

    async fn keepalive(&self, cluster: ClusterId, keepalive: Keepalive, timeout: Duration) -> Result<KeepaliveAnswer, LinkError> {
        let message = api::KeepaliveRequest { cluster_id: cluster.0.to_vec(), keepalive: Some(keepalive.to_pb()) };
        let (address, answer) = self.once(message, timeout, |mut client, request| async move { client.keepalive(request).await }).await?;
        part(&address, answer.answer)
    }

    async fn assignments(
        &self,
        cluster: ClusterId,
        host: HostId,
        session: SessionId,
    ) -> Result<BoxStream<'static, Result<AssignmentUpdate, LinkError>>, LinkError> {
        let message = api::AssignmentsRequest { cluster_id: cluster.0.to_vec(), host: host.to_string(), session: session.0 };
        let (address, client) = self.client()?;
        let stream = self.stream(&address, async move { { client }.assignments(message).await }).await?;
        Ok(stream.map(move |item| update(&address, item)).boxed())
    }

    async fn report(&self, request: ReportRequest) -> Result<(), LinkError> {
        let message = api::ReportRequest {
            cluster_id: request.cluster.0.to_vec(),
            request_id: request.request.0.to_vec(),
            session: request.session.0,
            instances: request.instances.iter().map(Wire::to_pb).collect(),
        };
        let (address, answer) = self.write(message, |mut client, request| async move { client.report(request).await }).await?;
        made(&address, answer.outcome).map(|_| ())
    }

    async fn release(&self, request: ReleaseRequest) -> Result<(), LinkError> {
        let message = api::ReleaseRequest {
            cluster_id: request.cluster.0.to_vec(),
            request_id: request.request.0.to_vec(),
            session: request.session.0,
            lease: request.lease.0,
            token: request.token.0,
            exit: request.exit.map(|exit| exit.to_pb()),
            finished: request.finished,
        };
        let (address, answer) = self.write(message, |mut client, request| async move { client.release(request).await }).await?;
        made(&address, answer.outcome).map(|_| ())
    }

    async fn propose(&self, request: ProposeRequest) -> Result<Made, LinkError> {
        let message = api::ProposeRequest {
            cluster_id: request.cluster.0.to_vec(),
            request_id: request.request.0.to_vec(),
            session: request.session.0,
            order: Some(request.order.to_pb()),
        };
        let (address, answer) = self.write(message, |mut client, request| async move { client.propose(request).await }).await?;
        made(&address, answer.outcome)
    }

    async fn why(&self, cluster: ClusterId, name: &str) -> Result<Option<WhyAnswer>, LinkError> {
        let mut hops = self.endpoints.len() + 1;
        loop {
            match self.ask_why(cluster, name).await {
                Err(LinkError::NotLeader { .. } | LinkError::Unreachable { .. }) if hops > 0 => hops -= 1,
                answer => return answer,
            }
        }
    }

    async fn log_channel(
        &self,
        session: SessionId,
        deliveries: mpsc::Receiver<LogDelivery>,
    ) -> Result<BoxStream<'static, Result<LogOrder, LinkError>>, LinkError> {
        let hello = api::LogDelivery { session: session.0, ..api::LogDelivery::default() };
        let outgoing = futures::stream::once(async { hello }).chain(ReceiverStream::new(deliveries).map(delivery));
        let (address, client) = self.client()?;
        let stream = self.stream(&address, async move { { client }.log_channel(outgoing).await }).await?;
        let order = move |item: Result<api::LogOrder, Status>| item.map(log_order).map_err(|status| understand(&address, &status).0);
        Ok(stream.map(order).boxed())
    }

    fn leader_changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

impl Link {
    /// One question to the believed leader.
    async fn ask_why(&self, cluster: ClusterId, name: &str) -> Result<Option<WhyAnswer>, LinkError> {
        let (address, _) = self.client()?;
        let channel = self.lock().channels.get(&address).cloned();
        let Some(channel) = channel else { return Err(LinkError::Unreachable { address, why: "no connection".to_owned() }) };
        let message = api::WhyRequest { cluster_id: cluster.0.to_vec(), name: name.to_owned() };
        let mut client = RegistryClient::new(channel);
        let answer = match tokio::time::timeout(READ, client.why(message)).await {
            Ok(Ok(answer)) => answer.into_inner(),
            Ok(Err(status)) if status.code() == tonic::Code::NotFound => return Ok(None),
            Ok(Err(status)) => {
                let (error, leader) = understand(&address, &status);
                self.learn(&address, &error, leader);
                return Err(error);
            }
            Err(_) => return Err(LinkError::Failed { address, why: "no answer in time".to_owned() }),
        };
        let garbled = |error: CodecError| garbled(&address, &error);
        Ok(Some(WhyAnswer {
            volume: answer.volume.map(Volume::from_pb).transpose().map_err(garbled)?,
            holder: answer.lease.map(Lease::from_pb).transpose().map_err(garbled)?,
            earliest_takeover_ms: answer.earliest_takeover_ms,
            rung: answer.rung,
            promise: answer.promise,
        }))
    }

    /// Opens a stream at the believed leader. A stream that breaks later teaches nothing: its own end is what is seen.
    async fn stream<R>(
        &self,
        address: &str,
        opening: impl Future<Output = Result<Response<Streaming<R>>, Status>>,
    ) -> Result<Streaming<R>, LinkError> {
        let (error, leader) = match tokio::time::timeout(STREAM_OPEN, opening).await {
            Ok(Ok(response)) => return Ok(response.into_inner()),
            Ok(Err(status)) => understand(address, &status),
            Err(_) => (LinkError::Unreachable { address: address.to_owned(), why: "no answer in time".to_owned() }, None),
        };
        self.learn(address, &error, leader);
        Err(error)
    }
}

fn update(address: &str, item: Result<api::AssignmentsResponse, Status>) -> Result<AssignmentUpdate, LinkError> {
    let pb = item.map_err(|status| understand(address, &status).0)?;
    assignments(pb).map_err(|error| garbled(address, &error))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test")]
#[path = "link_tests.rs"]
mod tests;
