//! `berth lease run VOLUME -- COMMAND…`: any program under a lease and its guard, without Docker. Asks this host's executor over its control socket, starts
//! the command in a pid namespace and control group of its own with the guard as its first process, and passes terminal, signals and exit code through.
//! Must never start anything without the guard, and never outlive its command's right: the guard and the executor see to that, not this program.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use berth_executor::external::SOCKET;
use berth_executor::external::local::{Answer, Ready, Request};
use rustix::process::{Pid, Signal};
use rustix::thread::UnshareFlags;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::signal::unix::{SignalKind, signal};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::say;
use crate::parse::duration;

/// The hidden subcommand that becomes the guard.
pub const CHILD_COMMAND: &str = "lease-child";
/// Where executors keep their run folders, if nothing else is said.
const RUN: &str = "/run/berth";

/// Run a command under a lease on this host, and end it when the lease is lost
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    /// A registered volume that the command needs
    #[arg(value_name = "VOLUME")]
    volume: String,
    /// Another one; may be repeated
    #[arg(long = "volume", value_name = "VOLUME")]
    more: Vec<String>,
    /// Also tell where a volume is mounted in this variable; `BERTH_VOLUME_NAME` always does
    #[arg(long, value_name = "VARIABLE=VOLUME", value_parser = crate::parse::pair::parse)]
    mount_env: Vec<(String, String)>,
    /// Wait so long for a volume that somebody else holds, instead of giving up at once (exit code 4)
    #[arg(long, value_name = "TIME", value_parser = duration::milliseconds)]
    wait: Option<u64>,
    /// After a revoke: between SIGTERM and SIGKILL
    #[arg(long, value_name = "TIME", value_parser = duration::milliseconds, default_value = "10s")]
    stop_grace: u64,
    /// Run folder of this host's executor [default: the only one in /run/berth]
    #[arg(long, value_name = "DIR", env = "BERTH_RUN_DIR")]
    run: Option<PathBuf>,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// Runs it; the command's exit code, or 128 and the signal that ended it.
#[must_use]
pub fn main(args: RunArgs) -> ExitCode {
    // One thread: only a process of one thread can give its next child a pid namespace and then go on.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::Output);
    match runtime.and_then(|runtime| runtime.block_on(run(args))) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            say(&format!("berth: {failure}"));
            let exit: Exit = failure.exit();
            exit.into()
        }
    }
}

async fn run(args: RunArgs) -> Result<u8, Failure> {
    let socket = socket(args.run.as_deref())?;
    let (mut lines, mut writing) = ask(&socket, &args).await?;
    let ready = answer(&mut lines, &socket).await?;
    let environment = environment(&args, &ready)?;
    let code = under_guard(&args.command, &ready, environment).await?;
    // The word of the end, and the wait for the release: the next one who wants the volume is to find it free.
    let word = format!("{{\"ended\":{code}}}\n");
    if writing.write_all(word.as_bytes()).await.is_ok() {
        let _ = lines.next_line().await;
    }
    Ok(code)
}

fn failed(what: impl std::fmt::Display, error: &io::Error) -> Failure {
    Failure::Ended(format!("{what}: {error}"))
}

fn socket(run: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(run) = run {
        return Ok(run.join(SOCKET));
    }
    let folders = std::fs::read_dir(RUN).into_iter().flatten().flatten();
    let found: Vec<PathBuf> = folders.map(|folder| folder.path().join(SOCKET)).filter(|socket| socket.exists()).collect();
    match found.as_slice() {
        [one] => Ok(one.clone()),
        [] => Err(Failure::Usage(format!(
            "no executor's control socket in {RUN}/*/{SOCKET}: is `berth executor` running here? --run says where"
        ))),
        _ => Err(Failure::Usage(format!("several executors have their run folders in {RUN}: choose one with --run"))),
    }
}

type Lines = tokio::io::Lines<BufReader<OwnedReadHalf>>;

async fn ask(socket: &Path, args: &RunArgs) -> Result<(Lines, OwnedWriteHalf), Failure> {
    let cannot =
        |error: io::Error| failed(format!("{}: the executor of this host cannot be asked (are you root?)", socket.display()), &error);
    let stream = UnixStream::connect(socket).await.map_err(cannot)?;
    let (reading, mut writing) = stream.into_split();
    let volumes = std::iter::once(&args.volume).chain(&args.more).cloned().collect();
    let request = Request { volumes, wait_ms: args.wait.unwrap_or(0), stop_grace_ms: args.stop_grace };
    let mut line = serde_json::to_vec(&request).map_err(|error| Failure::Ended(error.to_string()))?;
    line.push(b'\n');
    writing.write_all(&line).await.map_err(cannot)?;
    Ok((BufReader::new(reading).lines(), writing))
}

