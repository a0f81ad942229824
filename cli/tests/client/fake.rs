//! The scripted control node: applies commands like a real one, in the mood it was told.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};

use berth_state::codec::{self, Wire};
use berth_state::ids::{ClusterId, RequestId, Revision, Time};
use berth_state::noun::host::Host;
use berth_state::pb::api::registry_server::{Registry, RegistryServer};
use berth_state::pb::api::{self, watch_response::Item};
use berth_state::{ClusterState, Command, Event, Order, Outcome};
use sha2::{Digest, Sha256};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Code, Request, Response, Status};

pub const CLUSTER: ClusterId = ClusterId([0xc1; 16]);
/// Added for each entry to the time that people see.
const TICK_MS: u64 = 1_000;

/// How the node takes its next call.
#[derive(Clone, Debug)]
pub enum Mood {
    NotLeader(Option<SocketAddr>),
    NoQuorum,
    Busy,
    /// Refuses with a kind of error that only another version knows.
    Foreign,
    /// Carries it out, and the answer is lost on the way.
    DoneAndLost,
    /// Carries it out, and does not know.
    DoneAndUnknown,
    /// Neither done nor answered: the connection broke.
    Lost,
    /// Never answers.
    Silent,
}

#[derive(Default)]
pub struct Inner {
    pub state: ClusterState,
    pub revision: u64,
    pub events: Vec<Event>,
    /// Moods of the next calls; afterwards `always`.
    pub moods: VecDeque<Mood>,
    pub always: Option<Mood>,
    /// Moods of the next reads only; they come before the others.
    pub read_moods: VecDeque<Mood>,
    /// Every write as it came, carried out or not.
    pub writes: Vec<api::WriteRequest>,
    pub calls: Vec<&'static str>,
    pub quorum: bool,
    /// What `logs` delivers.
    pub logs: Vec<api::LogsResponse>,
    /// Items of the next watches, one list a watch; each ends after its list. Empty: full set or history, then the end.
    pub watches: VecDeque<Vec<Item>>,
    pub watched_after: Vec<u64>,
    /// Applied before the n-th read from now: the world goes on.
    pub before_reads: VecDeque<Vec<Order>>,
    /// Done to the history before it is sent as bytes.
    pub tamper: Option<fn(&mut Vec<api::EventRecord>)>,
}

impl Inner {
    pub fn apply(&mut self, order: Order) -> Outcome {
        self.apply_as(order, None, "test")
    }

    fn apply_as(&mut self, order: Order, request: Option<RequestId>, actor: &str) -> Outcome {
        self.revision += 1;
        let time = Time(1_700_000_000_000 + self.revision * TICK_MS);
        let command = Command { time, request, actor: actor.to_owned(), order };
        let applied = self.state.apply(Revision(self.revision), &command);
        self.events.extend(applied.events);
        applied.outcome
    }

    fn full(&self) -> api::ReadResponse {
        let state = &self.state;
        api::ReadResponse {
            revision: self.revision,
            cluster: state.cluster().map(Wire::to_pb),
            hosts: state.hosts().map(|host| Host { spec: host.spec.shown(), ..host.clone() }.to_pb()).collect(),
            volumes: state.volumes().map(Wire::to_pb).collect(),
            containers: state.containers().map(Wire::to_pb).collect(),
            leases: state.leases().map(Wire::to_pb).collect(),
            sessions: state.sessions().map(Wire::to_pb).collect(),
            fences: state.fences().map(Wire::to_pb).collect(),
            time_ms: state.clock().0,
            history: self.records().last().map(|r| api::HistoryHead { revision: r.revision, seq: r.seq, hash: r.hash.clone() }),
        }
    }

    /// The history as bytes with their rolling hashes, and with what the test did to it.
    pub fn records(&self) -> Vec<api::EventRecord> {
        let mut before = [0; 32];
        let mut records: Vec<api::EventRecord> = Vec::new();
        for event in &self.events {
            let bytes = codec::encode_event(event);
            let revision = event.revision.0;
            let seq = records.last().filter(|last| last.revision == revision).map_or(0, |last| last.seq + 1);
            let mut hasher = Sha256::new();
            hasher.update(before);
            hasher.update(revision.to_be_bytes());
            hasher.update(seq.to_be_bytes());
            hasher.update(&bytes);
            before = hasher.finalize().into();
            records.push(api::EventRecord { revision, seq, event: bytes, hash: before.to_vec() });
        }
        records
    }

