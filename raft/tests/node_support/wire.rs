//! Wires between the nodes of a test group: for each ordered pair a small relay on loopback that can be cut and mended. The nodes reach them through
//! the product's own seam, [`Connector`].

use std::collections::BTreeMap;
use std::sync::Arc;

use berth_raft::peer::connect::{ConnectError, Connector, TcpConnector};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::transport::Channel;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    cut: bool,
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
}

impl Wires {
    pub async fn between(addresses: &BTreeMap<u64, String>) -> Self {
        let mut wires = BTreeMap::new();
        for from in addresses.keys() {
            for to in addresses.values().filter(|to| **to != addresses[from]) {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let entrance = listener.local_addr().unwrap().to_string();
                let (state, watched) = watch::channel(State { cut: false, generation: 0 });
                let relay = tokio::spawn(relay(listener, to.clone(), watched));
                wires.insert((*from, to.clone()), Wire { entrance, state, relay });
            }
        }
        Self { wires, addresses: addresses.clone() }
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
        self.each_of(id, |state| *state = State { cut: true, generation: state.generation + 1 });
    }

    pub fn heal(&self, id: u64) {
        self.each_of(id, |state| state.cut = false);
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

async fn relay(listener: TcpListener, to: String, state: watch::Receiver<State>) {
    loop {
        let Ok((mut near, _)) = listener.accept().await else { return };
        let mut state = state.clone();
        let now = *state.borrow_and_update();
        if now.cut {
            continue;
        }
        let to = to.clone();
        tokio::spawn(async move {
            let Ok(mut far) = TcpStream::connect(&to).await else { return };
            let _ = (near.set_nodelay(true), far.set_nodelay(true));
            tokio::select! {
                _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                _ = state.wait_for(|new| new.cut || new.generation != now.generation) => {}
            }
        });
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
