//! What the services and leader loops share: this node's applied state, its event log, and the one way to propose. Everything that knows
//! openraft's errors is below this file; everything above speaks of orders and outcomes.

use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::RwLock;
use std::time::Duration;

use berth_state::codec;
use berth_state::ids::{ClusterId, RequestId, Revision, Time};
use berth_state::noun::cluster::Settings;
use berth_state::{ClusterState, Command, Event, Order, Outcome};
use bytes::Bytes;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::api::errors::ApiError;
use crate::clock::Clock;
use crate::leader::notes::Notes;
use crate::machine::ClusterMachine;
use crate::node::{Node, ProposeError, ReadError};
use crate::store::StoreError;
use crate::store::events::{Chained, EventHead, StoredEvent};

/// How long a proposal may take before its outcome counts as unknown.
pub const PROPOSE_DEADLINE: Duration = Duration::from_secs(5);

/// How long a read may wait for a majority: it can be repeated at no risk, so it need not wait as long.
pub const READ_DEADLINE: Duration = Duration::from_secs(2);

/// Applied state at one revision.
pub struct View<'a> {
    pub state: &'a ClusterState,
    pub revision: Revision,
}

pub struct Core {
    node: Node<ClusterMachine>,
    cluster: ClusterId,
    /// Settings a new cluster begins with.
    settings: Settings,
    clock: Arc<dyn Clock>,
    notes: RwLock<Notes>,
    stopping: CancellationToken,
}

impl Core {
    #[must_use]
    pub fn new(
        node: Node<ClusterMachine>,
        cluster: ClusterId,
        settings: Settings,
        clock: Arc<dyn Clock>,
        stopping: CancellationToken,
    ) -> Self {
        Self { node, cluster, settings, clock, notes: RwLock::new(Notes::default()), stopping }
    }

    #[must_use]
    pub fn node(&self) -> &Node<ClusterMachine> {
        &self.node
    }

    #[must_use]
    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    #[must_use]
    pub fn initial_settings(&self) -> Settings {
        self.settings
    }

    #[must_use]
    pub fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// Resolves when the node stops; long streams end then.
    pub async fn stopping(&self) {
        self.stopping.cancelled().await;
    }

