//! Rejections: the rules refuse. The same on all nodes; each names what stands in the way and says what to do.

use serde::Serialize;

use crate::ids::{BootId, ClusterId, ContainerId, HostId, LeaseId, NodeId, Revision, SessionId, Token, Version, VolumeId};
use crate::noun::host::Scheduling;
use crate::noun::lease::Phase;
use crate::noun::session::{Cut, Guard};
use crate::noun::volume::{Driver, Takeover};
use crate::unfit::Unfit;

/// What kind of "no" it is; the CLI's exit code follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Exit code 3.
    NotFound,
    /// Refused because held or fenced: exit code 4.
    Held,
    /// Exit code 1.
    Other,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(tag = "kind")]
pub enum Rejection {
    #[error("this cluster is not initialized yet: wait for its first leader")]
    NotInitialized,
    #[error("this is cluster {cluster} already")]
    AlreadyInitialized { cluster: ClusterId },
    #[error("no host {host}: see `berth host ls`")]
    HostNotFound { host: HostId },
    #[error("host {host} exists: choose another name or `berth host update`")]
    HostExists { host: HostId },
    #[error("no volume {volume}: see `berth volume ls`")]
    VolumeNotFound { volume: VolumeId },
    #[error("volume {volume} exists: choose another name or `berth volume update`")]
    VolumeExists { volume: VolumeId },
    #[error("no container {container}: see `berth container ls`")]
    ContainerNotFound { container: ContainerId },
    #[error("container {container} exists: choose another name or `berth container update`")]
    ContainerExists { container: ContainerId },
    #[error("no lease {lease} that has not ended: see `berth lease ls`")]
    LeaseNotFound { lease: LeaseId },
    #[error("no live session {session}")]
    SessionNotFound { session: SessionId },
    #[error("{object} has version {actual}, not {expected}: someone changed it; read it again, then repeat")]
    VersionMismatch { object: String, expected: Version, actual: Version },
    #[error("{field}: {reason}")]
    Invalid { field: String, reason: String },
    #[error("{what}: at most {limit}")]
    LimitExceeded { what: String, limit: u64 },
    #[error(
        "volume {volume} is held by container {container} on host {host} under token {token} ({phase:?}): stop the container, or see `berth why {volume}`"
    )]
    VolumeHeld { volume: VolumeId, lease: LeaseId, token: Token, container: ContainerId, host: HostId, phase: Phase },
    #[error(
        "container {container} holds a lease on host {host} under token {token} ({phase:?}): stop it first, or see `berth why {container}`"
    )]
    ContainerHeld { container: ContainerId, lease: LeaseId, token: Token, host: HostId, phase: Phase },
    #[error("host {host} holds lease {lease} (token {token}) for container {container}: drain the host first")]
    HostHoldsLease { host: HostId, lease: LeaseId, token: Token, container: ContainerId },
    #[error("volume {volume} is used by container {container}: remove or update that first")]
    VolumeUsed { volume: VolumeId, container: ContainerId },
    #[error("host {host} has the live session {session}: stop its executor first")]
    HostHasSession { host: HostId, session: SessionId },
    #[error("lease {lease} has token {actual}, not {expected}")]
    TokenMismatch { lease: LeaseId, expected: Token, actual: Token },
    #[error("lease {lease} (token {token}) is {phase:?}; {action} needs {needs}")]
    WrongPhase { lease: LeaseId, token: Token, phase: Phase, action: String, needs: String },
    #[error("host {host} is {scheduling:?}: `berth host uncordon {host}` lets it take containers")]
    HostNotOpen { host: HostId, scheduling: Scheduling },
    #[error("host {host} has no live session: start its executor")]
    NoSession { host: HostId },
    #[error("session {session} is no longer the live one of its host")]
    SessionReplaced { session: SessionId },
    #[error("host {host} has session {current} of {because}: wait until that is silent, or stop the other executor (current boot {boot})")]
    SessionConflict { host: HostId, current: SessionId, boot: BootId, because: String },
    #[error("session {session} still has lease {lease} (token {token}, {phase:?}): it ends first")]
    SessionHoldsLease { session: SessionId, lease: LeaseId, token: Token, phase: Phase },
    #[error(
        "host {host} does not guard volume {volume} as takeover {takeover:?} needs: it declares guard {guard:?} and cut {cut:?}; after-expiry needs guard Init for --coherent storage, else HostProcess and a driver that cuts write-back; or choose takeover manual"
    )]
    NotGuarded { host: HostId, volume: VolumeId, takeover: Takeover, guard: Guard, cut: Cut },
    #[error("host {host} declares no guard: a container must stop by itself when its lease runs out")]
    NoGuard { host: HostId },
    #[error("container {container} does not fit host {host}: {why}")]
    DoesNotFit { container: ContainerId, host: HostId, why: Unfit },
    #[error("container {container} is not to run: {why}")]
    NotWanted { container: ContainerId, why: String },
    #[error("{object} was renewed at {actual}, after {named}: it lives")]
    RenewedSince { object: String, named: Revision, actual: Revision },
    #[error("lease {lease} (token {token}): evidence {evidence} is refused: {why}")]
    EvidenceRefused { lease: LeaseId, token: Token, evidence: String, why: String },
    #[error("session {session} may not release lease {lease} (token {token}): {why}")]
    ReleaseRefused { session: SessionId, lease: LeaseId, token: Token, why: String },
    #[error("takeover {takeover:?} is not possible with driver {driver:?}: {why}")]
    TakeoverUnsupported { driver: Driver, takeover: Takeover, why: String },
    #[error("host {host}: fence attempt {attempt} of node {node} is still open: one at a time")]
    AttemptOpen { host: HostId, attempt: Revision, node: NodeId },
    #[error("host {host} has no open fence attempt {attempt}")]
    AttemptUnknown { host: HostId, attempt: Revision },
    #[error("volume {volume}: the storage does not bar host {host}")]
    NotBarred { volume: VolumeId, host: HostId },
    #[error("volume {volume}: host {host} stays barred: {why}")]
    LiftRefused { volume: VolumeId, host: HostId, why: String },
    #[error("{object} has no {what}: there is nothing to clear")]
    NothingToClear { object: String, what: String },
    #[error("host {host} was fenced and token {token} is not known to be gone there: start its executor, or `berth host unfence {host}`")]
    HostFenced { host: HostId, token: Token },
    #[error(
        "the storage of volume {volume} bars host {host}, by the options it has now: wait until that is lifted, see `berth why {volume}`"
    )]
    VolumeBarred { volume: VolumeId, host: HostId },
    #[error(
        "a privileged container can undo the guard of its host, and volume {volume} is after-expiry: use after-fence, leave privileged out, or insist (--privileged-insist), which is logged"
    )]
    Privileged { volume: VolumeId },
    #[error("this request id was used for another command: use a fresh one")]
    RequestReused,
    #[error("state format {format} is not possible: {why}")]
    FormatRefused { format: u32, why: String },
    #[error("the command could not be decoded: {why}")]
    Undecodable { why: String },
}

