//! The story of the demo, scene by scene: a cluster comes up, a writer runs, its host dies, the leader dies, the next host dies, all come
//! back. Called by `mod`. It only causes faults and looks on: what Berth does about them is Berth's.

use std::collections::BTreeMap;

use anyhow::Context;
use berth_raft::clock::{Clock, SystemClock};
use berth_state::command::{AddContainer, AddVolume, SetDesired};
use berth_state::ids::{ContainerId, VolumeId};
use berth_state::noun::cluster::wait_ms;
use berth_state::noun::container::{ContainerSpec, Desired, RestartPolicy, RuntimeKind, VolumeMount};
use berth_state::noun::host::{Capacity, Health, Host};
use berth_state::noun::lease::Lease;
use berth_state::noun::volume::{Driver, Takeover, VolumeSpec};
use berth_state::{Event, Fact, Order};

use super::control::{Control, STEP};
use super::failover::{LeaderChange, longest_gap_ms};
use super::fault::{Deed, Fault};
use super::reports::Reports;
use super::stage::{Stage, TTL_MS};
use super::talk::Talk;
use super::witness::ACKS;
use super::words::Narrator;
use crate::client::nodes::NodeView;
use crate::output::table::Table;

pub const VOLUME: &str = "ledger";
pub const CONTAINER: &str = "writer";
/// Waited after expiry before the volume may be taken over.
const LOCK_DELAY_MS: u64 = VolumeSpec::DEFAULT_LOCK_DELAY_MS;
/// Writes that show that the writer is at work.
const AT_WORK: u64 = 50;

pub struct Story<'a> {
    stage: &'a mut Stage,
    reports: &'a Reports,
    talk: Talk,
    control: Control,
    narrator: Narrator,
    /// What was done to the cluster, in order.
    pub faults: Vec<Fault>,
    pub leader_changes: Vec<LeaderChange>,
}

/// The cluster as it was at the end.
pub struct Ending {
    pub nodes: Vec<NodeView>,
    pub hosts: Vec<Host>,
    pub events: Vec<Event>,
    /// Nodes whose event log differs from the leader's.
    pub dissenters: Vec<u64>,
}

impl<'a> Story<'a> {
    #[must_use]
    pub fn new(stage: &'a mut Stage, reports: &'a Reports, talk: Talk) -> Self {
        let nodes: Vec<_> = stage.nodes.iter().map(|node| (node.id, node.address)).collect();
        let control = Control::new(stage.cluster(), &nodes);
        Self { stage, reports, talk, control, narrator: Narrator::default(), faults: vec![], leader_changes: vec![] }
    }

    /// Plays it to the end.
    ///
    /// # Errors
    /// The cluster did not do what it should; with what its parts said last.
    pub async fn play(&mut self) -> anyhow::Result<Ending> {
        let played = async {
            self.raise_curtain().await?;
            self.start_writer().await?;
            let first = self.kill_holder().await?;
            self.restart_host(&first)?;
            let deposed = self.kill_leader().await?;
            let second = self.kill_holder().await?;
            self.restart_host(&second)?;
            self.restart_node(deposed).await?;
            self.stop_writer().await?;
            self.end().await
        };
        let played = played.await;
        let dead = self.stage.dead_parts();
        match played {
            Ok(ending) if dead.is_empty() => Ok(ending),
            Ok(_) => anyhow::bail!("parts of the cluster died by themselves\n  {}", dead.join("\n  ")),
            Err(error) if dead.is_empty() => Err(error),
            Err(error) => Err(error.context(dead.join("\n  "))),
        }
    }

    async fn raise_curtain(&mut self) -> anyhow::Result<()> {
        let (nodes, hosts) = (self.stage.nodes.len(), self.stage.hosts.len());
        self.talk.part("The cluster");
        self.talk.step(&format!("{nodes} control nodes start: one Raft group, each with its log on disk"));
        for id in self.node_ids() {
            self.stage.start_node(id)?;
        }
        let leader = self.control.leader_after(0).await?;
        self.talk.step(&format!("node {} leads in term {}; {hosts} hosts join", leader.node, leader.term));
        for name in self.host_names() {
            self.stage.start_host(&name)?;
        }
        self.all_live().await?;
        self.show_cluster().await
    }