    /// Five records a batch.
    fn raw_batches(&self, after: u64) -> Vec<api::EventBatch> {
        let mut records = self.records();
        if let Some(tamper) = self.tamper {
            tamper(&mut records);
        }
        let known = records.partition_point(|record| record.revision <= after);
        let mut before = records[..known].last().map_or_else(|| vec![0; 32], |record| record.hash.clone());
        let mut batches = Vec::new();
        for chunk in records[known..].chunks(5) {
            let hash_after = chunk.last().unwrap().hash.clone();
            let hash_before = std::mem::replace(&mut before, hash_after.clone());
            batches.push(api::EventBatch { hash_before, hash_after, records: chunk.to_vec(), ..Default::default() });
        }
        batches
    }

    fn after(&self, revision: u64) -> Vec<Event> {
        self.events.iter().filter(|e| e.revision.0 > revision).cloned().collect()
    }
}

/// A node that listens; gone with the runtime of its test.
#[derive(Clone)]
pub struct Fake {
    pub address: SocketAddr,
    inner: Arc<Mutex<Inner>>,
}

impl Fake {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let inner = Arc::new(Mutex::new(Inner { quorum: true, ..Inner::default() }));
        let service = RegistryServer::new(Service { address, inner: inner.clone() });
        let serving = tonic::transport::Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(serving);
        Self { address, inner }
    }

    pub fn with(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    pub fn mood(&self, mood: Mood) {
        self.with().always = Some(mood);
    }

    pub fn next(&self, moods: impl IntoIterator<Item = Mood>) {
        self.with().moods.extend(moods);
    }
}

struct Service {
    address: SocketAddr,
    inner: Arc<Mutex<Inner>>,
}

fn refuse(kind: &'static str, text: &str, more: Option<(&'static str, String)>) -> Status {
    let mut status = Status::new(Code::Unavailable, text);
    status.metadata_mut().insert("berth-error", kind.parse().unwrap());
    if let Some((key, value)) = more {
        status.metadata_mut().insert(key, value.parse().unwrap());
    }
    status
}

impl Service {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    /// Notes the call, checks the cluster, and takes the mood for it. `Some`: only a write has something to do in it.
    async fn enter(&self, name: &'static str, cluster: &[u8]) -> Result<Option<Mood>, Status> {
        let mood = {
            let mut inner = self.lock();
            inner.calls.push(name);
            let own = if name == "read" { inner.read_moods.pop_front() } else { None };
            own.or_else(|| inner.moods.pop_front()).or(inner.always.clone())
        };
        if !cluster.is_empty() && cluster != CLUSTER.0 {
            return Err(refuse("wrong-cluster", "another cluster", Some(("berth-cluster", CLUSTER.to_string()))));
        }
        match mood {
            None => Ok(None),
            Some(Mood::NotLeader(hint)) => Err(refuse("not-leader", "not me", hint.map(|a| ("berth-leader", format!("2={a}"))))),
            Some(Mood::NoQuorum) => Err(refuse("no-quorum", "two of three are gone", None)),
            Some(Mood::Busy) => Err(refuse("busy", "later", None)),
            Some(Mood::Foreign) => Err(refuse("of-the-future", "no, for a reason of the future", None)),
            Some(Mood::Lost) => Err(Status::unavailable("connection reset")),
            Some(Mood::Silent) => std::future::pending().await,
            Some(mood @ (Mood::DoneAndLost | Mood::DoneAndUnknown)) => Ok(Some(mood)),
        }
    }
}

fn unclean(host: &Host) -> Vec<api::UncleanHost> {
    host.fenced.iter().map(|holder| api::UncleanHost { host: host.id.to_string(), holder: Some(holder.to_pb()) }).collect()
}

type Stream<T> = Pin<Box<dyn tokio_stream::Stream<Item = Result<T, Status>> + Send>>;

fn stream<T: Send + 'static>(items: Vec<T>) -> Response<Stream<T>> {
    Response::new(Box::pin(tokio_stream::iter(items.into_iter().map(Ok))))
}

#[tonic::async_trait]
impl Registry for Service {
    type WatchStream = Stream<api::WatchResponse>;
    type EventsStream = Stream<api::EventBatch>;
    type LogsStream = Stream<api::LogsResponse>;

    async fn write(&self, request: Request<api::WriteRequest>) -> Result<Response<api::WriteResponse>, Status> {
        let request = request.into_inner();
        self.lock().writes.push(request.clone());
        let mood = self.enter("write", &request.cluster_id).await?;
        let order = Order::from_pb(request.order.unwrap()).unwrap();
        let id = RequestId(request.request_id.as_slice().try_into().unwrap());
        let outcome = self.lock().apply_as(order, Some(id), &request.actor);
        match mood {
            Some(Mood::DoneAndLost) => Err(Status::unavailable("connection reset")),
            Some(Mood::DoneAndUnknown) => Err(refuse("unknown", "no longer the leader", None)),
            _ => Ok(Response::new(api::WriteResponse { outcome: Some(outcome.to_pb()) })),
        }
    }

