//! Wires between the nodes of a test group: for each ordered pair a small relay on loopback that can be cut and mended. The nodes reach them through
//! the product's own seam, [`Connector`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use berth_raft::peer::connect::{ConnectError, Connector, TcpConnector};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::transport::Channel;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    cut: bool,
    /// Hang up a connection once it has carried so many bytes.
    limit_bytes: Option<u64>,
    /// A change hangs up what is connected.
    generation: u64,
}

struct Wire {
    entrance: String,
    state: watch::Sender<State>,
    relay: JoinHandle<()>,
}

pub struct Wires {
    /// By (from, address of the target).
    wires: BTreeMap<(u64, String), Wire>,
    addresses: BTreeMap<u64, String>,
    ended_at_limit: Arc<AtomicUsize>,
    /// Bytes carried, all wires together.
    carried: Arc<AtomicU64>,
}

impl Wires {
    pub async fn between(addresses: &BTreeMap<u64, String>) -> Self {
        let mut wires = BTreeMap::new();
        let (ended_at_limit, carried) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicU64::new(0)));
        for from in addresses.keys() {
            for to in addresses.values().filter(|to| **to != addresses[from]) {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let entrance = listener.local_addr().unwrap().to_string();
                let (state, watched) = watch::channel(State { cut: false, limit_bytes: None, generation: 0 });
                let relay = tokio::spawn(relay(listener, to.clone(), watched, ended_at_limit.clone(), carried.clone()));
                wires.insert((*from, to.clone()), Wire { entrance, state, relay });
            }
        }
        Self { wires, addresses: addresses.clone(), ended_at_limit, carried }
    }

    fn each_of(&self, id: u64, change: impl Fn(&mut State)) {
        for ((from, to), wire) in &self.wires {
            if *from == id || *to == self.addresses[&id] {
                wire.state.send_modify(&change);
            }
        }
    }

    /// Cuts a node off from all others, both ways.
    pub fn isolate(&self, id: u64) {
        self.each_of(id, |state| *state = State { cut: true, generation: state.generation + 1, ..*state });
    }

    pub fn heal(&self, id: u64) {
        self.each_of(id, |state| state.cut = false);
    }

    /// From now on no connection from or to this node carries more than so many bytes one way; `None`: as many as it likes.
    pub fn limit(&self, id: u64, limit_bytes: Option<u64>) {
        self.each_of(id, |state| *state = State { limit_bytes, generation: state.generation + 1, ..*state });
    }

    /// Connections that ended at their limit so far.
    pub fn ended_at_limit(&self) -> usize {
        self.ended_at_limit.load(Ordering::Relaxed)
    }

    /// Bytes of requests carried so far, over all wires.
    pub fn carried(&self) -> u64 {
        self.carried.load(Ordering::Relaxed)
    }

    /// Drops what is connected; new connections go through.
    pub fn hang_up(&self, id: u64) {
        self.each_of(id, |state| state.generation += 1);
    }
}

impl Drop for Wires {
    fn drop(&mut self) {
        self.wires.values().for_each(|wire| wire.relay.abort());
    }
}

async fn relay(
    listener: TcpListener,
    to: String,
    state: watch::Receiver<State>,
    ended_at_limit: Arc<AtomicUsize>,
    carried: Arc<AtomicU64>,
) {
    loop {
        let Ok((mut near, _)) = listener.accept().await else { return };
        let mut state = state.clone();
        let now = *state.borrow_and_update();
        if now.cut {
            continue;
        }
        let (to, ended_at_limit, carried) = (to.clone(), ended_at_limit.clone(), carried.clone());
        tokio::spawn(async move {
            let Ok(mut far) = TcpStream::connect(&to).await else { return };
            let _ = (near.set_nodelay(true), far.set_nodelay(true));
            let ((mut from_near, mut to_near), (mut from_far, mut to_far)) = (near.split(), far.split());
            tokio::select! {
                at_limit = carry(&mut from_near, &mut to_far, now.limit_bytes, &carried) => if at_limit {
                    ended_at_limit.fetch_add(1, Ordering::Relaxed);
                },
                _ = tokio::io::copy(&mut from_far, &mut to_near) => {}
                _ = state.wait_for(|new| new.cut || new.generation != now.generation) => {}
            }
        });
    }
}

/// Returns whether it ended because of the limit.
async fn carry(from: &mut ReadHalf<'_>, to: &mut WriteHalf<'_>, limit: Option<u64>, carried: &AtomicU64) -> bool {
    let (mut piece, mut total) = (vec![0; 16 << 10], 0);
    loop {
        if limit.is_some_and(|limit| total >= limit) {
            return true;
        }
        let Ok(length @ 1..) = from.read(&mut piece).await else { return false };
        if to.write_all(&piece[..length]).await.is_err() {
            return false;
        }
        total += length as u64;
        carried.fetch_add(length as u64, Ordering::Relaxed);
    }
}

/// The connector of one node of the group.
pub struct Wired {
    pub from: u64,
    pub wires: Arc<Wires>,
}

impl Connector for Wired {
    fn channel(&self, address: &str) -> Result<Channel, ConnectError> {
        let entrance = self.wires.wires.get(&(self.from, address.to_owned())).map_or(address, |wire| &wire.entrance);
        TcpConnector::default().channel(entrance)
    }
}
