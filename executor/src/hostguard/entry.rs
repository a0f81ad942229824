//! The hidden subcommand `host-guard` of the berth binary. Called by the binary's main function before any thread exists.
//!
//! ```text
//! berth host-guard --run DIR [--watchdog DEVICE] [--watchdog-timeout SECONDS] [--take-over] [--foreground]
//! ```
//!
//! Without `--foreground` it starts itself once more, in a session of its own and as nobody's child, and ends.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::folder::{self, RunFolder};
use super::guard::{Ended, HostGuard};
use super::hands::{Hands, SystemHands, chain};
use super::lock::Lock;
use super::log::say;
use super::process;
use super::watchdog::{Device, Keeper};
use crate::clock::SystemHolderClock;

/// The word on the command line that [`host_guard_main`] is for.
pub const HOST_GUARD_COMMAND: &str = "host-guard";
/// Another guard has this run folder, and keeps it.
pub const ALREADY_THERE: u8 = 3;
/// When nothing else is said: half of the default ttl.
pub const DEFAULT_TIMEOUT_S: u32 = 5;

/// For each thread: what one cut needs, and little memory to lock.
const STACK: &str = "524288";
/// For the programs of drivers.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// How often and how far apart the former guard's lock is tried: 5 s together.
const TRIES: u32 = 500;
const TRY_EVERY: Duration = Duration::from_millis(10);

#[derive(Debug, Default, PartialEq, Eq)]
struct Arguments {
    run: PathBuf,
    watchdog: Option<PathBuf>,
    timeout_s: Option<u32>,
    take_over: bool,
    foreground: bool,
}

impl Arguments {
    fn parse(words: &[OsString]) -> Result<Self, String> {
        let mut parsed = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let name = word.to_string_lossy().into_owned();
            let mut value = || words.next().ok_or_else(|| format!("{name}: a value is missing"));
            match name.as_str() {
                "--run" => parsed.run = value()?.into(),
                "--watchdog" => parsed.watchdog = Some(value()?.into()),
                "--watchdog-timeout" => {
                    let seconds = value()?.to_str().and_then(|text| text.parse().ok()).filter(|seconds| *seconds > 0);
                    parsed.timeout_s = Some(seconds.ok_or("--watchdog-timeout: whole seconds, at least 1")?);
                }
                "--take-over" => parsed.take_over = true,
                "--foreground" => parsed.foreground = true,
                _ => return Err(format!("unknown option {name}")),
            }
        }
        if parsed.run.as_os_str().is_empty() { Err("--run is missing".to_owned()) } else { Ok(parsed) }
    }
}

/// The hidden subcommand; `args` are the words after its name. To be called before any thread is started.
pub fn host_guard_main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let words: Vec<OsString> = args.into_iter().collect();
    let result = Arguments::parse(&words).map_err(io::Error::other).and_then(|arguments| {
        if arguments.foreground { guard(&arguments) } else { detach(&arguments, &words).map(|()| ExitCode::SUCCESS) }
    });
    result.unwrap_or_else(|error| {
        say(&format!("berth host-guard: {error}"));
        ExitCode::FAILURE
    })
}

/// A session of its own, then a child that nobody waits for.
fn detach(arguments: &Arguments, words: &[OsString]) -> io::Result<()> {
    let run = RunFolder::make(&arguments.run)?;
    // Fails only for the leader of a group, which whoever started us may have made us: then the group is ours alone.
    let _ = rustix::process::setsid();
    let log = OpenOptions::new().create(true).append(true).mode(0o600).open(run.log())?;
    // Not by its path: the program may have been replaced meanwhile.
    let mut next = Command::new("/proc/self/exe");
    next.arg0("berth").arg(HOST_GUARD_COMMAND).args(words).arg("--foreground");
    next.env_clear().env("PATH", PATH).env("RUST_MIN_STACK", STACK).current_dir("/");
    next.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn().map(drop)
}

fn guard(arguments: &Arguments) -> io::Result<ExitCode> {
    SystemHolderClock::new().map_err(|error| io::Error::other(chain(&error)))?;
    let run = RunFolder::make(&arguments.run)?;
    let Some(lock) = lock(&run, arguments.take_over)? else {
        say("another guard has this run folder");
        return Ok(ExitCode::from(ALREADY_THERE));
    };
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT, SIGHUP] {
        // Asked to stop it still stays while a lease could need it.
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    process::settle(run.path()).iter().for_each(|missing| say(missing));
    let hands = SystemHands;
    let watchdog = arguments.watchdog.as_deref().and_then(|device| watchdog(device, arguments.timeout_s, &hands));
    say(&format!("guarding {} as pid {}", run.path().display(), std::process::id()));
    match HostGuard::new(run, Arc::new(hands), watchdog, lock, stop)?.run() {
        Ended::HandedOver | Ended::Stopped => Ok(ExitCode::SUCCESS),
    }
}

/// The one lock of the folder; waits for it where the holder is asked to hand over.
#[allow(
    clippy::disallowed_methods,
    reason = "single-threaded, without an async runtime; the file lock offers nothing to wait for with a limit"
)]
fn lock(run: &RunFolder, take_over: bool) -> io::Result<Option<Lock>> {
    let mut taken = Lock::sole(&run.lock())?;
    if taken.is_none() && take_over {
        folder::replace(&run.hand_over(), std::process::id().to_string().as_bytes())?;
        for _ in 0..TRIES {
            std::thread::sleep(TRY_EVERY);
            taken = Lock::sole(&run.lock())?;
            if taken.is_some() {
                break;
            }
        }
    }
    // Ours by now, or nobody's: whoever begins must not hand over at once.
    if taken.is_some() || take_over {
        let _ = std::fs::remove_file(run.hand_over());
    }
    Ok(taken)
}

/// Without it the guard is worth less, and the executor sees that; but it is still worth something.
fn watchdog(device: &Path, timeout_s: Option<u32>, hands: &SystemHands) -> Option<Keeper> {
    match Device::open(device, timeout_s.unwrap_or(DEFAULT_TIMEOUT_S)) {
        Ok(device) => Some(Keeper::new(Box::new(device), hands.now_ns())),
        Err(error) => {
            say(&format!("no watchdog: {}", chain(&error)));
            None
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test")]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, String> {
        Arguments::parse(&line.split_whitespace().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn its_command_line_is_understood_and_nonsense_is_refused() {
        let full = parse("--run /run/berth/h1 --watchdog /dev/watchdog0 --watchdog-timeout 7 --take-over --foreground").unwrap();
        let watchdog = Some("/dev/watchdog0".into());
        assert_eq!(full, Arguments { run: "/run/berth/h1".into(), watchdog, timeout_s: Some(7), take_over: true, foreground: true });
        for nonsense in ["", "--foreground", "--run", "--run x --watchdog", "--run x --watchdog-timeout 0", "--run x --nonsense"] {
            parse(nonsense).unwrap_err();
        }
    }
}
