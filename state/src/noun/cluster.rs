//! The cluster itself: identity, format, settings. One object.

use serde::Serialize;

use crate::ids::{ClusterId, Incarnation, Token};

/// The newest state format this build decides by. Raised in a cluster only by a logged command.
pub const FORMAT: u32 = 1;

/// ε, the bound on clock-rate error, in thousandths. A format constant, not a setting: both sides of every lease must agree.
pub const CLOCK_RATE_BOUND_PERMILLE: u64 = 50;

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cluster {
    pub id: ClusterId,
    pub format: u32,
    pub incarnation: Incarnation,
    /// Added to the log index of a grant to make its token (L2, L20).
    pub floor: u64,
    /// The highest token ever issued (I4).
    pub max_token: Token,
    pub settings: Settings,
}

/// What an operator may change at run time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Settings {
    /// T: time to live of a lease. A change takes effect with each lease's next renewal (L18).
    pub ttl_ms: u64,
    /// A grant that is not activated within this time is withdrawn and placed elsewhere (L13).
    pub activation_ms: u64,
    /// A session that is silent for this long is fenced, where all volumes of a lease are after-fence: such a lease needs no waiting for T (L15).
    pub fence_after_ms: u64,
}

impl Settings {
    pub const MIN_TTL_MS: u64 = 1_000;
    pub const MAX_TTL_MS: u64 = 3_600_000;
}

impl Default for Settings {
    fn default() -> Self {
        Self { ttl_ms: 10_000, activation_ms: 5_000, fence_after_ms: 2_000 }
    }
}

/// How often a session sends a keepalive: T/3, and often enough that three in a row are missing before a fence.
#[must_use]
pub fn keepalive_ms(ttl_ms: u64, fence_after_ms: u64) -> u64 {
    (ttl_ms / 3).min(fence_after_ms / 4).max(50)
}

/// hold(T) without the holder's margin: floor(T(1−ε)), in ms. The holder subtracts its own margin m.
#[must_use]
pub fn hold_ms(ttl_ms: u64) -> u64 {
    ttl_ms * (1_000 - CLOCK_RATE_BOUND_PERMILLE) / 1_000
}

/// wait(T): ceil(T(1+ε)), in ms: how long a node waits after its note before it may propose Expire (L11).
#[must_use]
pub fn wait_ms(ttl_ms: u64) -> u64 {
    (ttl_ms * (1_000 + CLOCK_RATE_BOUND_PERMILLE)).div_ceil(1_000)
}
