//! The loop: one child, the deadline, and the signals between. Timers are hints only; each round reads clock and page anew (L19), so that a deadline that was
//! lowered is noticed as well.

use std::ffi::OsString;
use std::time::Duration;

use berth_guard::page::PageReader;
use berth_guard::status::{Phase, StatusWriter};
use berth_guard::{clock, exit};
use rustix::process::{WaitOptions, WaitStatus};

use crate::say::say;
use crate::spawn::{self, Child};
use crate::sweep;
use crate::sys::{self, Caught, Mask};

/// How often clock and page are read. A lowered deadline must be noticed within 50 ms.
const POLL: Duration = Duration::from_millis(20);
/// The same while a program is being started: its start sends no signal.
const START_POLL: Duration = Duration::from_millis(1);
/// Dead processes that are reaped in one round: whoever makes many must not hold up the look at the deadline.
const REAPED_AT_ONCE: usize = 64;

pub(crate) struct Guard {
    page: PageReader,
    status: Option<StatusWriter>,
    mask: Mask,
    /// Taken while a hook ran; the command gets them too, or a stop during a hook would be lost.
    kept: Vec<Caught>,
}

/// How a watched child ended.
#[derive(Clone, Copy)]
pub(crate) enum Ended {
    With(End),
    /// Its own time limit is over; it still runs.
    TimedOut,
    /// The lease is over; it still runs.
    DeadlinePassed,
    /// There was no child.
    Nothing,
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Code(u8),
    Signal(u8),
    /// It never ran: 126 or 127.
    NotStarted(u8),
}

impl End {
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Code(code) | Self::NotStarted(code) => code,
            Self::Signal(signal) => exit::SIGNAL_BASE.saturating_add(signal),
        }
    }

    pub(crate) fn for_command(self) -> (Phase, u8) {
        let phase = match self {
            Self::Code(code) => Phase::Exited(code),
            Self::Signal(signal) => Phase::Killed(signal),
            Self::NotStarted(code) => Phase::NotStarted(code),
        };
        (phase, self.code())
    }

    fn of(status: WaitStatus) -> Option<Self> {
        let byte = |number: i32| u8::try_from(number & 0xff).unwrap_or(u8::MAX);
        status
            .exit_status()
            .map(|code| Self::Code(byte(code)))
            .or_else(|| status.terminating_signal().map(|signal| Self::Signal(byte(signal))))
    }
}

impl Guard {
    pub(crate) fn new(page: PageReader, status: Option<StatusWriter>, mask: Mask) -> Self {
        if !sys::is_first() {
            // As PID 1 would be: orphans come here, so that none is out of sight at the deadline.
            if let Err(error) = rustix::process::set_child_subreaper(Some(rustix::process::getpid())) {
                say(&format!("orphans cannot be followed: {error}"));
            }
        }
        // So that no memory pressure keeps it from its deadline. Forbidden to some; then it is as before.
        let _ = rustix::mm::mlockall(rustix::mm::MlockAllFlags::CURRENT);
        Self { page, status, mask, kept: Vec::new() }
    }

    pub(crate) fn tell(&self, phase: Phase) {
        crate::tell(self.status.as_ref(), phase);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.left().is_none()
    }

    fn left(&self) -> Option<Duration> {
        self.page.deadline().left_ns(clock::now_ns()).map(Duration::from_nanos)
    }

    pub(crate) fn run_command(&mut self, command: &[OsString]) -> Ended {
        let kept = std::mem::take(&mut self.kept);
        let mut child = match spawn::spawn(command, &self.mask) {
            Ok(child) => child,
            Err(error) => {
                say(&format!("no process for the command: {error}"));
                return Ended::With(End::NotStarted(exit::NOT_EXECUTABLE));
            }
        };
        let ended = self.watch(&mut child, None, &kept, Some(Phase::Running));
        if let Some(error) = &child.failed {
            say(&format!("{}: {error}", command[0].to_string_lossy()));
        }
        ended
    }

    /// Runs a program for `at_most`.
    pub(crate) fn run_limited(&mut self, command: &[OsString], at_most: Duration) -> (Ended, Option<std::io::Error>) {
        let mut child = match spawn::spawn(command, &self.mask) {
            Ok(child) => child,
            Err(error) => return (Ended::With(End::NotStarted(exit::NOT_EXECUTABLE)), Some(error)),
        };
        let ended = self.watch(&mut child, Some(at_most), &[], None);
        (ended, child.failed)
    }

    /// Until the child has ended or its time or the lease's is over. `kept` is forwarded as soon as its program runs, and `phase` told then.
    fn watch(&mut self, child: &mut Child, at_most: Option<Duration>, kept: &[Caught], phase: Option<Phase>) -> Ended {
        let begun = clock::now_ns();
        loop {
            let Some(left) = self.left() else { return Ended::DeadlinePassed };
            let mut wait = left.min(if child.is_starting() { START_POLL } else { POLL });
            if let Some(limit) = at_most {
                let spent = Duration::from_nanos(clock::now_ns().saturating_sub(begun));
                match limit.checked_sub(spent).filter(|rest| !rest.is_zero()) {
                    Some(rest) => wait = wait.min(rest),
                    None => return Ended::TimedOut,
                }
            }
            if let Some(caught) = sys::next_signal(wait).filter(|caught| !caught.is_child()) {
                // To the program alone, as if it were PID 1 itself: what its children are to be told is its business.
                caught.forward(child.pid);
                if phase.is_none() && !self.kept.iter().any(|kept| kept.number == caught.number) {
                    self.kept.push(caught);
                }
            }
            if child.listen() {
                if let Some(phase) = phase {
                    self.tell(phase);
                }
                kept.iter().for_each(|caught| caught.forward(child.pid));
            }
            if let Some(end) = reap(child) {
                return end;
            }
        }
    }

    /// Kills and reaps everything but the guard; whether nothing is left, or why it stopped looking.
    pub(crate) fn sweep(&self, at_most: Duration) -> Ended {
        let begun = clock::now_ns();
        loop {
            sweep::kill_others();
            if sweep::reap_all() {
                return Ended::Nothing;
            }
            if self.is_over() {
                return Ended::DeadlinePassed;
            }
            if Duration::from_nanos(clock::now_ns().saturating_sub(begun)) >= at_most {
                return Ended::TimedOut;
            }
            sys::next_signal(START_POLL);
        }
    }

    /// The command has ended. With PID 1 the kernel ends the rest.
    pub(crate) fn sweep_at_end(&self) {
        if !sys::is_first() {
            let _ = self.sweep(sweep::AT_END);
            spawn::give_terminal_back();
        }
    }

    /// The lease is over. Says nothing to anybody who might not listen.
    pub(crate) fn end_at_deadline(&self) -> u8 {
        if !sys::is_first() {
            sweep::kill_until_gone();
            spawn::give_terminal_back();
        }
        self.tell(Phase::DeadlinePassed);
        exit::DEADLINE_PASSED
    }
}

/// Reaps what is dead; the child's end, if it is among them.
fn reap(child: &mut Child) -> Option<Ended> {
    for _ in 0..REAPED_AT_ONCE {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid == child.pid => {
                child.listen();
                let end = match &child.failed {
                    Some(error) => End::NotStarted(spawn::failure_code(error)),
                    None => End::of(status)?,
                };
                return Some(Ended::With(end));
            }
            Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
            Ok(None) | Err(_) => return None,
        }
    }
    None
}
