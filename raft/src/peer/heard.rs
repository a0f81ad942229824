//! When this node last heard its leader. Noted by the peer service, read for status and for who leads; never for a decision of the protocol.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::{Clock, RawTime};

/// Cheap to clone.
#[derive(Clone)]
pub struct Heard {
    clock: Arc<dyn Clock>,
    /// 0: never.
    last: Arc<AtomicU64>,
    silence_ms: u64,
}

impl Heard {
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, silence_ms: u64) -> Self {
        Self { clock, last: Arc::new(AtomicU64::new(0)), silence_ms }
    }

    pub fn note(&self) {
        self.last.store(self.clock.raw_now().0, Ordering::Relaxed);
    }

    /// Within the last `silence_ms`.
    #[must_use]
    pub fn lately(&self) -> bool {
        let last = self.last.load(Ordering::Relaxed);
        last != 0 && self.clock.raw_now().ms_since(RawTime(last)) < self.silence_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn a_leader_counts_as_heard_until_it_was_silent_for_too_long() {
        let clock = Arc::new(ManualClock::new(RawTime(1), 0));
        let heard = Heard::new(clock.clone(), 100);
        assert!(!heard.lately(), "never heard");
        heard.note();
        clock.advance_ms(99);
        assert!(heard.lately());
        clock.advance_ms(1);
        assert!(!heard.lately());
    }
}
