//! A cluster state that is driven by orders, for tests: every order is one log entry, invariants are checked after each (by `apply` itself).
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, reason = "each test binary uses its part")]

use std::collections::{BTreeMap, BTreeSet};

use berth_state::command::*;
use berth_state::ids::*;
use berth_state::noun::cluster::Settings;
use berth_state::noun::container::*;
use berth_state::noun::fence::FenceMethod;
use berth_state::noun::host::*;
use berth_state::noun::lease::*;
use berth_state::noun::secrets::Secrets;
use berth_state::noun::session::*;
use berth_state::noun::volume::*;
use berth_state::outcome::*;
use berth_state::{ClusterState, Command, Event, Order, Outcome, Rejection};

pub const CLUSTER: ClusterId = ClusterId([7; 16]);
pub const BOOT: BootId = BootId([1; 16]);
pub const LATER_BOOT: BootId = BootId([2; 16]);

pub fn host(name: &str) -> HostId {
    HostId::new(name).unwrap()
}

pub fn volume(name: &str) -> VolumeId {
    VolumeId::new(name).unwrap()
}

pub fn container(name: &str) -> ContainerId {
    ContainerId::new(name).unwrap()
}

pub fn path_volume(path: &str) -> VolumeSpec {
    VolumeSpec {
        driver: Driver::Path,
        options: BTreeMap::from([("path".to_owned(), path.to_owned())]),
        takeover: Takeover::AfterExpiry,
        coherent: true,
        lock_delay_ms: 500,
    }
}

/// A host that can be powered off.
pub fn powered() -> HostSpec {
    let agent = FenceAgent {
        agent: "fence_dummy".to_owned(),
        options: BTreeMap::new(),
        secrets: Secrets::default(),
        timeout_ms: FenceAgent::DEFAULT_TIMEOUT_MS,
    };
    HostSpec { address: "10.0.0.1".to_owned(), fence_agents: vec![agent], ..HostSpec::default() }
}

pub fn spec(volumes: &[&str]) -> ContainerSpec {
    ContainerSpec {
        runtime: RuntimeKind::Process,
        image: String::new(),
        command: vec!["writer".to_owned()],
        environment: BTreeMap::new(),
        volumes: volumes.iter().map(|v| VolumeMount { volume: volume(v), path: format!("/{v}"), read_only: false }).collect(),
        ports: Vec::new(),
        limits: Capacity::default(),
        health_check: None,
        restart: RestartPolicy::Always,
        constraints: Vec::new(),
        anti_affinity: Vec::new(),
        stop_signal: None,
        stop_grace_ms: 1_000,
        init: None,
        pre_start: None,
        privileged: false,
        privileged_insisted: false,
    }
}

pub fn declaration(guard: Guard) -> Declaration {
    Declaration {
        guard,
        runtimes: BTreeSet::from([RuntimeKind::Process]),
        drivers: BTreeMap::from([(Driver::Path, Cut::None)]),
        program: "test".to_owned(),
    }
}

/// The ledger of a host's one executor.
pub fn ledger(name: &str) -> LedgerId {
    let mut id = [0; 16];
    id[..name.len()].copy_from_slice(name.as_bytes());
    LedgerId(id)
}

#[derive(Clone, Debug)]
pub struct World {
    pub state: ClusterState,
    pub events: Vec<Event>,
    pub index: u64,
    seqs: BTreeMap<SessionId, u64>,
}

impl World {
    /// A cluster with nothing in it.
    pub fn empty() -> Self {
        let mut world = Self { state: ClusterState::default(), events: Vec::new(), index: 0, seqs: BTreeMap::new() };
        world.done(Order::InitCluster(InitCluster { cluster: CLUSTER, settings: Settings::default() }));
        world
    }