    async fn start_writer(&mut self) -> anyhow::Result<()> {
        self.talk.part("A writer");
        let folder = self.stage.scratch.storage().join(VOLUME);
        std::fs::create_dir(&folder).with_context(|| format!("{}: cannot be made", folder.display()))?;
        let path = folder.to_str().context("the scratch folder's name is no text")?.to_owned();
        let spec = VolumeSpec {
            driver: Driver::Path,
            options: BTreeMap::from([("path".to_owned(), path)]),
            takeover: Takeover::AfterExpiry,
            // One machine has one page cache: what a dead writer left in it is what its successor reads.
            coherent: true,
            lock_delay_ms: LOCK_DELAY_MS,
        };
        self.order(Order::AddVolume(AddVolume { volume: VolumeId::new(VOLUME)?, spec })).await?;
        self.talk.step(&format!("volume {VOLUME}: takeover after expiry, lock delay {LOCK_DELAY_MS} ms"));
        let spec = self.container_spec()?;
        self.order(Order::AddContainer(AddContainer { container: ContainerId::new(CONTAINER)?, spec, desired: Desired::Running })).await?;
        self.talk.step(&format!("container {CONTAINER}: appends (token, writer, n) to {VOLUME}, syncs, then acknowledges"));
        self.follow_to_writer(0).await?;
        let lease = self.lease().await?;
        self.talk.step(&format!("it writes on {} under token {}", lease.host, lease.token));
        Ok(())
    }

    fn container_spec(&self) -> anyhow::Result<ContainerSpec> {
        let binary = self.stage.binary().to_str().context("the berth binary's name is no text")?.to_owned();
        let command = [binary.as_str(), "witness", "--volume", VOLUME].map(str::to_owned).to_vec();
        Ok(ContainerSpec {
            runtime: RuntimeKind::Process,
            image: String::new(),
            command,
            environment: BTreeMap::from([(ACKS.to_owned(), self.reports.address().to_string())]),
            volumes: vec![VolumeMount { volume: VolumeId::new(VOLUME)?, path: format!("/{VOLUME}"), read_only: false }],
            ports: vec![],
            limits: Capacity::default(),
            health_check: None,
            restart: RestartPolicy::Always,
            constraints: vec![],
            anti_affinity: vec![],
            stop_signal: None,
            stop_grace_ms: 2_000,
            init: None,
            pre_start: None,
            privileged: false,
            privileged_insisted: false,
        })
    }

    /// The power cut, and the failover after it. Returns the host that died.
    async fn kill_holder(&mut self) -> anyhow::Result<String> {
        let lease = self.lease().await?;
        let host = lease.host.to_string();
        self.talk.part(&format!("The host of the writer dies: {host}"));
        self.faults.push(Fault::now(Deed::HostKilled { host: host.clone() }));
        let killed = self.stage.cut_power(&host).await?;
        anyhow::ensure!(
            killed.iter().any(|member| member.part == "witness"),
            "the writer was not on {host} when everything there was killed"
        );
        self.talk
            .step(&format!("SIGKILL to the executor of {host} and all it runs, {} processes at once, as a power cut would", killed.len()));
        self.talk.more("Silence does not prove that it stopped writing. First its lease has to run out by every clock: at the latest");
        self.talk.more(&format!(
            "{} ms after its last renewal (ttl and clock error), and then {LOCK_DELAY_MS} ms of lock delay. Only then it is fenced.",
            wait_ms(TTL_MS)
        ));
        self.follow_to_writer(lease.token.0).await?;
        let after = self.lease().await?;
        let first = self.reports.first_above(lease.token.0, STEP).await?;
        let before = self.reports.acks().into_iter().filter(|ack| ack.token <= lease.token.0).max_by_key(|ack| ack.at_ns);
        let outage = before.map_or(0, |before| first.at_ns.saturating_sub(before.at_ns) / 1_000_000);
        let found = self.reports.found_by(first.token).unwrap_or(0);
        self.talk.step(&format!("it writes on {} under token {}, {outage} ms after the last write before", after.host, after.token));
        self.talk.more(&format!("It found all there was: {found} lines. Token {} is never valid again.", lease.token));
        Ok(host)
    }

