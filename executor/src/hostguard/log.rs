//! The guard's own log: lines on standard error, which is a file in the run folder. Bounded, because that folder is memory.

use std::fs::File;
use std::os::fd::AsFd;

use rustix::time::{ClockId, clock_gettime};

/// Then it begins anew.
const MOST_BYTES: u64 = 1 << 20;

/// One line. Never fails: whether it can be written must not matter.
pub(super) fn say(text: &str) {
    let time = clock_gettime(ClockId::Realtime);
    let stderr = std::io::stderr();
    if let Ok(file) = stderr.as_fd().try_clone_to_owned().map(File::from)
        && file.metadata().is_ok_and(|found| found.is_file() && found.len() > MOST_BYTES)
    {
        let _ = file.set_len(0);
    }
    let line = format!("{}.{:03} {text}\n", time.tv_sec, time.tv_nsec / 1_000_000);
    let _ = std::io::Write::write_all(&mut stderr.lock(), line.as_bytes());
}