    /// Hosts h1 and h2 with live sessions, volume pg, container db that wants it.
    pub fn small() -> Self {
        let mut world = Self::empty();
        for name in ["h1", "h2"] {
            world.add_host(name);
            world.open(name);
        }
        world.done(Order::AddVolume(AddVolume { volume: volume("pg"), spec: path_volume("/data/pg") }));
        world.add_container("db", spec(&["pg"]));
        world
    }

    pub fn add_host(&mut self, name: &str) {
        self.done(Order::AddHost(AddHost { host: host(name), spec: powered() }));
    }

    pub fn add_container(&mut self, name: &str, spec: ContainerSpec) {
        self.done(Order::AddContainer(AddContainer { container: container(name), spec, desired: Desired::Running }));
    }

    pub fn order(&mut self, order: Order) -> Outcome {
        self.command(None, order)
    }

    pub fn command(&mut self, request: Option<RequestId>, order: Order) -> Outcome {
        self.index += 1;
        let command = Command { time: Time(1_000 + self.index), request, actor: "test".to_owned(), order };
        let applied = self.state.apply(Revision(self.index), &command);
        self.events.extend(applied.events);
        applied.outcome
    }

    /// The order must be accepted.
    pub fn done(&mut self, order: Order) -> Made {
        let shown = format!("{order:?}");
        match self.order(order) {
            Outcome::Accepted(accepted) => accepted.made,
            other => panic!("{shown} was not accepted: {other:?}"),
        }
    }

    /// The order must be refused, and change nothing.
    pub fn refused(&mut self, order: Order) -> Rejection {
        let shown = format!("{order:?}");
        let (before, events) = (self.state.clone(), self.events.len());
        match self.order(order) {
            Outcome::Rejected(rejection) => {
                assert_eq!(before, self.state, "a refusal changed the state");
                assert_eq!(events, self.events.len(), "a refusal wrote an event");
                rejection
            }
            other => panic!("{shown} was not refused: {other:?}"),
        }
    }

    pub fn open_order(&self, name: &str, boot: BootId, predecessor: Option<SessionId>, guard: Guard) -> Order {
        Order::OpenSession(OpenSession { host: host(name), boot, ledger: ledger(name), predecessor, declared: declaration(guard) })
    }

    pub fn open(&mut self, name: &str) -> SessionId {
        let order = self.open_order(name, BOOT, None, Guard::HostProcess);
        match self.done(order) {
            Made::Session(id) => id,
            other => panic!("{other:?}"),
        }
    }

    pub fn session(&self, name: &str) -> SessionId {
        self.state.host(&host(name)).unwrap().session.expect("a live session")
    }

    pub fn grant_order(&self, name: &str, on: &str) -> Order {
        let version = self.state.container(&container(name)).map_or(Version(1), |c| c.version);
        let session = self.state.host(&host(on)).and_then(|h| h.session).unwrap_or(SessionId(0));
        Order::GrantLease(GrantLease { container: container(name), version, host: host(on), session })
    }

    pub fn grant(&mut self, name: &str, on: &str) -> (LeaseId, Token) {
        let order = self.grant_order(name, on);
        match self.done(order) {
            Made::Lease { lease, token } => (lease, token),
            other => panic!("{other:?}"),
        }
    }

    /// The next keepalive of a session, claiming these tokens.
    pub fn keepalive(&mut self, session: SessionId, tokens: &[Token]) -> SessionVerdict {
        let seq = self.seqs.entry(session).or_default();
        *seq += 1;
        let keepalive = raw_keepalive(session, *seq, *seq, tokens);
        self.keepalives(vec![keepalive]).remove(0)
    }

    pub fn keepalives(&mut self, keepalives: Vec<Keepalive>) -> Vec<SessionVerdict> {
        match self.order(Order::RecordKeepalives(RecordKeepalives { keepalives })) {
            Outcome::Keepalives(answers) => answers.into_iter().map(|a| a.verdict).collect(),
            other => panic!("{other:?}"),
        }
    }

