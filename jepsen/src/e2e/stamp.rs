//! The one clock of the end-to-end test: time since boot. Watchers, writer and cases stamp with it, so that what one saw can be compared with what
//! another did, and with the kernel's start times of processes. Never used for a decision of the product.

use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// A moment on CLOCK_BOOTTIME, the clock of `starttime` in `/proc/PID/stat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp(Duration);

/// The unit of `starttime`: USER_HZ, which is 100 on every architecture that Docker runs on.
const TICK: Duration = Duration::from_millis(10);

impl Stamp {
    pub fn now() -> Self {
        let time = clock_gettime(ClockId::Boottime);
        Self(Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0)))
    }

    pub fn from_ms(ms: u64) -> Self {
        Self(Duration::from_millis(ms))
    }

    /// A start time as the kernel counts it, rounded up: at that moment the process was there for certain.
    pub fn from_ticks(ticks: u64) -> Self {
        Self(TICK.saturating_mul(u32::try_from(ticks + 1).unwrap_or(u32::MAX)))
    }

    /// How long after `earlier` this was; zero if it was not.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    pub fn plus(self, time: Duration) -> Self {
        Self(self.0 + time)
    }
}
