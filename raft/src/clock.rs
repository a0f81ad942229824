//! The node's one clock. Used by everything here that counts time or stamps a command; nothing else may read a clock, so that a simulation
//! can own it.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::time::{ClockId, clock_gettime};

const NS_PER_MS: u64 = 1_000_000;

/// A point on this node's own unslewed clock: nanoseconds of `CLOCK_MONOTONIC_RAW` since this machine started.
///
/// Comparable only on one node and within one boot. NTP never slews it, which is what notes need (L19): `std`'s `Instant` may run up
/// to a tenth too fast or too slow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RawTime(pub u64);

impl RawTime {
    /// Saturates: a time that far away is never reached.
    #[must_use]
    pub fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms.saturating_mul(NS_PER_MS)))
    }

    /// Whole milliseconds since `earlier`, rounded down so that an elapsed time is never overstated; 0 when `earlier` is later.
    #[must_use]
    pub fn ms_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0) / NS_PER_MS
    }
}

impl fmt::Display for RawTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}s", self.0 / 1_000_000_000, self.0 % 1_000_000_000)
    }
}

/// Where time enters the control node.
pub trait Clock: Send + Sync {
    /// For every decision: never goes back, never slewed.
    fn raw_now(&self) -> RawTime;

    /// Unix time in milliseconds. For people to read; decides nothing, and may jump.
    fn unix_ms(&self) -> u64;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl SystemClock {
    #[must_use]
    pub fn new() -> Self {
        Self
    }
}

impl Clock for SystemClock {
    fn raw_now(&self) -> RawTime {
        RawTime(ns(ClockId::MonotonicRaw))
    }

    fn unix_ms(&self) -> u64 {
        ns(ClockId::Realtime) / NS_PER_MS
    }
}

/// A clock set before its epoch reads as 0.
fn ns(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let (seconds, nanoseconds) = (u64::try_from(time.tv_sec).unwrap_or(0), u64::try_from(time.tv_nsec).unwrap_or(0));
    seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds)
}

/// A clock that stands still until it is moved; for tests.
#[derive(Debug, Default)]
pub struct ManualClock {
    raw_ns: AtomicU64,
    unix_ms: AtomicU64,
}

impl ManualClock {
    #[must_use]
    pub fn new(raw: RawTime, unix_ms: u64) -> Self {
        Self { raw_ns: AtomicU64::new(raw.0), unix_ms: AtomicU64::new(unix_ms) }
    }

    /// Moves both clocks on.
    pub fn advance_ms(&self, ms: u64) {
        self.raw_ns.fetch_add(ms.saturating_mul(NS_PER_MS), Ordering::SeqCst);
        self.unix_ms.fetch_add(ms, Ordering::SeqCst);
    }

    /// Sets the wall clock only, as an operator or NTP does.
    pub fn step_unix_ms(&self, unix_ms: u64) {
        self.unix_ms.store(unix_ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn raw_now(&self) -> RawTime {
        RawTime(self.raw_ns.load(Ordering::SeqCst))
    }

    fn unix_ms(&self) -> u64 {
        self.unix_ms.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elapsed_time_is_rounded_down_and_never_negative() {
        let start = RawTime(1_500_000);
        assert_eq!(RawTime(3_499_999).ms_since(start), 1);
        assert_eq!(RawTime(3_500_000).ms_since(start), 2);
        assert_eq!(start.ms_since(RawTime(9_000_000)), 0);
    }

    #[test]
    fn a_time_too_far_away_saturates() {
        assert_eq!(RawTime(7).plus_ms(u64::MAX), RawTime(u64::MAX));
    }

    #[test]
    fn the_raw_clock_moves_and_never_goes_back() {
        let clock = SystemClock::new();
        let first = clock.raw_now();
        assert!(first > RawTime(0));
        let mut last = first;
        while last.ms_since(first) < 2 {
            let now = clock.raw_now();
            assert!(now >= last);
            last = now;
        }
    }

    #[test]
    fn the_wall_clock_reads_milliseconds_of_this_century() {
        let y2020 = 1_577_836_800_000;
        assert!((y2020..y2020 + 80 * 31_557_600_000).contains(&SystemClock::new().unix_ms()));
    }

    #[test]
    fn a_step_of_the_wall_clock_leaves_the_raw_clock_alone() {
        let clock = ManualClock::new(RawTime(5), 1_000);
        clock.advance_ms(10);
        clock.step_unix_ms(3);
        assert_eq!((clock.raw_now(), clock.unix_ms()), (RawTime(5).plus_ms(10), 3));
    }
}