    /// Granted on `on` and activated by its first keepalive.
    pub fn running(&mut self, name: &str, on: &str) -> (LeaseId, Token) {
        let (lease, token) = self.grant(name, on);
        let session = self.session(on);
        assert_eq!(verdict_of(&self.keepalive(session, &[token]), token), Some(LeaseVerdict::Live { ttl_ms: 10_000 }));
        (lease, token)
    }

    pub fn renewed(&self, token: Token) -> Revision {
        self.state.renewal(token).expect("a renewal").renewed
    }

    pub fn expire_order(&self, (lease, token): (LeaseId, Token)) -> Order {
        Order::ExpireLease(ExpireLease { lease, token, renewed: self.renewed(token) })
    }

    pub fn expire(&mut self, held: (LeaseId, Token)) {
        let order = self.expire_order(held);
        self.done(order);
    }

    pub fn fence_order(&self, (lease, token): (LeaseId, Token), evidence: Evidence) -> Order {
        Order::FenceLease(FenceLease { lease, token, evidence })
    }

    /// The order to fence; with it the lease is not renewed any more.
    pub fn start_fence(&mut self, (lease, token): (LeaseId, Token), method: FenceMethod) {
        self.done(Order::StartFence(StartFence { lease, token, method, heard: None }));
    }

    pub fn begin_order(&self, name: &str, method: FenceMethod, tokens: &[Token]) -> Order {
        let (agent, node, tokens) = ("fence_dummy".to_owned(), NodeId(1), tokens.to_vec());
        Order::BeginFenceAttempt(BeginFenceAttempt { host: host(name), method, agent, node, tokens, timeout_ms: 5_000, instead: None })
    }

    pub fn end_order(&self, name: &str, attempt: Revision, ok: bool) -> Order {
        Order::EndFenceAttempt(EndFenceAttempt { host: host(name), attempt, ok, output: "said".to_owned() })
    }

    /// One whole try of a fence that was started.
    pub fn try_fence(&mut self, name: &str, method: FenceMethod, tokens: &[Token], ok: bool) -> Revision {
        let begin = self.begin_order(name, method, tokens);
        self.done(begin);
        let attempt = Revision(self.index);
        let end = self.end_order(name, attempt, ok);
        self.done(end);
        attempt
    }

    /// Started, tried with success, and ended by that.
    pub fn fenced(&mut self, name: &str, held: (LeaseId, Token), method: FenceMethod) {
        self.start_fence(held, method);
        self.try_fence(name, method, &[held.1], true);
        let evidence = match method {
            FenceMethod::StorageCut => Evidence::StorageCut,
            FenceMethod::PowerOff => Evidence::PoweredOff,
        };
        let order = self.fence_order(held, evidence);
        self.done(order);
    }

    pub fn ran_out(&self, held: (LeaseId, Token)) -> Order {
        let expired_at = self.state.lease(held.0).and_then(|l| l.expired).unwrap_or_default();
        self.fence_order(held, Evidence::RanOut { expired_at })
    }

    pub fn release_order(&self, (lease, token): (LeaseId, Token), session: SessionId) -> Order {
        Order::ReleaseLease(ReleaseLease { lease, token, session, exit: None, finished: false })
    }

    pub fn phase(&self, lease: LeaseId) -> Option<Phase> {
        self.state.lease(lease).map(|l| l.phase)
    }
}

pub fn raw_keepalive(session: SessionId, seq: u64, nonce: u64, tokens: &[Token]) -> Keepalive {
    Keepalive { incarnation: Incarnation(1), session, seq: Seq(seq), nonce: Nonce(nonce), tokens: tokens.to_vec() }
}

pub fn verdict_of(verdict: &SessionVerdict, token: Token) -> Option<LeaseVerdict> {
    match verdict {
        SessionVerdict::Heard { leases, .. } => leases.iter().find(|(t, _)| *t == token).map(|(_, v)| *v),
        SessionVerdict::Stale | SessionVerdict::Gone => None,
    }
}