    async fn read(&self, request: Request<api::ReadRequest>) -> Result<Response<api::ReadResponse>, Status> {
        let request = request.into_inner();
        if request.stale {
            self.lock().calls.push("read-stale");
        } else {
            self.enter("read", &request.cluster_id).await?;
        }
        let mut inner = self.lock();
        for order in inner.before_reads.pop_front().unwrap_or_default() {
            inner.apply(order);
        }
        Ok(Response::new(inner.full()))
    }

    async fn watch(&self, request: Request<api::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let request = request.into_inner();
        self.enter("watch", &request.cluster_id).await?;
        let mut inner = self.lock();
        inner.watched_after.push(request.after_revision);
        let items = inner.watches.pop_front().unwrap_or_else(|| match request.after_revision {
            0 => vec![Item::Full(inner.full())],
            after => {
                let events = inner.after(after).iter().map(Wire::to_pb).collect();
                vec![Item::Events(api::EventBatch { events, ..Default::default() })]
            }
        });
        Ok(stream(items.into_iter().map(|item| api::WatchResponse { item: Some(item) }).collect()))
    }

    async fn events(&self, request: Request<api::EventsRequest>) -> Result<Response<Self::EventsStream>, Status> {
        let request = request.into_inner();
        self.enter("events", &request.cluster_id).await?;
        let inner = self.lock();
        if request.raw {
            return Ok(stream(inner.raw_batches(request.after_revision)));
        }
        let mut batches = Vec::new();
        let mut count = 0;
        // One batch a revision, so that a client that counts on larger ones is caught.
        for revision in inner.after(request.after_revision).chunk_by(|a, b| a.revision == b.revision) {
            if request.limit != 0 && count >= request.limit {
                break;
            }
            count += revision.len() as u64;
            batches.push(api::EventBatch { events: revision.iter().map(Wire::to_pb).collect(), ..Default::default() });
        }
        Ok(stream(batches))
    }

    async fn why(&self, request: Request<api::WhyRequest>) -> Result<Response<api::WhyResponse>, Status> {
        let request = request.into_inner();
        self.enter("why", &request.cluster_id).await?;
        let inner = self.lock();
        let container = inner.state.containers().find(|c| c.id.as_str() == request.name);
        let container = container.ok_or_else(|| refuse("not-found", &format!("no container or volume {}", request.name), None))?;
        let lease = inner.state.lease_of_container(&container.id);
        Ok(Response::new(api::WhyResponse {
            revision: inner.revision,
            subject: "container".to_owned(),
            name: request.name,
            lease: lease.map(Wire::to_pb),
            volume: None,
            container: Some(container.to_pb()),
            promise: vec!["rung 1, guard executor".to_owned()],
            rung: Some(1),
            rests_on: vec!["rung 1, guard executor".to_owned()],
            cannot_hold: vec!["a paused virtual machine".to_owned()],
            standings: vec![api::Standing { volume: "v".to_owned(), rung: Some(1), ..Default::default() }],
            fences: inner.state.fences().map(Wire::to_pb).collect(),
            unclean: inner.state.hosts().flat_map(unclean).collect(),
            blocks: vec!["volume v is held by another".to_owned()],
            earliest_takeover_ms: lease.map(|_| 12_500),
            unplaced: vec![api::HostReason { host: "h9".to_owned(), reason: "the host is Draining".to_owned() }],
            silent_ms: lease.map(|_| 1_500),
            history: inner.events.iter().rev().take(2).rev().map(Wire::to_pb).collect(),
            ..Default::default()
        }))
    }

    async fn status(&self, _: Request<api::StatusRequest>) -> Result<Response<api::StatusResponse>, Status> {
        let mut inner = self.lock();
        inner.calls.push("status");
        let leads = inner.quorum;
        Ok(Response::new(api::StatusResponse {
            cluster_id: CLUSTER.0.to_vec(),
            node_id: 1,
            address: self.address.to_string(),
            role: if leads { "leader" } else { "candidate" }.to_owned(),
            term: 4,
            leader_id: if leads { 1 } else { 0 },
            leader_address: if leads { self.address.to_string() } else { String::new() },
            last_log_index: inner.revision,
            applied_index: inner.revision,
            members: vec![
                api::Member { id: 1, address: self.address.to_string(), voter: true },
                // Nobody listens on port 1.
                api::Member { id: 2, address: "127.0.0.1:1".to_owned(), voter: true },
            ],
            program: "berth 0.1.0".to_owned(),
            has_quorum: leads,
            snapshot_index: 0,
        }))
    }

    async fn logs(&self, request: Request<api::LogsRequest>) -> Result<Response<Self::LogsStream>, Status> {
        let request = request.into_inner();
        self.enter("logs", &request.cluster_id).await?;
        Ok(stream(self.lock().logs.clone()))
    }
}
