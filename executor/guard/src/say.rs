//! Words for people, on standard error. Must never block: whoever reads the other end may be stopped, and the deadline does not wait.

use std::error::Error;
use std::io::{self, Write as _};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// A pipe that can be written at all takes this much at once (PIPE_BUF).
const AT_ONCE: usize = 4096;

/// Says it, if that can be done without waiting.
pub(crate) fn say(text: &str) {
    let stderr = io::stderr();
    let mut fds = [PollFd::new(&stderr, PollFlags::OUT)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    if poll(&mut fds, Some(&at_once)) != Ok(1) || !fds[0].revents().contains(PollFlags::OUT) {
        return;
    }
    let line = format!("berth-guard: {text}\n");
    let _ = io::stderr().write_all(&line.as_bytes()[..line.len().min(AT_ONCE)]);
}

/// An error with its causes.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(lower) = cause {
        text.push_str(&format!(": {lower}"));
        cause = lower.source();
    }
    text
}
