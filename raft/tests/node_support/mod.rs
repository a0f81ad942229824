//! A group of control nodes on loopback for the node tests: real stores in temporary folders, real gRPC, and a wire between each two nodes that can
//! be cut. Everything ends with the group.
#![allow(dead_code, reason = "each test file uses its own part of it")]
#![allow(clippy::unwrap_used, reason = "test")]
#![allow(clippy::disallowed_methods, reason = "tests bound their own waiting")]

pub mod toy;
pub mod wire;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use berth_raft::engine::EngineError;
use berth_raft::fatal::Fatal;
use berth_raft::node::{Compaction, InitialMembers, Node, NodeConfig, NodeError, Timing};
use berth_raft::store::{self, StoreError, StoreOptions};
use berth_state::ids::ClusterId;
use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;

use toy::Toy;
use wire::Wires;

pub const CLUSTER: ClusterId = ClusterId([0xbe; 16]);
/// Tight enough for a test, loose enough for two busy cores.
pub const TIMING: Timing = Timing { heartbeat_ms: 100, election_min_ms: 500, election_max_ms: 1_000 };
/// For what must happen; far above what it takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Asks again until there is an answer.
pub async fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub struct Running {
    pub node: Arc<Node<Toy>>,
    stop: CancellationToken,
    server: JoinHandle<Result<(), tonic::transport::Error>>,
}

pub struct Group {
    folder: tempfile::TempDir,
    pub addresses: BTreeMap<u64, String>,
    listeners: BTreeMap<u64, TcpListener>,
    pub wires: Arc<Wires>,
    pub compaction: Compaction,
    pub running: BTreeMap<u64, Running>,
    deaths: Arc<Mutex<Vec<String>>>,
}

impl Group {
    /// A group of `size`, none of it started.
    pub async fn new(size: u64) -> Self {
        let (mut addresses, mut listeners) = (BTreeMap::new(), BTreeMap::new());
        for id in 1..=size {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            addresses.insert(id, listener.local_addr().unwrap().to_string());
            listeners.insert(id, listener);
        }
        let wires = Arc::new(Wires::between(&addresses).await);
        let folder = tempfile::tempdir().unwrap();
        Self { folder, addresses, listeners, wires, compaction: Compaction::default(), running: BTreeMap::new(), deaths: Arc::default() }
    }

    pub async fn started(size: u64) -> Self {
        let mut group = Self::new(size).await;
        for id in 1..=size {
            group.start(id).await;
        }
        group
    }

    pub fn data_dir(&self, id: u64) -> PathBuf {
        self.folder.path().join(format!("node-{id}"))
    }

    pub fn config(&self, id: u64) -> NodeConfig {
        let list = InitialMembers::new(self.addresses.clone()).unwrap();
        let mut config = NodeConfig::new(id, CLUSTER, self.data_dir(id), self.addresses[&id].clone(), Some(list));
        config.timing = TIMING;
        config.compaction = self.compaction;
        config.connector = Arc::new(wire::Wired { from: id, wires: self.wires.clone() });
        config
    }

    pub async fn start(&mut self, id: u64) {
        self.start_with(self.config(id)).await.unwrap();
    }

    pub async fn start_with(&mut self, config: NodeConfig) -> Result<(), NodeError> {
        let id = config.id;
        let deaths = self.deaths.clone();
        let fatal = Fatal::hook(move |cause| deaths.lock().unwrap().push(format!("node {id}: {cause:?}")));
        // A store that was just left is closed by its last thread, a moment after its lock is free.
        let store = eventually("the store is free", || {
            let options = StoreOptions { fatal: fatal.clone(), ..StoreOptions::default() };
            match store::open::<Toy>(&config.data_dir, config.cluster, id, options) {
                Err(StoreError::InUse { .. } | StoreError::Engine(EngineError::InUse { .. })) => None,
                opened => Some(opened),
            }
        })
        .await?;
        let node = Arc::new(Node::start_on(config, store, fatal).await?);
        let listener = match self.listeners.remove(&id) {
            Some(listener) => listener,
            None => TcpListener::bind(&self.addresses[&id]).await.unwrap(),
        };
        let stop = CancellationToken::new();
        let server = tonic::transport::Server::builder()
            .add_service(node.peer_service())
            .serve_with_incoming_shutdown(TcpListenerStream::new(listener), stop.clone().cancelled_owned());
        self.running.insert(id, Running { node, stop, server: tokio::spawn(server) });
        Ok(())
    }

    /// Ends a node.
    pub async fn stop(&mut self, id: u64) {
        let Running { node, stop, server } = self.running.remove(&id).unwrap();
        node.shutdown().await;
        drop(node);
        stop.cancel();
        // Connections that others hold open would keep a clean end waiting.
        self.wires.hang_up(id);
        tokio::time::timeout(PATIENCE, server).await.unwrap().unwrap().unwrap();
    }

    pub async fn stop_all(mut self) {
        let ids: Vec<u64> = self.running.keys().copied().collect();
        for id in ids {
            self.stop(id).await;
        }
        assert_eq!(*self.deaths.lock().unwrap(), Vec::<String>::new(), "a node died");
    }

    pub fn node(&self, id: u64) -> &Node<Toy> {
        &self.running[&id].node
    }

    /// The one that leads and may act; waits for it.
    pub async fn leader(&self) -> u64 {
        eventually("a leader that has applied the first entry of its term", || {
            let mut ready: Vec<(u64, u64)> = self.running.iter().filter_map(|(id, r)| Some((r.node.is_leader_ready()?, *id))).collect();
            ready.sort_unstable();
            ready.last().map(|(_, id)| *id)
        })
        .await
    }

    /// Writes through whoever leads, until it is known to be written.
    pub async fn write(&self, key: &str, value: &str) -> u64 {
        let begun = Instant::now();
        loop {
            let leader = self.leader().await;
            match self.node(leader).propose(toy::put(key, value), Duration::from_secs(5)).await {
                Ok((index, _)) => return index,
                Err(why) => assert!(begun.elapsed() < PATIENCE, "{key} could not be written: {why}"),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub async fn applied(&self, id: u64, index: u64) {
        eventually(&format!("node {id} applies {index}"), || (*self.node(id).applied().borrow() >= index).then_some(())).await;
    }

    pub fn value(&self, id: u64, key: &str) -> Option<String> {
        self.node(id).read(|toy, _| toy.get(key))
    }

    /// Every event of a node, with its position and rolling hash.
    pub fn history(&self, id: u64) -> Vec<(u64, u32, [u8; 32], Bytes)> {
        let events = self.node(id).event_log().events(0, usize::MAX).unwrap();
        events.into_iter().map(|e| (e.position.index, e.position.seq, e.hash, e.payload)).collect()
    }
}
