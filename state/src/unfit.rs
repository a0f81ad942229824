//! Why a container may not go to a host: what placement answers, and the grant rule repeats in its rejection.

use serde::Serialize;

use crate::ids::{ContainerId, HostId, Token, VolumeId};
use crate::noun::container::{Constraint, RuntimeKind};
use crate::noun::host::{Health, Scheduling};
use crate::noun::session::{Cut, Guard};
use crate::noun::volume::{Driver, Takeover};

/// Why a container may not go to a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Unfit {
    #[error("the host is {scheduling:?}")]
    NotOpen { scheduling: Scheduling },
    #[error("the host has no live session")]
    NoSession,
    #[error("the host is {health:?}")]
    NotLive { health: Health },
    #[error("the host has no {runtime:?} runtime")]
    NoRuntime { runtime: RuntimeKind },
    #[error("the host has no {driver:?} driver, which volume {volume} needs")]
    NoDriver { volume: VolumeId, driver: Driver },
    #[error("the host declares no guard")]
    NoGuard,
    #[error("volume {volume} with takeover {takeover:?} needs more than guard {guard:?} and cut {cut:?}")]
    NotGuarded { volume: VolumeId, takeover: Takeover, guard: Guard, cut: Cut },
    #[error(
        "the host was fenced and token {token} is not known to be gone there: start its executor, reboot it, or `berth host unfence` it"
    )]
    Fenced { token: Token },
    #[error("the storage of volume {volume} still bars the host")]
    Barred { volume: VolumeId },
    #[error(
        "volume {volume} is suspected of two holders (tokens {token} and {other}): look at its data, then `berth volume clear {volume}`"
    )]
    SplitBrain { volume: VolumeId, token: Token, other: Token },
    #[error("volume {volume} is after-fence: its storage cannot fence, and the host has no fence agent")]
    NoFence { volume: VolumeId },
    #[error("the storage of volume {volume} fences a host by its address, and the host has none: `berth host update --storage-address`")]
    NoStorageAddress { volume: VolumeId },
    #[error("constraint {constraint} is not met")]
    Constraint { constraint: Constraint },
    #[error("container {other} runs there and the two must be apart")]
    AntiAffinity { other: ContainerId },
    #[error("host port {port} is taken by container {by}")]
    PortTaken { port: u16, by: ContainerId },
    #[error("CPU: {needed} thousandths needed, {free} free")]
    Cpu { needed: u64, free: u64 },
    #[error("memory: {needed} bytes needed, {free} free")]
    Memory { needed: u64, free: u64 },
    #[error("a move to host {to} is asked for")]
    MoveElsewhere { to: HostId },
    #[error("a move away from this host is asked for")]
    MoveAway,
}
