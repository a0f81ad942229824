//! The hidden subcommand `shim` of the berth binary. Called by the binary's main function before any thread exists.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use super::isolation::{Isolation, PROBE_FULL, PROBE_NO_PROC};
use super::{enter, init, shim};

/// The word on the command line that [`shim_main`] is for.
pub const SHIM_COMMAND: &str = "shim";

/// Says that the hidden subcommand failed, as Docker does for its own failures.
const FAILED: u8 = 125;

/// The hidden subcommand `berth shim …`; `args` are the words after `shim`. To be called before any thread or runtime is started:
/// a user namespace can be entered by a single-threaded process only.
///
/// - `run <folder> <id>`: the parent of an instance.
/// - `init <folder>`: its first process.
/// - `enter <folder> <command…>`: a command inside it.
/// - `probe <isolation>`: tries what `run` and `init` would do.
pub fn shim_main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    let words: Vec<&OsStr> = args.iter().map(OsString::as_os_str).collect();
    let verb = words.first().and_then(|word| word.to_str());
    let result = match (verb, &words[1.min(words.len())..]) {
        (Some("run"), [folder, id]) => shim::run(folder, id).map(|()| ExitCode::SUCCESS),
        (Some("init"), [folder]) => init::run(folder),
        (Some("enter"), [folder, argv @ ..]) => enter::run(folder, argv.iter().map(OsString::from).collect()),
        (Some("probe"), [isolation]) => probe(isolation),
        (Some("probe-init"), []) => Ok(ExitCode::from(if init::own_proc().is_ok() { PROBE_FULL } else { PROBE_NO_PROC })),
        (_, _) => Err(io::Error::other("`berth shim` is for the executor's own use")),
    };
    result.unwrap_or_else(|error| {
        eprintln!("berth shim: {error}");
        ExitCode::from(FAILED)
    })
}

fn probe(isolation: &OsStr) -> io::Result<ExitCode> {
    let isolation = isolation.to_str().and_then(Isolation::from_word).ok_or_else(|| io::Error::other("unknown isolation"))?;
    let binary = std::env::current_exe()?;
    isolation.enter()?;
    let status = Command::new(Path::new(&binary)).args([SHIM_COMMAND, "probe-init"]).env_clear().stdin(Stdio::null()).status()?;
    Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(FAILED)))
}
