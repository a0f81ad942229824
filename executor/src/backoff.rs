//! Back-off of restarts and of repeated tries. Pure. Used by workloads: how long to wait, and when a run was long enough to start from anew.

/// The first restart comes soon: most deaths are accidents, and the outage counts.
const FIRST_MS: u64 = 100;
const BASE_MS: u64 = 1_000;
const MAX_MS: u64 = 60_000;
/// After running this long, a death is a new accident.
pub const STEADY_MS: u64 = 60_000;

/// Counts tries in a row: waits 100 ms, then 1 s, 2 s, 4 s … 60 s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backoff {
    tries: u32,
}

impl Backoff {
    /// One more; how long to wait before it, in ms.
    pub fn next_ms(&mut self) -> u64 {
        let wait = match self.tries {
            0 => FIRST_MS,
            n => BASE_MS.saturating_mul(1_u64.checked_shl(n - 1).unwrap_or(u64::MAX)).min(MAX_MS),
        };
        self.tries = self.tries.saturating_add(1);
        wait
    }

    #[must_use]
    pub fn tries(&self) -> u32 {
        self.tries
    }

    pub fn reset(&mut self) {
        self.tries = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_starts_soon_then_doubles_up_to_a_minute() {
        let mut backoff = Backoff::default();
        let waits: Vec<u64> = (0..10).map(|_| backoff.next_ms()).collect();
        assert_eq!(waits, [100, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000]);
    }

    #[test]
    fn it_never_overflows() {
        let mut backoff = Backoff { tries: u32::MAX - 1 };
        assert_eq!(backoff.next_ms(), MAX_MS);
        assert_eq!(backoff.next_ms(), MAX_MS);
        assert_eq!(backoff.tries(), u32::MAX);
    }

    #[test]
    fn a_reset_starts_anew() {
        let mut backoff = Backoff::default();
        backoff.next_ms();
        backoff.next_ms();
        backoff.reset();
        assert_eq!(backoff.next_ms(), FIRST_MS);
    }
}
