//! Waiting for a condition with a bound. Used by the whole lab and by its tests instead of timed sleeps; never waits without an end.

use anyhow::{Result, bail};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Tries `done` until it says yes, at most for `bound`; the error names `what` was awaited.
pub fn wait_until(what: &str, bound: Duration, mut done: impl FnMut() -> Result<bool>) -> Result<Duration> {
    let start = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        if done()? {
            return Ok(start.elapsed());
        }
        if start.elapsed() >= bound {
            bail!("waited {bound:?} in vain for {what}");
        }
        sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}
