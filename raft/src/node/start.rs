//! One node, started: opens its store, checks that it is this node's, starts Raft on it. Called by `server` and by tests. It never
//! touches a store that is another's, and holds no rule of the protocol.

use std::sync::Arc;

use openraft::async_runtime::watch::WatchReceiver;
use openraft::storage::{RaftLogReader, RaftLogStorage};
use openraft::{Raft, StorageHelper};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::fatal::{Fatal, FatalKind};
use crate::node::bootstrap;
use crate::node::config::{IN_FLIGHT, NodeConfig};
use crate::node::error::NodeError;
use crate::node::leadership::{self, Leadership, Metrics, MetricsWatch};
use crate::peer::acquaintances::Acquaintances;
use crate::peer::client::PeerNetwork;
use crate::peer::greeter;
use crate::peer::heard::Heard;
use crate::peer::identity::{Doorman, Identity, StoreId};
use crate::peer::links::{Links, MAX_MESSAGE_BYTES};
use crate::peer::pb::peer_server::PeerServer;
use crate::peer::service::PeerService;
use crate::store::events::EventLog;
use crate::store::machine::Machine;
use crate::store::shared::Shared;
use crate::store::state::StateStore;
use crate::store::{self, Store, StoreOptions};
use crate::types::{Member, TypeConfig};

/// Raft on our state machine.
pub(crate) type RaftOf<M> = Raft<TypeConfig, StateStore<M>>;

/// openraft ended by itself.
#[derive(Debug, thiserror::Error)]
#[error("raft ended ({why}); restart this node, and report it with its log if it happens again")]
struct RaftEnded {
    why: String,
}

/// A running node. Ends with [`Node::shutdown`]; one that is only dropped leaves its tasks running.
pub struct Node<M: Machine> {
    pub(super) id: u64,
    pub(super) advertise: String,
    pub(super) silence_ms: u64,
    pub(super) raft: RaftOf<M>,
    pub(super) metrics: MetricsWatch,
    pub(super) shared: Arc<Shared<M>>,
    pub(super) events: EventLog,
    pub(super) heard: Heard,
    pub(super) in_flight: Arc<Semaphore>,
    leadership: watch::Receiver<Leadership>,
    service: PeerService<M>,
    stopping: CancellationToken,
}

impl<M: Machine> Node<M> {
    /// Starts a node on its data folder; a failed durable write ends the process.
    ///
    /// Returns as soon as Raft runs: nobody leads yet, and without its peers nobody will.
    ///
    /// # Errors
    /// [`NodeError`]; the store is left as it was found.
    pub async fn start(config: NodeConfig) -> Result<Self, NodeError> {
        if config.id == 0 {
            return Err(NodeError::IdZero);
        }
        let fatal = Fatal::exit();
        let options = StoreOptions { fatal: fatal.clone(), ..StoreOptions::default() };
        let (data_dir, cluster, id) = (config.data_dir.clone(), config.cluster, config.id);
        let opened = tokio::task::spawn_blocking(move || store::open::<M>(&data_dir, cluster, id, options)).await;
        let store = opened.map_err(|e| NodeError::Raft { why: e.to_string() })??;
        Self::start_on(config, store, fatal).await
    }

    /// Starts a node on a store that is already open.
    ///
    /// # Errors
    /// [`NodeError`].
    pub async fn start_on(config: NodeConfig, mut store: Store<M>, fatal: Fatal) -> Result<Self, NodeError> {
        let openraft = Arc::new(config.openraft()?);
        let raft_error = |e: &dyn std::fmt::Display| NodeError::Raft { why: e.to_string() };
        let (known, pristine) = {
            let mut helper = StorageHelper::new(&mut store.log, &mut store.state).with_id(config.id);
            let membership = helper.get_membership().await.map_err(|e| raft_error(&e))?;
            let log = store.log.get_log_state().await.map_err(|e| raft_error(&e))?;
            let vote = store.log.get_log_reader().await.read_vote().await.map_err(|e| raft_error(&e))?;
            (membership.effective().membership().clone(), log.last_log_id.is_none() && vote.is_none())
        };
        bootstrap::check_store(&config, &known)?;

        let identity = Identity { cluster: config.cluster, node: config.id, store: StoreId(store.identity.store_uuid) };
        let doorman = Doorman::new(identity, Arc::new(Acquaintances::open(&config.data_dir)?));
        let links = Arc::new(Links::new(config.connector.clone()));
        let heard = Heard::new(config.clock.clone(), config.silence_ms());
        let network = PeerNetwork::new(doorman.clone(), links.clone(), store.events.clone(), config.append_deadline());
        let raft = RaftOf::new(config.id, openraft, network, store.log, store.state).await.map_err(|e| raft_error(&e))?;
        let service = PeerService::new(doorman.clone(), raft.clone(), store.events.clone(), store.snapshots.clone(), heard.clone());

        let stopping = CancellationToken::new();
        let leadership = follow_leadership(&raft, fatal, stopping.clone());
        let node = Self {
            id: config.id,
            advertise: config.advertise.clone(),
            silence_ms: config.silence_ms(),
            metrics: raft.metrics(),
            raft,
            shared: store.shared,
            events: store.events,
            heard,
            in_flight: Arc::new(Semaphore::new(IN_FLIGHT)),
            leadership,
            service,
            stopping,
        };
        node.greet(doorman, links, &config);
        info!(node = config.id, cluster = %config.cluster, store = %identity.store, pristine, "raft runs");
        if let Some(members) = bootstrap::first_entry(&config, pristine) {
            info!(node = config.id, ?members, "beginning a new group");
            // Refused only if a peer was quicker and this store is not empty any more, which is what we want anyway.
            if let Err(why) = node.raft.initialize(members).await {
                warn!(node = config.id, %why, "the group has begun without this node's first entry");
            }
        }
        Ok(node)
    }