    /// Kills the leader alone: the lease goes on, and so does its holder. Returns the node.
    async fn kill_leader(&mut self) -> anyhow::Result<u64> {
        let old = self.control.leader_after(0).await?;
        let holder = self.lease().await?;
        self.talk.part(&format!("The leader dies: node {}", old.node));
        let fault = Fault::now(Deed::LeaderKilled { node: old.node });
        let from_ns = fault.at_ns;
        self.faults.push(fault);
        self.stage.kill_node(old.node).await?;
        self.talk.step(&format!("SIGKILL to node {}; leases are in the log, not in a leader's memory", old.node));
        let new = self.control.leader_after(old.term).await?;
        let election_ms = SystemClock::new().raw_now().0.saturating_sub(from_ns) / 1_000_000;
        self.reports.reach(self.reports.count() + AT_WORK, STEP).await?;
        let write_gap_ms = longest_gap_ms(&self.reports.acks(), from_ns, SystemClock::new().raw_now().0);
        let nodes = self.stage.nodes.len();
        self.talk.step(&format!(
            "node {} leads in term {} after {election_ms} ms; {} of {nodes} nodes are left",
            new.node,
            new.term,
            nodes - 1
        ));
        let still = self.lease().await?;
        if still.token == holder.token {
            self.talk
                .more(&format!("The writer on {} still has token {}; its longest pause was {write_gap_ms} ms.", still.host, still.token));
        } else {
            self.talk.more(&format!(
                "The lease ran out before there was a leader to renew it: {} writes under token {}.",
                still.host, still.token
            ));
        }
        self.leader_changes.push(LeaderChange {
            node_before: old.node,
            node_after: new.node,
            term_before: old.term,
            term_after: new.term,
            election_ms,
            write_gap_ms,
        });
        Ok(old.node)
    }

    /// Power is back: the executor starts with the ledger of its former life.
    fn restart_host(&mut self, name: &str) -> anyhow::Result<()> {
        self.faults.push(Fault::now(Deed::HostStarted { host: name.to_owned() }));
        self.stage.start_host(name)?;
        self.talk.step(&format!("{name} is started again; what it ran before stays dead"));
        Ok(())
    }

    /// Back with its old log, and whole again.
    async fn restart_node(&mut self, id: u64) -> anyhow::Result<()> {
        self.talk.part("All come back");
        self.faults.push(Fault::now(Deed::NodeStarted { node: id }));
        self.stage.start_node(id)?;
        let target = self.control.read().await?.revision;
        let caught_up = async |control: &mut Control| {
            let nodes = control.nodes().await?;
            let applied = nodes.iter().find(|node| node.node == Some(id)).and_then(|node| node.applied_index);
            Ok(applied.filter(|applied| *applied >= target.0))
        };
        self.control.until("the node to catch up", caught_up).await?;
        self.talk.step(&format!("node {id} is started again and has caught up to revision {target}"));
        self.all_live().await?;
        self.show_cluster().await
    }

    async fn stop_writer(&mut self) -> anyhow::Result<()> {
        self.talk.part("The writer is stopped");
        self.order(Order::SetDesired(SetDesired { container: ContainerId::new(CONTAINER)?, desired: Desired::Stopped })).await?;
        self.follow("the lease given back", |event| matches!(event.fact, Fact::LeaseReleased { .. })).await?;
        self.talk.step("asked to stop, it gave its lease back; nobody had to wait for anything to run out");
        Ok(())
    }

