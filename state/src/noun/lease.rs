//! Leases: the right of one host to run one container on its volumes. Phases by L1, evidence by L12 and L15.

use serde::Serialize;

use crate::ids::{BootId, ContainerId, HostId, LeaseId, LedgerId, Revision, SessionId, Time, Token, Version, VolumeId};
use crate::noun::container::ContainerSpec;
pub use crate::noun::ending::{Ended, Evidence, Exit, WithdrawReason};
use crate::noun::session::{Cut, Guard};
use crate::noun::volume::{Takeover, VolumeSpec};

/// An un-ended lease. Ended ones leave the state; the event log and the container's `last_lease` tell of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Lease {
    pub id: LeaseId,
    pub token: Token,
    pub container: ContainerId,
    pub host: HostId,
    /// The session that holds it; a same-boot successor takes it over (L17).
    pub session: SessionId,
    pub boot: BootId,
    pub ledger: LedgerId,
    pub phase: Phase,
    pub cause: GrantCause,
    /// The guard the session had declared at the grant (L3).
    pub guard: Guard,
    pub volumes: Vec<LeasedVolume>,
    /// The spec it runs, as of `version`; a later update of the container does not reach it.
    pub spec: ContainerSpec,
    pub version: Version,
    pub granted: Revision,
    pub granted_time: Time,
    pub activated: Option<Revision>,
    pub revoked: Option<Revoked>,
    /// Set with phase Expired: the Expire entry (L12).
    pub expired: Option<Revision>,
    pub instance: Option<InstanceStatus>,
}

/// One volume under a lease, frozen at the grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeasedVolume {
    pub volume: VolumeId,
    pub spec: VolumeSpec,
    /// How the holder had declared to cut write-back.
    pub cut: Cut,
}

impl Lease {
    /// The strictest takeover rule of its volumes; without volumes after-expiry, so that a container also runs at most once.
    #[must_use]
    pub fn takeover(&self) -> Takeover {
        self.volumes.iter().map(|v| v.spec.takeover).max().unwrap_or(Takeover::AfterExpiry)
    }

    /// L11: a lease whose volumes are all after-fence is never expired by silence.
    #[must_use]
    pub fn expires_by_silence(&self) -> bool {
        self.volumes.is_empty() || self.volumes.iter().any(|v| v.spec.takeover != Takeover::AfterFence)
    }

    /// Longest lock delay of its volumes, in ms (L12).
    #[must_use]
    pub fn lock_delay_ms(&self) -> u64 {
        self.volumes.iter().map(|v| v.spec.lock_delay_ms).max().unwrap_or(0)
    }
}

/// Where an un-ended lease is. Ended is not a phase here: an ended lease is no longer in the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    Granted,
    Active,
    /// No renewal any more (L14, L15).
    Closing,
    /// Renewal ran out. Not free: only evidence or the holder's release ends it.
    Expired,
}

/// Why the lease was granted; for people and outage accounting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum GrantCause {
    /// First placement, or after a stop.
    Placed,
    /// On request: restart, move, drain.
    Relocated { from: Token },
    /// After the former lease was fenced.
    Failover { from: Token },
    /// By `docker run` or `berth lease run` on that very host.
    Claimed,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Revoked {
    pub reason: RevokeReason,
    pub at: Revision,
    pub time: Time,
    /// After this long the lease is closed (L14).
    pub drain_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RevokeReason {
    Stop,
    Restart,
    Move,
    Drain,
    /// An operator's `lease revoke`.
    Operator,
}

/// What an executor reports of the instance under a lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InstanceStatus {
    /// 0: nothing started yet.
    pub attempt: u32,
    pub state: InstanceState,
    pub health: InstanceHealth,
    /// Of the newest attempt that ended.
    pub last_exit: Option<Exit>,
    /// What holds it up or went wrong, for people; empty: nothing.
    pub message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum InstanceState {
    /// Volumes are being made ready, or it waits for its deadline to be set.
    Preparing,
    Running,
    /// Exited; waits out its back-off before the next attempt.
    BackOff,
    Stopping,
    /// Ended for good; the lease is about to be released.
    Stopped,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum InstanceHealth {
    /// No health check.
    Unchecked,
    Starting,
    Healthy,
    Unhealthy,
}