    /// Reads applied state under its lock: keep it short, and never await inside.
    pub fn view<T>(&self, read: impl FnOnce(View<'_>) -> T) -> T {
        self.node.read(|machine, revision| read(View { state: machine.state(), revision: Revision(revision) }))
    }

    /// Reads this node's notes.
    pub fn notes<T>(&self, read: impl FnOnce(&Notes) -> T) -> T {
        read(&self.notes.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Brings the notes up to what is applied (L10). The clock is read while the state is held: a note may be later than the commit
    /// of its fact, never earlier.
    pub fn refresh_notes(&self) {
        let touched = self.node.change(ClusterMachine::take_touched);
        if touched.is_empty() {
            return;
        }
        let mut notes = self.notes.write().unwrap_or_else(PoisonError::into_inner);
        self.view(|view| notes.refresh(view.state, &touched, self.clock.raw_now()));
    }

    /// Wakes when a new event is in the event log.
    #[must_use]
    pub fn event_head(&self) -> watch::Receiver<u64> {
        self.node.event_head()
    }

    /// Wakes when an entry was applied.
    #[must_use]
    pub fn applied(&self) -> watch::Receiver<u64> {
        self.node.applied()
    }

    /// Events after a revision, oldest first, as they are stored, each checked against the rolling hash; about `limit`, but the events of one
    /// revision are never split.
    ///
    /// # Errors
    /// [`ApiError::CorruptHistory`]; the event log could not be read.
    pub fn history_after(&self, after: Revision, limit: usize) -> Result<Chained, ApiError> {
        self.node.events_after(after.0, limit).map_err(|error| self.history_error(error))
    }

    /// The same, decoded.
    ///
    /// # Errors
    /// As [`Core::history_after`].
    pub fn events_after(&self, after: Revision, limit: usize) -> Result<Vec<Event>, ApiError> {
        self.history_after(after, limit)?.events.iter().map(|event| self.decoded(event)).collect()
    }

    /// # Errors
    /// [`ApiError::CorruptHistory`].
    pub fn decoded(&self, event: &StoredEvent) -> Result<Event, ApiError> {
        let revision = Revision(event.position.index);
        codec::decode_event(&event.payload).map_err(|e| ApiError::CorruptHistory { node: self.node.id(), revision, why: e.to_string() })
    }

    fn history_error(&self, error: StoreError) -> ApiError {
        if let StoreError::DamagedEvents { index, detail, .. } = error {
            return ApiError::CorruptHistory { node: self.node.id(), revision: Revision(index), why: detail };
        }
        ApiError::Failed(format!("event log of this node: {error}"))
    }

    /// The last event and the rolling hash up to it. Of the state, when asked within [`Core::view`].
    #[must_use]
    pub fn history_head(&self) -> Option<EventHead> {
        self.node.last_event()
    }

    /// Proposes an order and waits until it is applied here.
    ///
    /// # Errors
    /// Not the leader, no quorum, busy, or an unknown outcome. A refusal by the rules is no error: it is the outcome.
    pub async fn propose(&self, order: Order, request: Option<RequestId>, actor: String) -> Result<Outcome, ApiError> {
        let command = Command { time: Time(self.clock.unix_ms()), request, actor, order };
        // Here, not at apply: there every node would refuse it, and the asker would learn nothing useful.
        codec::check_batches(&command.order).map_err(|e| ApiError::BadRequest { field: "order", reason: e.to_string() })?;
        let bytes = Bytes::from(codec::encode_command(&command));
        if bytes.len() > codec::MAX_COMMAND_BYTES {
            return Err(ApiError::BadRequest { field: "order", reason: format!("more than {} bytes", codec::MAX_COMMAND_BYTES) });
        }
        let (_, reply) = self.node.propose(bytes, PROPOSE_DEADLINE).await.map_err(propose_error)?;
        let outcome = reply.0.ok_or_else(|| ApiError::Failed("a command entry was applied without an outcome".to_owned()))?;
        Ok(Arc::unwrap_or_clone(outcome))
    }

    /// Waits until everything committed before this call is applied here, as confirmed by a majority.
    ///
    /// # Errors
    /// Not the leader, or no majority answered.
    pub async fn linearize(&self) -> Result<(), ApiError> {
        self.node.read_index(READ_DEADLINE).await.map(|_| ()).map_err(read_error)
    }

    /// Refuses a request that is meant for another cluster.
    ///
    /// # Errors
    /// [`ApiError::WrongCluster`], [`ApiError::BadRequest`].
    pub fn check_cluster(&self, id: &[u8]) -> Result<(), ApiError> {
        if id.is_empty() {
            return Ok(());
        }
        let expected = <[u8; 16]>::try_from(id)
            .map(ClusterId)
            .map_err(|_| ApiError::BadRequest { field: "cluster_id", reason: "16 bytes, or none".to_owned() })?;
        if expected == self.cluster { Ok(()) } else { Err(ApiError::WrongCluster { expected, actual: self.cluster }) }
    }

    /// Refuses unless this node leads and has applied the first entry of its own term.
    ///
    /// # Errors
    /// [`ApiError::NotLeader`] with the leader, [`ApiError::NoQuorum`] when none is known.
    pub fn need_leader(&self) -> Result<(), ApiError> {
        if self.node.is_leader_ready().is_some() {
            return Ok(());
        }
        match self.node.leader() {
            Some((id, member)) if id != self.node.id() => Err(ApiError::NotLeader { leader: Some((id, member.address)) }),
            Some(_) => Err(ApiError::NoQuorum { why: "this node was just elected and has not applied its first entry".to_owned() }),
            None => Err(ApiError::NoQuorum { why: "no leader is known".to_owned() }),
        }
    }
}

fn propose_error(error: ProposeError) -> ApiError {
    match error {
        ProposeError::NotLeader { leader: None } => ApiError::NoQuorum { why: "no leader is known".to_owned() },
        ProposeError::NotLeader { leader } => ApiError::NotLeader { leader },
        ProposeError::Unknown { .. } => ApiError::Unknown { why: error.to_string() },
        ProposeError::Busy => ApiError::Busy,
        ProposeError::TooLarge { .. } => ApiError::BadRequest { field: "command", reason: error.to_string() },
        ProposeError::Fatal { .. } => ApiError::Failed(error.to_string()),
    }
}

fn read_error(error: ReadError) -> ApiError {
    match error {
        ReadError::NotLeader { leader: None } => ApiError::NoQuorum { why: "no leader is known".to_owned() },
        ReadError::NotLeader { leader } => ApiError::NotLeader { leader },
        ReadError::NoQuorum { .. } => ApiError::NoQuorum { why: error.to_string() },
        ReadError::Fatal { .. } => ApiError::Failed(error.to_string()),
    }
}
