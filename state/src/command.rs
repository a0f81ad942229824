//! Commands: orders, carried by the replicated log. Decided by `decide` at apply, on every node alike.

use crate::ids::{
    BootId, ClusterId, ContainerId, HostId, Incarnation, LeaseId, LedgerId, NodeId, Nonce, RequestId, Revision, Seq, SessionId, Time,
    Token, Version, VolumeId,
};
use crate::noun::cluster::Settings;
use crate::noun::container::{ContainerSpec, Desired};
use crate::noun::fence::FenceMethod;
use crate::noun::host::{Health, HostSpec, Scheduling};
use crate::noun::lease::{Evidence, Exit, InstanceStatus, RevokeReason, WithdrawReason};
use crate::noun::session::Declaration;
use crate::noun::volume::VolumeSpec;

/// One log entry's payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The proposing leader's clock, for people; clamped at apply so that it never goes back.
    pub time: Time,
    /// Makes a retry get the first answer. Commands of leader loops are compare-and-set and carry none.
    pub request: Option<RequestId>,
    /// Who asked, for people: `user@host`, `node 2`, `executor h1`. At most 128 bytes.
    pub actor: String,
    pub order: Order,
}

/// What is ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    InitCluster(InitCluster),
    ChangeSettings(ChangeSettings),
    RaiseFormat(RaiseFormat),
    AddHost(AddHost),
    UpdateHost(UpdateHost),
    RemoveHost(RemoveHost),
    SetScheduling(SetScheduling),
    SetHealth(SetHealth),
    AddVolume(AddVolume),
    UpdateVolume(UpdateVolume),
    RemoveVolume(RemoveVolume),
    AddContainer(AddContainer),
    UpdateContainer(UpdateContainer),
    RemoveContainer(RemoveContainer),
    SetDesired(SetDesired),
    RestartContainer(RestartContainer),
    MoveContainer(MoveContainer),
    GrantLease(GrantLease),
    WithdrawLease(WithdrawLease),
    RevokeLease(RevokeLease),
    CloseLease(CloseLease),
    ExpireLease(ExpireLease),
    StartFence(StartFence),
    FenceLease(FenceLease),
    ReleaseLease(ReleaseLease),
    ClaimLease(ClaimLease),
    BeginFenceAttempt(BeginFenceAttempt),
    EndFenceAttempt(EndFenceAttempt),
    UnfenceHost(UnfenceHost),
    StartLift(StartLift),
    FinishLift(FinishLift),
    SuspectSplitBrain(SuspectSplitBrain),
    ClearSuspicion(ClearSuspicion),
    OpenSession(OpenSession),
    CloseSession(CloseSession),
    ExpireSession(ExpireSession),
    RecordKeepalives(RecordKeepalives),
    RecordObservation(RecordObservation),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitCluster {
    pub cluster: ClusterId,
    pub settings: Settings,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeSettings {
    pub settings: Settings,
}

/// Raises the state format, once every node's build knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RaiseFormat {
    pub format: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddHost {
    pub host: HostId,
    pub spec: HostSpec,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateHost {
    pub host: HostId,
    /// Compare-and-set: the version the caller read.
    pub version: Version,
    pub spec: HostSpec,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoveHost {
    pub host: HostId,
}

/// Cordon, uncordon, drain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetScheduling {
    pub host: HostId,
    pub scheduling: Scheduling,
}

/// Compare-and-set on the session's last renewal, like Expire: a session that was heard of since is not marked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetHealth {
    pub session: SessionId,
    pub renewed: Revision,
    pub health: Health,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddVolume {
    pub volume: VolumeId,
    pub spec: VolumeSpec,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateVolume {
    pub volume: VolumeId,
    pub version: Version,
    pub spec: VolumeSpec,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoveVolume {
    pub volume: VolumeId,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddContainer {
    pub container: ContainerId,
    pub spec: ContainerSpec,
    pub desired: Desired,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateContainer {
    pub container: ContainerId,
    pub version: Version,
    pub spec: ContainerSpec,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoveContainer {
    pub container: ContainerId,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetDesired {
    pub container: ContainerId,
    pub desired: Desired,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestartContainer {
    pub container: ContainerId,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MoveContainer {
    pub container: ContainerId,
    /// `None`: any other host that fits.
    pub to: Option<HostId>,
}

/// L3. Names what the leader saw, so that apply refuses a grant decided on old facts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantLease {
    pub container: ContainerId,
    /// Version of the container the placement looked at.
    pub version: Version,
    pub host: HostId,
    pub session: SessionId,
}

/// L13.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WithdrawLease {
    pub lease: LeaseId,
    pub token: Token,
    pub why: WithdrawReason,
}

/// L14: asks for a soft stop; the lease stays renewable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevokeLease {
    pub lease: LeaseId,
    pub token: Token,
    pub reason: RevokeReason,
}

/// L14: ends renewal of a revoked lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloseLease {
    pub lease: LeaseId,
    pub token: Token,
}

/// L11: compare-and-set on `lease.renewed`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpireLease {
    pub lease: LeaseId,
    pub token: Token,
    pub renewed: Revision,
}

/// L15: committed before the fence action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartFence {
    pub lease: LeaseId,
    pub token: Token,
    pub method: FenceMethod,
    /// Compare-and-set on the session's last keepalive, where silence is the reason; `None`: an operator's order, or renewal has ended.
    pub heard: Option<Revision>,
}

/// A lease on its own host for a workload that somebody else starts. Makes the container object as well; both end together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimLease {
    pub container: ContainerId,
    pub spec: ContainerSpec,
    /// Of the host that asks.
    pub session: SessionId,
}

/// L15, L21: committed before the action; refused while another one is open on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BeginFenceAttempt {
    pub host: HostId,
    pub method: FenceMethod,
    pub agent: String,
    pub node: NodeId,
    pub tokens: Vec<Token>,
    pub timeout_ms: u64,
    /// The open attempt that is given up: its time is over by the proposing node's own note.
    pub instead: Option<Revision>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndFenceAttempt {
    pub host: HostId,
    pub attempt: Revision,
    pub ok: bool,
    pub output: String,
}

/// An operator's word that every fenced holder of the host is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnfenceHost {
    pub host: HostId,
    pub name: String,
    pub reason: String,
}

/// L15: accepted only after every token cut there has proof of death; the storage call comes after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartLift {
    pub volume: VolumeId,
    pub host: HostId,
}

/// The storage lets the host in again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinishLift {
    pub volume: VolumeId,
    pub host: HostId,
    /// The newest token whose cut was lifted.
    pub newest: Token,
}

