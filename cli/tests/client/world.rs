//! Worlds to ask about: orders that a cluster would have seen, applied by the real rules.

use std::collections::{BTreeMap, BTreeSet};

use berth_state::Order;
use berth_state::command::{
    AddContainer, AddHost, AddVolume, ExpireLease, FenceLease, GrantLease, InitCluster, Keepalive, ObservedInstance, OpenSession,
    RecordKeepalives, RecordObservation, ReleaseLease,
};
use berth_state::ids::{BootId, ContainerId, HostId, Incarnation, LedgerId, Nonce, Seq, SessionId, Version, VolumeId};
use berth_state::noun::cluster::Settings;
use berth_state::noun::container::{ContainerSpec, Desired, RestartPolicy, RuntimeKind, VolumeMount};
use berth_state::noun::host::{Capacity, HostSpec};
use berth_state::noun::lease::{Evidence, InstanceHealth, InstanceState, InstanceStatus, Lease};
use berth_state::noun::session::{Cut, Declaration, Guard};
use berth_state::noun::volume::{Driver, Takeover, VolumeSpec};
use berth_state::outcome::Outcome;

use crate::fake::{CLUSTER, Fake, Inner};

pub fn host(name: &str) -> HostId {
    HostId::new(name).unwrap()
}

pub fn container(name: &str) -> ContainerId {
    ContainerId::new(name).unwrap()
}

pub fn volume(name: &str) -> VolumeId {
    VolumeId::new(name).unwrap()
}

impl Inner {
    pub fn must(&mut self, order: Order) {
        let text = format!("{order:?}");
        let outcome = self.apply(order);
        assert!(!matches!(outcome, Outcome::Rejected(_)), "{text}: {outcome:?}");
    }

    pub fn lease_of(&self, name: &str) -> Lease {
        self.state.lease_of_container(&container(name)).unwrap().clone()
    }

    /// A cluster with nothing in it.
    pub fn begin(&mut self) {
        self.must(Order::InitCluster(InitCluster { cluster: CLUSTER, settings: Settings::default() }));
    }

    /// A host with a live executor that can do everything.
    pub fn add_host(&mut self, name: &str, boot: u8) {
        self.must(Order::AddHost(AddHost {
            host: host(name),
            spec: HostSpec { address: format!("{name}.example"), ..HostSpec::default() },
        }));
        let declared = Declaration {
            guard: Guard::HostProcess,
            runtimes: BTreeSet::from([RuntimeKind::Docker, RuntimeKind::Process]),
            drivers: BTreeMap::from([(Driver::Path, Cut::None)]),
            program: "berth 0.1.0".to_owned(),
        };
        let order = OpenSession { host: host(name), boot: BootId([boot; 16]), ledger: LedgerId([boot; 16]), predecessor: None, declared };
        self.must(Order::OpenSession(order));
        let session = SessionId(self.revision);
        self.heartbeat(session, 1, vec![]);
    }

    pub fn add_volume(&mut self, name: &str) {
        let spec = VolumeSpec {
            driver: Driver::Path,
            options: BTreeMap::from([("path".to_owned(), format!("/srv/{name}"))]),
            takeover: Takeover::AfterExpiry,
            coherent: true,
            lock_delay_ms: 500,
        };
        self.must(Order::AddVolume(AddVolume { volume: volume(name), spec }));
    }

    pub fn add_container(&mut self, name: &str, mounts: &[&str]) {
        let spec = ContainerSpec {
            runtime: RuntimeKind::Docker,
            image: "postgres:15".to_owned(),
            command: vec![],
            environment: BTreeMap::from([("PASSWORD".to_owned(), "secret".to_owned())]),
            volumes: mounts.iter().map(|v| VolumeMount { volume: volume(v), path: "/data".to_owned(), read_only: false }).collect(),
            ports: vec![],
            limits: Capacity::default(),
            health_check: None,
            restart: RestartPolicy::Always,
            constraints: vec![],
            anti_affinity: vec![],
            stop_signal: None,
            stop_grace_ms: 10_000,
            init: None,
            pre_start: None,
            privileged: false,
            privileged_insisted: false,
        };
        self.must(Order::AddContainer(AddContainer { container: container(name), spec, desired: Desired::Running }));
    }

    fn heartbeat(&mut self, session: SessionId, seq: u64, tokens: Vec<berth_state::ids::Token>) {
        let incarnation = self.state.cluster().map_or(Incarnation(0), |c| c.incarnation);
        let keepalive = Keepalive { incarnation, session, seq: Seq(seq), nonce: Nonce(seq), tokens };
        self.must(Order::RecordKeepalives(RecordKeepalives { keepalives: vec![keepalive] }));
    }

    pub fn grant_order(&self, name: &str, on: &str) -> Order {
        let session = self.state.host(&host(on)).unwrap().session.unwrap();
        let version = self.state.container(&container(name)).map_or(Version(1), |c| c.version);
        Order::GrantLease(GrantLease { container: container(name), version, host: host(on), session })
    }

    /// Grants and activates.
    pub fn run_on(&mut self, name: &str, on: &str) {
        let order = self.grant_order(name, on);
        self.must(order);
        let lease = self.lease_of(name);
        let seq = self.state.pulse(lease.session).unwrap().seq.0 + 1;
        self.heartbeat(lease.session, seq, vec![lease.token]);
        let order = self.observed(name, InstanceState::Running, "");
        self.must(order);
    }

    pub fn observed(&self, name: &str, state: InstanceState, message: &str) -> Order {
        let lease = self.lease_of(name);
        let status = InstanceStatus { attempt: 1, state, health: InstanceHealth::Unchecked, last_exit: None, message: message.to_owned() };
        let instances = vec![ObservedInstance { lease: lease.id, token: lease.token, status }];
        Order::RecordObservation(RecordObservation { session: lease.session, instances })
    }

    pub fn release_order(&self, name: &str) -> Order {
        let lease = self.lease_of(name);
        Order::ReleaseLease(ReleaseLease { lease: lease.id, token: lease.token, session: lease.session, exit: None, finished: false })
    }

    /// Its holder falls silent for good.
    pub fn expire(&mut self, name: &str) {
        let lease = self.lease_of(name);
        let renewed = self.state.renewal(lease.token).unwrap().renewed;
        self.must(Order::ExpireLease(ExpireLease { lease: lease.id, token: lease.token, renewed }));
    }

    pub fn fence(&mut self, name: &str) {
        let lease = self.lease_of(name);
        let evidence = Evidence::RanOut { expired_at: lease.expired.unwrap() };
        self.must(Order::FenceLease(FenceLease { lease: lease.id, token: lease.token, evidence }));
    }
}

/// Hosts h1 and h2, volume v, container db on h1 that uses it, container idle without a lease.
pub async fn small() -> Fake {
    let fake = Fake::start().await;
    {
        let mut inner = fake.with();
        inner.begin();
        inner.add_host("h1", 1);
        inner.add_host("h2", 2);
        inner.add_volume("v");
        inner.add_container("db", &["v"]);
        inner.add_container("idle", &[]);
        inner.run_on("db", "h1");
    }
    fake
}