    /// Nodes, hosts and the event log; the log from every node.
    async fn end(&mut self) -> anyhow::Result<Ending> {
        let leader = self.control.leader_after(0).await?;
        let events = self.control.history(leader.node).await?;
        let mut dissenters = vec![];
        for id in self.node_ids() {
            // A follower may be a moment behind.
            let own = async |control: &mut Control| Ok(Some(control.history(id).await?).filter(|own| own.len() >= events.len()));
            let own = self.control.until("every node to have the whole event log", own).await?;
            if own[..events.len()] != events {
                dissenters.push(id);
            }
        }
        Ok(Ending { nodes: self.control.nodes().await?, hosts: self.control.read().await?.hosts, events, dissenters })
    }

    async fn all_live(&mut self) -> anyhow::Result<()> {
        let count = self.stage.hosts.len();
        let all_live = async |control: &mut Control| {
            let hosts = control.read().await?.hosts;
            Ok((hosts.len() == count && hosts.iter().all(|host| host.health == Health::Live)).then_some(()))
        };
        self.control.until("every host to be live", all_live).await
    }

    /// The lease of the writer.
    async fn lease(&mut self) -> anyhow::Result<Lease> {
        self.control.read().await?.lease_of_container(CONTAINER).cloned().context("the writer has no lease")
    }

    async fn order(&mut self, order: Order) -> anyhow::Result<()> {
        Ok(self.control.write(order).await?)
    }

    /// Tells events until the writer is at work under a token above `token`.
    async fn follow_to_writer(&mut self, token: u64) -> anyhow::Result<()> {
        let awaited = |event: &Event| matches!(event.fact, Fact::LeaseActivated { token: active, .. } if active.0 > token);
        self.follow("a new lease", awaited).await?;
        self.reports.first_above(token, STEP).await?;
        self.reports.reach(self.reports.count() + AT_WORK, STEP).await
    }

    async fn follow(&mut self, what: &str, awaited: impl Fn(&Event) -> bool) -> anyhow::Result<()> {
        let (talk, narrator) = (self.talk, &mut self.narrator);
        let see = |event: &Event| {
            let words = narrator.tell(event);
            if is_told(&event.fact) {
                talk.event(event, &words);
            }
            awaited(event)
        };
        self.control.follow(what, see).await
    }

    async fn show_cluster(&mut self) -> anyhow::Result<()> {
        let mut table = Table::new(&["NODE", "ADDRESS", "ROLE", "TERM", "APPLIED"]);
        let number = |number: Option<u64>| number.map_or_else(String::new, |number| number.to_string());
        for node in self.control.nodes().await? {
            table.row([number(node.node), node.address, node.role.unwrap_or_default(), number(node.term), number(node.applied_index)]);
        }
        self.talk.table(&table);
        let registry = self.control.read().await?;
        let mut table = Table::new(&["HOST", "HEALTH", "SESSION", "RUNS"]);
        for host in &registry.hosts {
            let runs: Vec<_> =
                registry.leases_of_host(host.id.as_str()).map(|lease| format!("{}, token {}", lease.container, lease.token)).collect();
            let health = format!("{:?}", host.health).to_lowercase();
            table.row([host.id.to_string(), health, number(host.session.map(|session| session.0)), runs.join("; ")]);
        }
        self.talk.table(&table);
        Ok(())
    }

    fn node_ids(&self) -> Vec<u64> {
        self.stage.nodes.iter().map(|node| node.id).collect()
    }

    fn host_names(&self) -> Vec<String> {
        self.stage.hosts.iter().map(|host| host.name.clone()).collect()
    }
}

/// Whether an event is worth a line while the demo goes on; the timeline has them all.
fn is_told(fact: &Fact) -> bool {
    !matches!(
        fact,
        Fact::ClusterInitialized { .. }
            | Fact::HostAdded { .. }
            | Fact::SessionOpened { .. }
            | Fact::VolumeAdded { .. }
            | Fact::ContainerAdded { .. }
            | Fact::ContainerDesiredChanged { .. }
    )
}