/// The holder saw another token's heartbeat advance on its volume, and has stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SuspectSplitBrain {
    pub session: SessionId,
    pub lease: LeaseId,
    pub token: Token,
    pub volume: VolumeId,
    pub other: Token,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClearSuspicion {
    pub volume: VolumeId,
    pub name: String,
    pub reason: String,
}

/// L12, L15: evidence that the holder writes no more ends the lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FenceLease {
    pub lease: LeaseId,
    pub token: Token,
    pub evidence: Evidence,
}

/// L16.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReleaseLease {
    pub lease: LeaseId,
    pub token: Token,
    /// The releasing session; it, or its ledger id, must match the lease's.
    pub session: SessionId,
    pub exit: Option<Exit>,
    /// The container ended for good by its restart policy, and is not to be placed again until asked for.
    pub finished: bool,
}

/// L17.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenSession {
    pub host: HostId,
    pub boot: BootId,
    pub ledger: LedgerId,
    /// The session this executor's ledger remembers as its last.
    pub predecessor: Option<SessionId>,
    pub declared: Declaration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloseSession {
    pub session: SessionId,
}

/// L17: closes a silent session, by compare-and-set on its last renewal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpireSession {
    pub session: SessionId,
    pub renewed: Revision,
}

/// A batch of keepalives gathered by the leader, bounded in time and number (L5, L6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordKeepalives {
    pub keepalives: Vec<Keepalive>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keepalive {
    pub incarnation: Incarnation,
    pub session: SessionId,
    pub seq: Seq,
    pub nonce: Nonce,
    /// The leases the holder claims; each of them is answered.
    pub tokens: Vec<Token>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordObservation {
    pub session: SessionId,
    pub instances: Vec<ObservedInstance>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedInstance {
    pub lease: LeaseId,
    pub token: Token,
    pub status: InstanceStatus,
}
