//! Signal names. Called by `create` (checks the stop signal), `stop` and the shim (names a cause of death).

use rustix::process::Signal;

const NAMES: [(&str, Signal); 22] = [
    ("SIGHUP", Signal::HUP),
    ("SIGINT", Signal::INT),
    ("SIGQUIT", Signal::QUIT),
    ("SIGILL", Signal::ILL),
    ("SIGTRAP", Signal::TRAP),
    ("SIGABRT", Signal::ABORT),
    ("SIGBUS", Signal::BUS),
    ("SIGFPE", Signal::FPE),
    ("SIGKILL", Signal::KILL),
    ("SIGUSR1", Signal::USR1),
    ("SIGSEGV", Signal::SEGV),
    ("SIGUSR2", Signal::USR2),
    ("SIGPIPE", Signal::PIPE),
    ("SIGALRM", Signal::ALARM),
    ("SIGTERM", Signal::TERM),
    ("SIGCONT", Signal::CONT),
    ("SIGXCPU", Signal::XCPU),
    ("SIGXFSZ", Signal::XFSZ),
    ("SIGVTALRM", Signal::VTALARM),
    ("SIGPROF", Signal::PROF),
    ("SIGWINCH", Signal::WINCH),
    ("SIGSYS", Signal::SYS),
];

/// `SIGTERM`, `TERM` or `15`. `None` for what is no signal or none that this runtime sends (real-time signals, SIGSTOP).
pub(super) fn parse(text: &str) -> Option<Signal> {
    let number = text.parse::<i32>().ok();
    let found =
        NAMES.iter().find(|(name, signal)| *name == text || name.strip_prefix("SIG") == Some(text) || number == Some(signal.as_raw()));
    found.map(|(_, signal)| *signal)
}

/// `signal 9 (SIGKILL)`.
pub(super) fn describe(number: i32) -> String {
    match NAMES.iter().find(|(_, signal)| signal.as_raw() == number) {
        Some((name, _)) => format!("signal {number} ({name})"),
        None => format!("signal {number}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_has_three_spellings_and_nonsense_none() {
        for text in ["SIGTERM", "TERM", "15"] {
            assert_eq!(parse(text), Some(Signal::TERM), "{text}");
        }
        for text in ["", "SIG", "SIGNO", "term", "-15", "0", "SIGSTOP", "SIGRTMIN+3"] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(describe(9), "signal 9 (SIGKILL)");
        assert_eq!(describe(40), "signal 40");
    }
}
