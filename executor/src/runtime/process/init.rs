//! The first process of an instance: PID 1 of its namespace where there is one. Spawned by the shim; sets up what needs its rights (control groups, mounts) and
//! then becomes the guard, so that PID 1 is small, static, and needs none of us. Must never outlive the shim or start two commands.

use std::convert::Infallible;
use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_bind, mount_change, mount_remount};
use rustix::process::Signal;
use rustix::thread::UnshareFlags;

use super::folder::InstanceFolder;
use super::record::Plan;
use super::{DEFAULT_PATH, cgroup, isolation};
use crate::runtime::InstanceSpec;
use crate::runtime::guarded::{self, Seen};

/// Exit codes for a command that did not start: Docker's.
const SETUP_FAILED: i32 = 125;
const NOT_EXECUTABLE: i32 = 126;
const NOT_FOUND: i32 = 127;

struct Failure {
    code: i32,
    reason: String,
}

/// Becomes the guard of the instance in `folder`; standard input, which is the shim's, closes with that. Returns only if that fails, having said
/// `failed <code> <reason>` to the shim.
pub(super) fn run(folder: &OsStr) -> io::Result<ExitCode> {
    // Fail-stop: without the shim nobody would take the output or note the end. Holds for the guard too.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    let mut control = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut go = [0];
    // Ends without a word if the shim died before the line above, or could not note this process down.
    control.read_exact(&mut go)?;

    let Err(failure) = become_guard(&InstanceFolder::new(folder.into()));
    writeln!(control, "failed {} {}", failure.code, failure.reason.replace('\n', " "))?;
    Ok(ExitCode::from(u8::try_from(failure.code).unwrap_or(u8::MAX)))
}

fn become_guard(folder: &InstanceFolder) -> Result<Infallible, Failure> {
    let setup = |what: &str, error: io::Error| Failure { code: SETUP_FAILED, reason: format!("{what}: {error}") };
    let plan = folder.plan().and_then(|plan| plan.ok_or_else(|| io::Error::other("missing"))).map_err(|error| setup("plan.json", error))?;
    let spec = folder.stored().map_err(|error| setup("spec.json", error))?.spec;
    // First of all: what is not in the group yet would escape its kill.
    cgroup::join_all(&plan).map_err(|error| setup("control group", error))?;
    private_view(&plan, &spec)?;
    let guard = &spec.guard;
    let seen = Seen { page: guard.page.clone(), status: guard.status.clone() };
    let error = prepared(folder, &spec, &guard.binary).args(guarded::arguments(&spec.key, guard, seen, spec.command.clone())).exec();
    Err(setup(&format!("guard {}", guard.binary.display()), error))
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

/// A command of the instance as it must be started, standard output and error still the caller's.
pub(super) fn command(folder: &InstanceFolder, spec: &InstanceSpec, program: &str, arguments: &[String]) -> Command {
    let mut command = prepared(folder, spec, Path::new(program));
    command.args(arguments);
    command
}

fn prepared(folder: &InstanceFolder, spec: &InstanceSpec, program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", DEFAULT_PATH).envs(&spec.environment).current_dir(folder.work()).stdin(Stdio::null());
    command
}

/// The exit code that stands for a program that could not be executed.
pub(super) fn start_failure(error: &io::Error) -> i32 {
    if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { NOT_EXECUTABLE }
}