async fn answer(lines: &mut Lines, socket: &Path) -> Result<Ready, Failure> {
    let line = lines.next_line().await.map_err(|error| failed(socket.display(), &error))?;
    let line = line.ok_or_else(|| Failure::Ended("the executor ended before it answered; try again".to_owned()))?;
    match serde_json::from_str(&line) {
        Ok(Answer::Ready(ready)) => Ok(ready),
        Ok(Answer::Refused { kind, line }) => Err(match kind.as_str() {
            "held" => Failure::Alive(line),
            "not-found" => Failure::NotFound(line),
            _ => Failure::Ended(line),
        }),
        Ok(Answer::Released(_)) | Err(_) => {
            Err(Failure::Ended("the executor's answer cannot be read; use the same version on both sides".to_owned()))
        }
    }
}

fn environment(args: &RunArgs, ready: &Ready) -> Result<BTreeMap<String, String>, Failure> {
    let mut environment = ready.environment.clone();
    for (variable, volume) in &args.mount_env {
        let known = format!("BERTH_VOLUME_{}", volume.to_ascii_uppercase().replace(['-', '.'], "_"));
        let path = ready
            .environment
            .get(&known)
            .ok_or_else(|| Failure::Usage(format!("--mount-env {variable}: {volume} is not among the volumes")))?;
        environment.insert(variable.clone(), path.clone());
    }
    Ok(environment)
}

/// Starts the guard with the command, hands signals on, and waits.
async fn under_guard(command: &[OsString], ready: &Ready, environment: BTreeMap<String, String>) -> Result<u8, Failure> {
    let cgroup = ready.cgroup.as_ref().ok_or_else(|| Failure::Ended("this host has no control groups of version 2".to_owned()))?;
    let mut forwards = Forwards::new().map_err(|error| failed("signals", &error))?;
    let program = std::env::current_exe().map_err(|error| failed("this program's file", &error))?;
    own_pid_namespace().map_err(|error| failed("a pid namespace for the command (are you root?)", &error))?;
    let mut child = Command::new(program);
    child.arg(CHILD_COMMAND).arg(cgroup).args(&ready.guard).args(command).envs(environment).process_group(0);
    let mut child = tokio::process::Command::from(child).spawn().map_err(|error| failed("the guard", &error))?;
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    loop {
        tokio::select! {
            status = child.wait() => {
                let status = status.map_err(|error| failed("the guard", &error))?;
                let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
                return Ok(u8::try_from(code).unwrap_or(u8::MAX));
            }
            signal = forwards.next() => {
                if let Some(pid) = pid {
                    let _ = rustix::process::kill_process(pid, signal);
                }
            }
        }
    }
}

/// rustix marks its safe `unshare` as deprecated because of one flag, the file table, that is never given here; the alternative is an `unsafe` block.
#[allow(deprecated, reason = "the flag that makes it unsound is never given")]
fn own_pid_namespace() -> io::Result<()> {
    Ok(rustix::thread::unshare(UnshareFlags::NEWPID)?)
}

/// Signals that are the command's.
struct Forwards {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
    quit: tokio::signal::unix::Signal,
    one: tokio::signal::unix::Signal,
    two: tokio::signal::unix::Signal,
}

impl Forwards {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            quit: signal(SignalKind::quit())?,
            one: signal(SignalKind::user_defined1())?,
            two: signal(SignalKind::user_defined2())?,
        })
    }

    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::TERM,
            _ = self.interrupt.recv() => Signal::INT,
            _ = self.hangup.recv() => Signal::HUP,
            _ = self.quit.recv() => Signal::QUIT,
            _ = self.one.recv() => Signal::USR1,
            _ = self.two.recv() => Signal::USR2,
        }
    }
}

/// The hidden subcommand: first process of the new pid namespace. Joins the lease's control group, ties its life to the caller's, becomes the guard.
#[must_use]
pub fn child_main(mut args: impl Iterator<Item = OsString>) -> ExitCode {
    let Err(error) = become_guard(&mut args);
    say(&format!("berth: the guard cannot be started: {error}"));
    Exit::Error.into()
}

fn become_guard(args: &mut impl Iterator<Item = OsString>) -> Result<std::convert::Infallible, io::Error> {
    let missing = || io::Error::from(io::ErrorKind::InvalidInput);
    let (cgroup, guard) = (PathBuf::from(args.next().ok_or_else(missing)?), args.next().ok_or_else(missing)?);
    // 0 means the writer itself. A group that is gone means that the lease is.
    let procs = cgroup.join("cgroup.procs");
    let joined = std::fs::OpenOptions::new().write(true).open(&procs).and_then(|mut file| io::Write::write_all(&mut file, b"0"));
    joined.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", procs.display())))?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    Err(Command::new(guard).args(args).exec())
}
