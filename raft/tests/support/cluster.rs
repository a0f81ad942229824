//! Control nodes in this process, on loopback ports and temporary folders, and a client for them.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods, reason = "tests; each uses its part")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use berth_raft::node::{InitialMembers, NodeConfig, Timing};
use berth_raft::server::{ServerConfig, run};
use berth_state::codec::Wire;
use berth_state::ids::ClusterId;
use berth_state::noun::cluster::Settings;
use berth_state::pb::api;
use berth_state::pb::api::executors_client::ExecutorsClient;
use berth_state::pb::api::registry_client::RegistryClient;
use berth_state::{Event, Order, Outcome};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

/// The id that the state's test world uses too.
const CLUSTER: ClusterId = ClusterId([7; 16]);
/// No wait in these tests is longer.
const PATIENCE: Duration = Duration::from_secs(30);

pub fn fresh_id() -> Vec<u8> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).unwrap();
    id.to_vec()
}

pub fn outcome(message: Option<<Outcome as Wire>::Pb>) -> Outcome {
    Outcome::from_pb(message.expect("an outcome")).unwrap()
}

struct Running {
    config: NodeConfig,
    settings: Settings,
    address: SocketAddr,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

pub struct Group {
    nodes: BTreeMap<u64, Running>,
    _dir: TempDir,
}

impl Group {
    pub async fn start(size: u64) -> Self {
        Self::start_with_ttl(size, 10_000).await
    }

    pub async fn start_with_ttl(size: u64, ttl_ms: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let addresses: Vec<(u64, SocketAddr)> = (1..=size).map(|id| (id, free_port())).collect();
        let members = InitialMembers::new(addresses.iter().map(|(id, a)| (*id, a.to_string()))).unwrap();
        let mut nodes = BTreeMap::new();
        for (id, address) in addresses {
            let data_dir = dir.path().join(id.to_string());
            std::fs::create_dir(&data_dir).unwrap();
            let mut node = NodeConfig::new(id, CLUSTER, data_dir, address.to_string(), Some(members.clone()));
            node.timing = Timing { heartbeat_ms: 100, election_min_ms: 500, election_max_ms: 1_000 };
            let settings = Settings { ttl_ms, ..Settings::default() };
            nodes.insert(id, serve(node, settings, address));
        }
        Self { nodes, _dir: dir }
    }

    pub fn ids(&self) -> Vec<u64> {
        self.nodes.keys().copied().collect()
    }

    pub fn another_than(&self, id: u64) -> u64 {
        *self.nodes.keys().find(|other| **other != id).unwrap()
    }

    pub async fn client_of(&self, id: u64) -> Client {
        Client::connect(self.nodes[&id].address).await
    }

