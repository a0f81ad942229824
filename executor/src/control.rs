//! The control plane as the executor sees it: a trait in domain types. [`crate::link`] speaks gRPC behind it; tests and the simulation put a fake there.
//! No call here repeats a keepalive (L5); writes may be repeated with the same request id.

use std::time::Duration;

use async_trait::async_trait;
use berth_state::command::{Keepalive, ObservedInstance, OpenSession, Order};
use berth_state::ids::{ClusterId, HostId, Incarnation, LeaseId, RequestId, SessionId, Token};
use berth_state::noun::host::HostSpec;
use berth_state::noun::lease::{Exit, Lease};
use berth_state::noun::volume::Volume;
use berth_state::outcome::{KeepaliveAnswer, Made};
use berth_state::rejection::Rejection;
use futures::stream::BoxStream;
use tokio::sync::{mpsc, watch};

use crate::assignments::AssignmentUpdate;

/// Why a call was not answered as asked.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("{0}")]
    Rejected(Box<Rejection>),
    #[error("{address} does not lead{}", hint(.leader_known))]
    NotLeader { address: String, leader_known: bool },
    #[error("no quorum, by {address}: {why}")]
    NoQuorum { address: String, why: String },
    #[error("whether {address} carried it out is unknown: {why}")]
    Unknown { address: String, why: String },
    #[error("{address} is busy")]
    Busy { address: String },
    #[error("{address} is of another cluster: {why}")]
    WrongCluster { address: String, why: String },
    #[error("{address} cannot be reached: {why}")]
    Unreachable { address: String, why: String },
    #[error("{address}: {why}")]
    Failed { address: String, why: String },
}

fn hint(leader_known: &bool) -> &'static str {
    if *leader_known { "; another node does" } else { ", and knows nobody who does" }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenRequest {
    /// `None`: any cluster; only before the first session.
    pub cluster: Option<ClusterId>,
    pub request: RequestId,
    pub order: OpenSession,
    /// Add the host if it is not registered.
    pub register: Option<HostSpec>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    pub session: SessionId,
    pub cluster: ClusterId,
    pub incarnation: Incarnation,
    pub ttl_ms: u64,
    /// While after-fence leases are held, silence must stay well below this.
    pub fence_after_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportRequest {
    pub cluster: ClusterId,
    pub request: RequestId,
    pub session: SessionId,
    pub instances: Vec<ObservedInstance>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReleaseRequest {
    pub cluster: ClusterId,
    pub request: RequestId,
    pub session: SessionId,
    pub lease: LeaseId,
    pub token: Token,
    pub exit: Option<Exit>,
    pub finished: bool,
}

/// An order about this very host: ClaimLease or SuspectSplitBrain, naming the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProposeRequest {
    pub cluster: ClusterId,
    pub request: RequestId,
    pub session: SessionId,
    pub order: Order,
}

/// Who has a volume, and when somebody else may.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WhyAnswer {
    pub volume: Option<Volume>,
    /// The un-ended lease that holds it.
    pub holder: Option<Lease>,
    /// After which a takeover can be safe if the holder stays silent; `None`: time alone never makes it so.
    pub earliest_takeover_ms: Option<u64>,
    /// What the promise of one writer stands on, by number.
    pub rung: Option<u32>,
    pub promise: Vec<String>,
}

/// What the control plane asks of a log channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOrder {
    pub order: u64,
    pub token: Token,
    pub follow: bool,
    pub tail_lines: Option<u64>,
    /// The reader has left.
    pub cancel: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogDelivery {
    pub order: u64,
    pub stderr: bool,
    pub data: Vec<u8>,
    pub end: bool,
    /// Why it failed; empty: it did not.
    pub error: String,
}

#[async_trait]
pub trait ControlPlane: Send + Sync + 'static {
    /// L17.
    async fn open_session(&self, request: OpenRequest) -> Result<Opened, LinkError>;

    /// One transmission, to whom is believed to lead; never repeated here. An answer may come until `timeout` is over.
    async fn keepalive(&self, cluster: ClusterId, keepalive: Keepalive, timeout: Duration) -> Result<KeepaliveAnswer, LinkError>;

    async fn assignments(
        &self,
        cluster: ClusterId,
        host: HostId,
        session: SessionId,
    ) -> Result<BoxStream<'static, Result<AssignmentUpdate, LinkError>>, LinkError>;

    async fn report(&self, request: ReportRequest) -> Result<(), LinkError>;

    async fn release(&self, request: ReleaseRequest) -> Result<(), LinkError>;

    /// Repeated with the same request id until it is answered, or the answer can only be "unknown".
    async fn propose(&self, request: ProposeRequest) -> Result<Made, LinkError>;

    /// What the leader knows of the volume of this name; `None`: there is none.
    async fn why(&self, cluster: ClusterId, name: &str) -> Result<Option<WhyAnswer>, LinkError>;

    /// The channel names its session first.
    async fn log_channel(
        &self,
        session: SessionId,
        deliveries: mpsc::Receiver<LogDelivery>,
    ) -> Result<BoxStream<'static, Result<LogOrder, LinkError>>, LinkError>;

    /// Counts up when another node is believed to lead: streams are then opened anew.
    fn leader_changes(&self) -> watch::Receiver<u64>;
}