impl Rejection {
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::HostNotFound { .. }
            | Self::VolumeNotFound { .. }
            | Self::ContainerNotFound { .. }
            | Self::LeaseNotFound { .. }
            | Self::SessionNotFound { .. }
            | Self::AttemptUnknown { .. }
            | Self::NotBarred { .. }
            | Self::NothingToClear { .. } => Class::NotFound,
            Self::VolumeHeld { .. }
            | Self::ContainerHeld { .. }
            | Self::HostHoldsLease { .. }
            | Self::HostHasSession { .. }
            | Self::TokenMismatch { .. }
            | Self::WrongPhase { .. }
            | Self::SessionReplaced { .. }
            | Self::SessionConflict { .. }
            | Self::SessionHoldsLease { .. }
            | Self::RenewedSince { .. }
            | Self::EvidenceRefused { .. }
            | Self::ReleaseRefused { .. }
            | Self::AttemptOpen { .. }
            | Self::LiftRefused { .. }
            | Self::HostFenced { .. }
            | Self::VolumeBarred { .. } => Class::Held,
            Self::NotInitialized
            | Self::AlreadyInitialized { .. }
            | Self::HostExists { .. }
            | Self::VolumeExists { .. }
            | Self::ContainerExists { .. }
            | Self::VersionMismatch { .. }
            | Self::Invalid { .. }
            | Self::LimitExceeded { .. }
            | Self::VolumeUsed { .. }
            | Self::HostNotOpen { .. }
            | Self::NoSession { .. }
            | Self::NotGuarded { .. }
            | Self::NoGuard { .. }
            | Self::DoesNotFit { .. }
            | Self::NotWanted { .. }
            | Self::TakeoverUnsupported { .. }
            | Self::Privileged { .. }
            | Self::RequestReused
            | Self::FormatRefused { .. }
            | Self::Undecodable { .. } => Class::Other,
        }
    }
}