    /// The node that leads and answers linearizable reads, with its address.
    pub async fn leader_id(&self) -> (u64, SocketAddr) {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            for (id, node) in &self.nodes {
                let mut client = Client::connect(node.address).await;
                let ready = client.registry.read(api::ReadRequest::default()).await;
                if ready.is_ok_and(|r| r.into_inner().cluster.is_some()) {
                    return (*id, node.address);
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("no leader within {PATIENCE:?}");
    }

    pub async fn leader(&self) -> Client {
        let (id, _) = self.leader_id().await;
        self.client_of(id).await
    }

    pub async fn stop_node(&mut self, id: u64) {
        let node = self.nodes.remove(&id).expect("a running node");
        node.shutdown.cancel();
        node.task.await.unwrap();
    }

    /// Changes a stopped node's folder, then starts it again.
    pub async fn changed(&mut self, id: u64, change: impl FnOnce(&std::path::Path)) {
        let node = self.nodes.remove(&id).expect("a running node");
        node.shutdown.cancel();
        node.task.await.unwrap();
        change(&self._dir.path().join(id.to_string()));
        self.nodes.insert(id, serve(node.config, node.settings, node.address));
    }

    pub async fn stop(mut self) {
        for id in self.ids() {
            self.stop_node(id).await;
        }
    }
}

fn serve(node: NodeConfig, settings: Settings, address: SocketAddr) -> Running {
    let config = ServerConfig { node: node.clone(), cluster: CLUSTER, settings, listen: address };
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    let task = tokio::spawn(async move { run(config, stop, |_| ()).await.expect("the server runs") });
    Running { config: node, settings, address, shutdown, task }
}

fn free_port() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

pub struct Client {
    pub registry: RegistryClient<Channel>,
    pub executors: ExecutorsClient<Channel>,
}

impl Client {
    async fn connect(address: SocketAddr) -> Self {
        let endpoint = Channel::from_shared(format!("http://{address}")).unwrap();
        let start = Instant::now();
        loop {
            match endpoint.connect().await {
                Ok(channel) => return Self { registry: RegistryClient::new(channel.clone()), executors: ExecutorsClient::new(channel) },
                Err(error) => assert!(start.elapsed() < PATIENCE, "{address}: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn write(&mut self, request_id: Vec<u8>, order: Order) -> Result<Outcome, Status> {
        let request = api::WriteRequest { cluster_id: Vec::new(), request_id, actor: "test".to_owned(), order: Some(order.to_pb()) };
        Ok(outcome(self.registry.write(request).await?.into_inner().outcome))
    }

    pub async fn accepted(&mut self, order: Order) {
        let outcome = self.write(fresh_id(), order).await.unwrap();
        assert!(matches!(outcome, Outcome::Accepted(_)), "{outcome:?}");
    }

    pub async fn read(&mut self) -> api::ReadResponse {
        self.registry.read(api::ReadRequest::default()).await.unwrap().into_inner()
    }

    pub async fn read_stale(&mut self) -> api::ReadResponse {
        self.registry.read(api::ReadRequest { stale: true, ..Default::default() }).await.unwrap().into_inner()
    }

    pub async fn why(&mut self, name: &str) -> Result<api::WhyResponse, Status> {
        let request = api::WhyRequest { cluster_id: Vec::new(), name: name.to_owned() };
        Ok(self.registry.why(request).await?.into_inner())
    }

    pub async fn history(&mut self, after: u64) -> Vec<Event> {
        let request = api::EventsRequest { cluster_id: Vec::new(), after_revision: after, limit: 0, raw: false };
        let mut stream = self.registry.events(request).await.unwrap().into_inner();
        let mut events = Vec::new();
        while let Some(batch) = stream.message().await.unwrap() {
            events.extend(batch.events.into_iter().map(|e| Event::from_pb(e).unwrap()));
        }
        events
    }

    /// The history as bytes with their hashes.
    pub async fn records(&mut self, after: u64) -> Result<Vec<api::EventRecord>, Status> {
        let request = api::EventsRequest { cluster_id: Vec::new(), after_revision: after, limit: 0, raw: true };
        let mut stream = self.registry.events(request).await?.into_inner();
        let mut records = Vec::new();
        while let Some(batch) = stream.message().await? {
            records.extend(batch.records);
        }
        Ok(records)
    }

    pub async fn watch(&mut self, after: u64) -> Watch {
        let request = api::WatchRequest { cluster_id: Vec::new(), after_revision: after };
        Watch { stream: self.registry.watch(request).await.unwrap().into_inner() }
    }

    /// Waits for an event, from the beginning of the history on.
    pub async fn event_where(&mut self, wanted: impl Fn(&Event) -> bool) -> Event {
        let mut watch = self.watch(1).await;
        let mut seen = Vec::new();
        let search = async {
            loop {
                for event in watch.next().await {
                    if wanted(&event) {
                        return event;
                    }
                    seen.push(event.fact.kind());
                }
            }
        };
        match tokio::time::timeout(PATIENCE, search).await {
            Ok(event) => event,
            Err(_) => panic!("not within {PATIENCE:?}"),
        }
    }
}

pub struct Watch {
    stream: Streaming<api::WatchResponse>,
}

impl Watch {
    async fn item(&mut self) -> api::watch_response::Item {
        let message = tokio::time::timeout(PATIENCE, self.stream.message()).await.expect("a message in time");
        message.unwrap().expect("the watch goes on").item.expect("an item")
    }

    /// With which the watch ends.
    pub async fn error(&mut self) -> Status {
        let end = async {
            loop {
                match self.stream.message().await {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("the watch ended without an error"),
                    Err(status) => return status,
                }
            }
        };
        tokio::time::timeout(PATIENCE, end).await.expect("an end in time")
    }

    pub async fn full(&mut self) -> api::ReadResponse {
        match self.item().await {
            api::watch_response::Item::Full(full) => full,
            other => panic!("{other:?}"),
        }
    }

    /// The events of the next message; none for a progress mark.
    async fn next(&mut self) -> Vec<Event> {
        match self.item().await {
            api::watch_response::Item::Events(batch) => batch.events.into_iter().map(|e| Event::from_pb(e).unwrap()).collect(),
            api::watch_response::Item::ProgressRevision(_) | api::watch_response::Item::Full(_) => Vec::new(),
        }
    }

    /// At least `count` events.
    pub async fn events(&mut self, count: usize) -> Vec<Event> {
        let mut events = Vec::new();
        while events.len() < count {
            events.extend(self.next().await);
        }
        events
    }
}
