//! The first process of an instance: PID 1 of its namespace where there is one. Spawned by the shim, which it tells what happens.
//! Becomes the guard later, so it stays small: no thread, no timer, no signal handler (PID 1 needs none: signals reach the command
//! directly, and the kernel ignores those sent to a PID 1 that has no handler). Must never outlive the shim or start two commands.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, ExitCode, Stdio};

use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_bind, mount_change, mount_remount};
use rustix::process::{Pid, Signal, WaitOptions};
use rustix::thread::UnshareFlags;

use super::folder::InstanceFolder;
use super::record::Plan;
use super::{DEFAULT_PATH, cgroup, isolation};
use crate::runtime::InstanceSpec;

/// Exit codes for a command that did not start: Docker's.
const SETUP_FAILED: i32 = 125;
const NOT_EXECUTABLE: i32 = 126;
const NOT_FOUND: i32 = 127;

struct Failure {
    code: i32,
    reason: String,
}

/// Runs the instance in `folder`. Says to the shim, over standard input: `running <pid>`, then `exited <code>` or
/// `signalled <number>`; or `failed <code> <reason>`.
pub(super) fn run(folder: &OsStr) -> io::Result<ExitCode> {
    // Fail-stop: without the shim nobody would take the output or note the end.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    let mut control = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut go = [0];
    // Ends without a word if the shim died before the line above, or could not note this process down.
    control.read_exact(&mut go)?;

    let folder = InstanceFolder::new(folder.into());
    let (last_words, code) = match start(&folder) {
        Ok(command) => {
            writeln!(control, "running {command}")?;
            wait_for(command)?
        }
        Err(failure) => (format!("failed {} {}", failure.code, failure.reason.replace('\n', " ")), failure.code),
    };
    writeln!(control, "{last_words}")?;
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)))
}

fn start(folder: &InstanceFolder) -> Result<u32, Failure> {
    let setup = |what: &str, error: io::Error| Failure { code: SETUP_FAILED, reason: format!("{what}: {error}") };
    let plan = folder.plan().and_then(|plan| plan.ok_or_else(|| io::Error::other("missing"))).map_err(|error| setup("plan.json", error))?;
    let spec = folder.stored().map_err(|error| setup("spec.json", error))?.spec;
    // First of all: what is not in the group yet would escape its kill.
    cgroup::join_all(&plan).map_err(|error| setup("control group", error))?;
    if !plan.isolation.has_pid_namespace() {
        // As PID 1 would: orphans come here to be reaped.
        rustix::process::set_child_subreaper(Some(rustix::process::getpid())).map_err(|error| setup("subreaper", error.into()))?;
    }
    private_view(&plan, &spec)?;
    spawn(folder, &spec)
}

/// Own mounts: /proc of this pid namespace, read-only volumes.
fn private_view(plan: &Plan, spec: &InstanceSpec) -> Result<(), Failure> {
    let failed = |what: String, error: io::Error| Failure { code: SETUP_FAILED, reason: format!("{what}: {error}") };
    if plan.own_proc {
        own_proc().map_err(|error| failed("mount of /proc".to_owned(), error))?;
    }
    for mounted in spec.mounts.iter().filter(|mounted| mounted.read_only && plan.read_only_mounts) {
        // Onto itself, because only a mount of its own can be made read-only without touching the host's. Not recursive: what is
        // mounted below would stay writable, so it is hidden.
        mount_bind(&mounted.source, &mounted.source)
            .and_then(|()| mount_remount(&mounted.source, MountFlags::BIND | MountFlags::RDONLY, ""))
            .map_err(|error| failed(format!("read-only mount of {}", mounted.source.display()), error.into()))?;
    }
    // What a user namespace lent for these mounts is not the command's.
    rustix::thread::clear_ambient_capability_set().map_err(|error| failed("ambient capabilities".to_owned(), error.into()))
}

/// Mounts a /proc that shows this pid namespace. Also what the probe tries.
pub(super) fn own_proc() -> io::Result<()> {
    isolation::unshare(UnshareFlags::NEWNS)?;
    // Downstream, not private: when the host unmounts a volume it must go here too, or its file system would stay in use.
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?;
    Ok(mount("proc", "/proc", "proc", MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC, None)?)
}

/// Starts the command and forgets its handle: [`wait_for`] reaps it together with the orphans.
fn spawn(folder: &InstanceFolder, spec: &InstanceSpec) -> Result<u32, Failure> {
    let Some((program, arguments)) = spec.command.split_first() else {
        return Err(Failure { code: SETUP_FAILED, reason: "the command is empty".to_owned() });
    };
    let spawned = command(folder, spec, program, arguments).spawn();
    spawned.map(|child| child.id()).map_err(|error| Failure { code: start_failure(&error), reason: format!("{program}: {error}") })
}

/// A command of the instance as it must be started, standard output and error still the caller's.
pub(super) fn command(folder: &InstanceFolder, spec: &InstanceSpec, program: &str, arguments: &[String]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).env_clear().env("PATH", DEFAULT_PATH).envs(&spec.environment).current_dir(folder.work()).stdin(Stdio::null());
    command
}

/// The exit code that stands for a program that could not be executed.
pub(super) fn start_failure(error: &io::Error) -> i32 {
    if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { NOT_EXECUTABLE }
}

/// Reaps until the command itself has ended. Returns the words for it, and the exit code.
fn wait_for(command: u32) -> io::Result<(String, i32)> {
    loop {
        let (pid, status) = match rustix::process::wait(WaitOptions::empty()) {
            Ok(Some(ended)) => ended,
            Ok(None) | Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        };
        if u32::try_from(Pid::as_raw(Some(pid))).ok() != Some(command) {
            continue;
        }
        if let Some(code) = status.exit_status() {
            return Ok((format!("exited {code}"), code));
        }
        if let Some(signal) = status.terminating_signal() {
            return Ok((format!("signalled {signal}"), 128 + signal));
        }
    }
}
