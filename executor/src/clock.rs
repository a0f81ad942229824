//! The holder's clock (L19), the one seam through which time enters the executor. Every deadline is decided by it; timers of the async runtime are
//! hints only. Must never be slewed by NTP, stand still in suspend, or differ between two processes of one boot.

use std::fmt;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::time::{ClockId, clock_gettime};

const NS_PER_MS: u64 = 1_000_000;

/// A point on the holder's clock: nanoseconds of unslewed time since boot, suspend included. Comparable within one boot only, across processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HolderTime(pub u64);

impl HolderTime {
    /// Saturates: a time that far away is never reached.
    #[must_use]
    pub fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms.saturating_mul(NS_PER_MS)))
    }

    /// Whole milliseconds since `earlier`, rounded down; 0 when `earlier` is later.
    #[must_use]
    pub fn ms_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0) / NS_PER_MS
    }
}

impl fmt::Display for HolderTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}s", self.0 / 1_000_000_000, self.0 % 1_000_000_000)
    }
}

/// Where time enters the executor.
pub trait HolderClock: Send + Sync + 'static {
    /// For every decision. Lies between the start and the end of the call, so that a value read before a message is built is never
    /// later than the message.
    fn now(&self) -> HolderTime;

    /// Unix time in milliseconds, for people; decides nothing.
    fn unix_ms(&self) -> u64;
}

/// Why this machine's clock cannot be trusted.
#[derive(Debug, thiserror::Error)]
pub enum ClockError {
    #[error("cannot read {path}, so whether this process has the host's clock is unknown")]
    Unreadable { path: &'static str, source: std::io::Error },
    #[error("{one} and {other} name different time namespaces ({left}, {right}): start the executor in the host's time namespace")]
    TimeNamespace { one: &'static str, other: &'static str, left: String, right: String },
}

/// The machine's clock, by the formula that the guard uses too ([`berth_guard::clock`]).
#[derive(Clone, Copy, Debug)]
pub struct SystemHolderClock(());

impl SystemHolderClock {
    /// # Errors
    /// [`ClockError`] when this process, or what it would start, lives in another time namespace than the host.
    pub fn new() -> Result<Self, ClockError> {
        let own = namespace(OWN)?;
        same(OWN, &own, CHILDREN, namespace(CHILDREN)?)?;
        // Only root may look at process 1; for an ordinary user there is nothing to compare with.
        match namespace(HOST) {
            Ok(host) => same(OWN, &own, HOST, host)?,
            Err(error) => tracing::debug!(%error, "the host's time namespace cannot be seen"),
        }
        Ok(Self(()))
    }
}

const OWN: &str = "/proc/self/ns/time";
const CHILDREN: &str = "/proc/self/ns/time_for_children";
const HOST: &str = "/proc/1/ns/time";

/// `none` on a kernel without time namespaces: there everybody has the host's clock.
fn namespace(path: &'static str) -> Result<String, ClockError> {
    match fs::read_link(path) {
        Ok(target) => Ok(target.to_string_lossy().into_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok("none".to_owned()),
        Err(source) => Err(ClockError::Unreadable { path, source }),
    }
}

fn same(one: &'static str, left: &str, other: &'static str, right: String) -> Result<(), ClockError> {
    if left == right { Ok(()) } else { Err(ClockError::TimeNamespace { one, other, left: left.to_owned(), right }) }
}

impl HolderClock for SystemHolderClock {
    fn now(&self) -> HolderTime {
        HolderTime(berth_guard::clock::now_ns())
    }

    /// A clock set before 1970 reads as 0.
    fn unix_ms(&self) -> u64 {
        let time = clock_gettime(ClockId::Realtime);
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        seconds.saturating_mul(1_000).saturating_add(u64::try_from(time.tv_nsec).unwrap_or(0) / NS_PER_MS)
    }
}

/// A clock that stands still until it is moved; for tests and the simulation. Clones share one time.
#[derive(Clone, Debug, Default)]
pub struct ManualHolderClock(Arc<AtomicU64>);

impl ManualHolderClock {
    #[must_use]
    pub fn at(time: HolderTime) -> Self {
        Self(Arc::new(AtomicU64::new(time.0)))
    }

    pub fn advance_ms(&self, ms: u64) {
        self.0.fetch_add(ms * NS_PER_MS, Ordering::SeqCst);
    }
}

impl HolderClock for ManualHolderClock {
    fn now(&self) -> HolderTime {
        HolderTime(self.0.load(Ordering::SeqCst))
    }

    fn unix_ms(&self) -> u64 {
        self.0.load(Ordering::SeqCst) / NS_PER_MS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_clock_never_goes_back_and_is_the_same_for_all() {
        let (one, other) = (SystemHolderClock::new().unwrap(), SystemHolderClock::new().unwrap());
        let mut last = HolderTime(0);
        for _ in 0..10_000 {
            for clock in [one, other] {
                let now = clock.now();
                assert!(now >= last, "{now} came after {last}");
                last = now;
            }
        }
    }

    #[test]
    fn another_time_namespace_is_refused() {
        assert!(same(OWN, "time:[1]", CHILDREN, "time:[1]".to_owned()).is_ok());
        let error = same(OWN, "time:[1]", CHILDREN, "time:[2]".to_owned()).unwrap_err();
        assert!(error.to_string().contains("time:[2]"), "{error}");
    }
}
