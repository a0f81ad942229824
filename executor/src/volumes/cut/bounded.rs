//! A bound on what may hang in the kernel. Called by the parts of a cut; the thread that hangs is left behind, and ends when the kernel lets it.

use std::sync::mpsc::sync_channel;
use std::time::Duration;

use super::CutError;

/// Runs `act` on a thread of its own and waits for it, `at_most`.
pub(super) fn bounded<R: Send + 'static>(
    what: &'static str,
    at_most: Duration,
    act: impl FnOnce() -> R + Send + 'static,
) -> Result<R, CutError> {
    // One message: the result.
    let (sender, receiver) = sync_channel(1);
    let run = move || {
        let _ = sender.send(act());
    };
    std::thread::Builder::new().name("berth-cut".to_owned()).spawn(run).map_err(|error| CutError::io("start a thread for", what, error))?;
    let ms = u64::try_from(at_most.as_millis()).unwrap_or(u64::MAX);
    receiver.recv_timeout(at_most).map_err(|_| CutError::TooSlow { what, ms })
}

/// Looks until it holds, or `at_most` has passed; whether it holds.
#[allow(clippy::disallowed_methods, reason = "a thread of its own that must not depend on an async runtime; the time only bounds a wait")]
pub(super) fn eventually(at_most: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let begun = std::time::Instant::now();
    loop {
        if holds() {
            return true;
        }
        if begun.elapsed() >= at_most {
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test: it bounds its own waiting")]
mod tests {
    use super::*;

    #[test]
    fn what_hangs_is_left_behind_and_said() {
        let hang = || std::thread::sleep(Duration::from_secs(5));
        let error = bounded("the shutdown", Duration::from_millis(20), hang).unwrap_err();
        assert!(matches!(error, CutError::TooSlow { ms: 20, .. }), "{error}");
        assert_eq!(bounded("a sum", Duration::from_secs(5), || 1 + 1).unwrap(), 2);
    }

    #[test]
    fn a_wait_ends_with_its_time_or_with_what_it_waits_for() {
        let mut looks = 0;
        let three = || {
            looks += 1;
            looks == 3
        };
        assert!(eventually(Duration::from_secs(5), three));
        assert!(!eventually(Duration::from_millis(5), || false));
    }
}
