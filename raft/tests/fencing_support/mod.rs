//! A leader's fencer over a state that is driven by orders, by a manual clock, with real programs as agents and a fake storage. For the tests of fencing.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, reason = "each test binary uses its part")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use berth_raft::clock::RawTime;
use berth_raft::fencing::storage::{Cut, StorageFence};
use berth_raft::leader::fencer::Fencer;
use berth_raft::leader::notes::Notes;
use berth_state::command::*;
use berth_state::ids::*;
use berth_state::noun::host::{FenceAgent, HostSpec};
use berth_state::noun::secrets::Secrets;
use berth_state::state::ObjectKey;
use berth_state::{Order, Outcome};

use crate::world::*;

/// Longest time for one action of a test to end.
const AT_MOST: Duration = Duration::from_secs(30);

/// Storage that says what it is told to say, and remembers what it was asked.
#[derive(Default)]
pub struct FakeStorage {
    pub asked: Mutex<Vec<String>>,
    pub refuses: Mutex<bool>,
}

impl FakeStorage {
    fn answer(&self, what: &str, cut: &Cut) -> Result<String, String> {
        self.asked.lock().unwrap().push(format!("{what} {} {} {}", cut.volume, cut.address, cut.token));
        if *self.refuses.lock().unwrap() { Err("no route".to_owned()) } else { Ok("done".to_owned()) }
    }

    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

#[async_trait]
impl StorageFence for FakeStorage {
    async fn cut(&self, cut: &Cut) -> Result<String, String> {
        self.answer("cut", cut)
    }

    async fn lift(&self, cut: &Cut) -> Result<String, String> {
        self.answer("lift", cut)
    }
}

pub struct Bench {
    pub w: World,
    pub notes: Notes,
    pub fencer: Fencer,
    pub storage: Arc<FakeStorage>,
    pub now: RawTime,
    /// Attempts begun by this leader.
    pub begun: Vec<Revision>,
    term: u64,
}

impl Bench {
    /// Node 1 leads, for long.
    pub fn new(w: World) -> Self {
        let storage = Arc::new(FakeStorage::default());
        let fencer = Fencer::new(NodeId(1), storage.clone());
        let mut bench = Self { w, notes: Notes::default(), fencer, storage, now: RawTime(1), begun: Vec::new(), term: 1 };
        bench.note();
        bench.fencer.turn(&bench.w.state, bench.term, bench.now);
        bench.pass(60_000);
        for name in ["h1", "h2"] {
            bench.hear(name);
        }
        bench
    }

    pub fn note(&mut self) {
        let keys = (1..=400).flat_map(|n| {
            [ObjectKey::Lease(LeaseId(n)), ObjectKey::Renewal(Token(n)), ObjectKey::Pulse(SessionId(n)), ObjectKey::Fence(Token(n))]
        });
        let keys: BTreeSet<_> = keys.chain(["h1", "h2"].map(|h| ObjectKey::Host(host(h)))).collect();
        self.notes.refresh(&self.w.state, &keys, self.now);
    }

    pub fn pass(&mut self, ms: u64) {
        self.now = self.now.plus_ms(ms);
    }

    /// A keepalive of all leases of a host.
    pub fn hear(&mut self, name: &str) {
        let tokens: Vec<Token> = self.w.state.leases_of_host(&host(name)).map(|lease| lease.token).collect();
        let session = self.w.session(name);
        self.w.keepalive(session, &tokens);
        self.note();
    }

    pub fn due(&self) -> Vec<Order> {
        self.fencer.due(&self.w.state, &self.notes, self.now).orders
    }

    /// One turn of the driver.
    pub fn turn(&mut self) -> usize {
        self.fencer.turn(&self.w.state, self.term, self.now);
        let orders = self.due();
        let count = orders.len();
        for order in orders {
            let begins = if let Order::BeginFenceAttempt(begin) = &order { Some(begin.host.clone()) } else { None };
            let outcome = self.w.order(order);
            if let (Some(host), Outcome::Accepted(accepted)) = (begins, outcome) {
                self.begun.push(accepted.revision);
                self.fencer.begun(&self.w.state, &host, accepted.revision);
            }
        }
        self.note();
        count
    }

    /// Turns until nothing is due at this time; actions run meanwhile, but are not waited for.
    pub fn settle(&mut self) {
        for _ in 0..50 {
            if self.turn() == 0 {
                return;
            }
        }
        panic!("something is due for ever: {:?}", self.due());
    }

    /// Waits for the running action, and does what follows from it.
    pub async fn action(&mut self) {
        let action = tokio::time::timeout(AT_MOST, self.fencer.next()).await.expect("an action that ends").expect("its result");
        self.fencer.ended(action, self.now);
        self.settle();
    }

    /// The leader dies with all that it did and knew; node 2 leads after `ms` in which nobody was heard of.
    pub fn dies_and_another_leads_after(&mut self, ms: u64) {
        self.fencer = Fencer::new(NodeId(2), self.storage.clone());
        self.notes = Notes::default();
        self.begun.clear();
        self.note();
        self.pass(ms);
        self.term += 1;
        self.fencer.turn(&self.w.state, self.term, self.now);
    }

    pub fn agents(&mut self, name: &str, agents: Vec<FenceAgent>) {
        let known = self.w.state.host(&host(name)).unwrap();
        let (version, spec) = (known.version, HostSpec { fence_agents: agents, ..known.spec.clone() });
        self.w.done(Order::UpdateHost(UpdateHost { host: host(name), version, spec }));
    }

    /// Whether each try of that token's fence succeeded, and by which agent.
    pub fn tries(&self, token: Token) -> Vec<(String, bool)> {
        self.w.state.fence(token).map(|fence| fence.tries.iter().map(|t| (t.agent.clone(), t.ok)).collect()).unwrap_or_default()
    }

    pub fn kinds(&self) -> Vec<&'static str> {
        self.w.events.iter().map(|event| event.fact.kind()).collect()
    }
}

/// A fence agent in shell: `$action` is set, `off` and `status` are written to `said` of its folder.
pub fn agent(dir: &Path, name: &str, body: &str) -> FenceAgent {
    use std::os::unix::fs::PermissionsExt;
    let file: PathBuf = dir.join(name);
    let text = format!(
        "#!/bin/sh\ncd {}\nwhile read line; do case $line in action=*) action=${{line#action=}};; esac; done\necho {name} $action >> said\n{body}\n",
        dir.display()
    );
    std::fs::write(&file, text).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    FenceAgent { agent: file.to_str().unwrap().to_owned(), options: BTreeMap::new(), secrets: Secrets::default(), timeout_ms: 20_000 }
}

/// Of an agent that does what it is asked.
pub const WORKS: &str = "if [ $action = status ]; then exit 2; fi; exit 0";
pub const FAILS: &str = "echo cannot reach the BMC >&2; exit 1";

pub fn said(dir: &Path) -> Vec<String> {
    std::fs::read_to_string(dir.join("said")).unwrap_or_default().lines().map(ToOwned::to_owned).collect()
}
