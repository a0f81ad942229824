//! Events: facts of the past, in log order. `evolve` folds them into the state; the event log keeps them for ever.

use serde::Serialize;

use crate::ids::{ClusterId, ContainerId, HostId, LeaseId, Revision, SessionId, Time, Token, Version, VolumeId};
use crate::noun::cluster::Settings;
use crate::noun::container::{ContainerSpec, Desired, Relocation};
use crate::noun::fence::{FenceMethod, GoneProof};
use crate::noun::host::{FenceAttempt, Health, HostSpec, Scheduling};
use crate::noun::lease::{Evidence, Exit, GrantCause, InstanceStatus, RevokeReason, WithdrawReason};
use crate::noun::session::Session;
use crate::noun::volume::VolumeSpec;

/// One entry of the event log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Event {
    /// Log index of the command that caused it; several events may share one.
    pub revision: Revision,
    /// The leader's clock, clamped never to go back.
    pub time: Time,
    /// Who asked.
    pub actor: String,
    #[serde(flatten)]
    pub fact: Fact,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind")]
pub enum Fact {
    ClusterInitialized {
        cluster: ClusterId,
        format: u32,
        settings: Settings,
    },
    SettingsChanged {
        settings: Settings,
    },
    FormatRaised {
        format: u32,
    },
    HostAdded {
        host: HostId,
        spec: HostSpec,
    },
    HostUpdated {
        host: HostId,
        version: Version,
        spec: HostSpec,
    },
    HostRemoved {
        host: HostId,
    },
    HostSchedulingChanged {
        host: HostId,
        scheduling: Scheduling,
    },
    HostHealthChanged {
        host: HostId,
        health: Health,
    },
    VolumeAdded {
        volume: VolumeId,
        spec: VolumeSpec,
    },
    VolumeUpdated {
        volume: VolumeId,
        version: Version,
        spec: VolumeSpec,
    },
    VolumeRemoved {
        volume: VolumeId,
    },
    ContainerAdded {
        container: ContainerId,
        spec: ContainerSpec,
        desired: Desired,
    },
    ContainerUpdated {
        container: ContainerId,
        version: Version,
        spec: ContainerSpec,
    },
    ContainerRemoved {
        container: ContainerId,
    },
    ContainerDesiredChanged {
        container: ContainerId,
        desired: Desired,
    },
    ContainerRelocationRequested {
        container: ContainerId,
        relocation: Relocation,
    },
    LeaseGranted {
        lease: LeaseId,
        token: Token,
        container: ContainerId,
        version: Version,
        host: HostId,
        session: SessionId,
        cause: GrantCause,
    },
    LeaseActivated {
        lease: LeaseId,
        token: Token,
    },
    LeaseWithdrawn {
        lease: LeaseId,
        token: Token,
        why: WithdrawReason,
    },
    LeaseRevoked {
        lease: LeaseId,
        token: Token,
        reason: RevokeReason,
        drain_ms: u64,
    },
    LeaseClosed {
        lease: LeaseId,
        token: Token,
        why: CloseReason,
    },
    LeaseExpired {
        lease: LeaseId,
        token: Token,
        renewed: Revision,
    },
    FenceStarted {
        lease: LeaseId,
        token: Token,
        method: FenceMethod,
    },
    LeaseFenced {
        lease: LeaseId,
        token: Token,
        evidence: Evidence,
    },
    LeaseReleased {
        lease: LeaseId,
        token: Token,
        session: SessionId,
        exit: Option<Exit>,
        finished: bool,
    },
    SessionOpened {
        session: Session,
        predecessor: Option<SessionId>,
    },
    SessionClosed {
        session: SessionId,
        host: HostId,
        why: SessionEnd,
    },
    /// Two machines speak for one session: same sequence number, another nonce (L17). An alarm.
    SessionCloned {
        session: SessionId,
        host: HostId,
    },
    InstanceObserved {
        lease: LeaseId,
        token: Token,
        status: InstanceStatus,
    },
    /// A fence action is about to be done.
    FenceAttempted {
        host: HostId,
        attempt: FenceAttempt,
        /// The one that was given up for it.
        instead: Option<Revision>,
    },
    FenceTried {
        host: HostId,
        attempt: Revision,
        ok: bool,
        output: String,
    },
    /// A fenced holder has proof of death.
    HolderGone {
        host: HostId,
        token: Token,
        proof: GoneProof,
    },
    CutLiftStarted {
        volume: VolumeId,
        host: HostId,
        newest: Token,
    },
    CutLifted {
        volume: VolumeId,
        host: HostId,
        newest: Token,
    },
    /// An alarm: two holders may have written.
    SplitBrainSuspected {
        volume: VolumeId,
        token: Token,
        other: Token,
        host: HostId,
    },
    SuspicionCleared {
        volume: VolumeId,
        name: String,
        reason: String,
    },
}

impl Fact {
    /// The kind as `-o json` prints it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::ClusterInitialized { .. } => "ClusterInitialized",
            Self::SettingsChanged { .. } => "SettingsChanged",
            Self::FormatRaised { .. } => "FormatRaised",
            Self::HostAdded { .. } => "HostAdded",
            Self::HostUpdated { .. } => "HostUpdated",
            Self::HostRemoved { .. } => "HostRemoved",
            Self::HostSchedulingChanged { .. } => "HostSchedulingChanged",
            Self::HostHealthChanged { .. } => "HostHealthChanged",
            Self::VolumeAdded { .. } => "VolumeAdded",
            Self::VolumeUpdated { .. } => "VolumeUpdated",
            Self::VolumeRemoved { .. } => "VolumeRemoved",
            Self::ContainerAdded { .. } => "ContainerAdded",
            Self::ContainerUpdated { .. } => "ContainerUpdated",
            Self::ContainerRemoved { .. } => "ContainerRemoved",
            Self::ContainerDesiredChanged { .. } => "ContainerDesiredChanged",
            Self::ContainerRelocationRequested { .. } => "ContainerRelocationRequested",
            Self::LeaseGranted { .. } => "LeaseGranted",
            Self::LeaseActivated { .. } => "LeaseActivated",
            Self::LeaseWithdrawn { .. } => "LeaseWithdrawn",
            Self::LeaseRevoked { .. } => "LeaseRevoked",
            Self::LeaseClosed { .. } => "LeaseClosed",
            Self::LeaseExpired { .. } => "LeaseExpired",
            Self::FenceStarted { .. } => "FenceStarted",
            Self::LeaseFenced { .. } => "LeaseFenced",
            Self::LeaseReleased { .. } => "LeaseReleased",
            Self::SessionOpened { .. } => "SessionOpened",
            Self::SessionClosed { .. } => "SessionClosed",
            Self::SessionCloned { .. } => "SessionCloned",
            Self::InstanceObserved { .. } => "InstanceObserved",
            Self::FenceAttempted { .. } => "FenceAttempted",
            Self::FenceTried { .. } => "FenceTried",
            Self::HolderGone { .. } => "HolderGone",
            Self::CutLiftStarted { .. } => "CutLiftStarted",
            Self::CutLifted { .. } => "CutLifted",
            Self::SplitBrainSuspected { .. } => "SplitBrainSuspected",
            Self::SuspicionCleared { .. } => "SuspicionCleared",
        }
    }
}

/// Why renewal of a lease ended before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CloseReason {
    /// The drain time after a revoke is over (L14).
    DrainOver,
    /// Its session was closed by silence and the lease is after-fence (L17).
    SessionSilent,
    /// Its session was cloned (L17).
    SessionCloned,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SessionEnd {
    Closed,
    Silent,
    Replaced,
}
