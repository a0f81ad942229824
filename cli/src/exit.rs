//! Exit codes of the client commands: a frozen promise to scripts. Used by `failure` and by the help; docs/operations.md says the same,
//! and a test compares the two. Must never give a number another meaning.

use std::process::ExitCode;

/// How a command ended, as the shell sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Ok,
    Error,
    Usage,
    NotFound,
    Held,
    NoQuorum,
    Unknown,
    /// Of commands that compare: `proof`, `events --verify`.
    Differences,
    WaitTimedOut,
}

impl Exit {
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Error => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::Held => 4,
            Self::NoQuorum => 5,
            Self::Unknown => 6,
            Self::Differences => 7,
            Self::WaitTimedOut => 124,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.number())
    }
}

/// What `berth help exit-codes` prints.
pub const TABLE: &str = "\
Exit codes of client commands; they do not change between versions.

    0  ok
    1  error: the world failed, or the rules refuse for a reason not below (bad value, exists already, changed since)
    2  usage: the command line, the environment or the configuration file is wrong; nothing was sent
    3  not found: no object of that name, or it has ended
    4  refused because held or fenced: a lease stands in the way
    5  no quorum: no leader with a majority, or no server reachable at all; nothing was written
    6  outcome unknown: the write may have happened; the text has the command that asks again with the same request id
    7  differences found, by commands that compare; a proof that does not hold
  124  wait timed out: what was asked for is done or under way, but the state that --wait waits for is not reached yet

A reader that goes away early (`berth events | head -1`) is no error. `berth server` and `berth executor` end with 0, 1, 2, or 70\nafter a durable write that failed.";