    fn greet(&self, doorman: Doorman, links: Arc<Links>, config: &NodeConfig) {
        let (metrics, listed) = (self.metrics.clone(), config.initial_members.clone());
        let members = move || {
            let known: std::collections::BTreeMap<u64, Member> =
                metrics.borrow_watched().membership_config.nodes().map(|(id, member)| (*id, member.clone())).collect();
            if known.is_empty() { listed.as_ref().map(|list| list.members().clone()).unwrap_or_default() } else { known }
        };
        tokio::spawn(greeter::run(doorman, links, members, self.stopping.clone()));
    }

    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// What serves the other nodes; goes on this node's one port.
    #[must_use]
    pub fn peer_service(&self) -> PeerServer<PeerService<M>> {
        PeerServer::new(self.service.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES).max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    pub(super) fn with_metrics<T>(&self, read: impl FnOnce(&Metrics) -> T) -> T {
        read(&self.metrics.borrow_watched())
    }

    /// Who leads, as far as this node knows. `None` also when the last leader has been silent for twice the election timeout: it may
    /// still lead the others, but to send anyone there would be a guess.
    #[must_use]
    pub fn leader(&self) -> Option<(u64, Member)> {
        let leader = self.with_metrics(Leadership::of).leader?;
        (leader.0 == self.id || self.heard.lately()).then_some(leader)
    }

    /// The term this node leads in, once it has applied the first entry of that term (L11); why that is exact is said in the
    /// `leadership` module.
    #[must_use]
    pub fn is_leader_ready(&self) -> Option<u64> {
        self.with_metrics(leadership::ready_term)
    }

    /// Wakes when the term, the leader or its readiness changed.
    #[must_use]
    pub fn watch_leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.clone()
    }

    /// Asks openraft to hand the leadership to another voter; returns when it has begun. Does nothing on a node that does not lead.
    ///
    /// # Errors
    /// This node's raft has ended.
    pub async fn transfer_leader(&self, to: u64) -> Result<(), NodeError> {
        self.raft.trigger().transfer_leader(to).await.map_err(|e| NodeError::Raft { why: e.to_string() })
    }

    /// Takes a snapshot now instead of when enough entries have gathered; returns when it has begun.
    ///
    /// # Errors
    /// This node's raft has ended.
    pub async fn take_snapshot(&self) -> Result<(), NodeError> {
        self.raft.trigger().snapshot().await.map_err(|e| NodeError::Raft { why: e.to_string() })
    }

    /// Leaves: no more votes, no more entries. The store is closed when this and the peer service are dropped.
    pub async fn shutdown(&self) {
        self.stopping.cancel();
        if let Err(why) = self.raft.shutdown().await {
            warn!(node = self.id, %why, "raft did not end cleanly");
        }
    }
}

fn follow_leadership<M: Machine>(raft: &RaftOf<M>, fatal: Fatal, stopping: CancellationToken) -> watch::Receiver<Leadership> {
    let (view, leadership) = watch::channel(Leadership::default());
    let died = move |why: String| fatal.raise(FatalKind::RaftEnded, "running raft", &RaftEnded { why });
    tokio::spawn(leadership::follow(raft.metrics(), view, stopping, died));
    leadership
}
