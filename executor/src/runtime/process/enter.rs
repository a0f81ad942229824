//! Runs one command inside a running instance. Spawned by `exec`; single-threaded, as joining a user namespace demands. Must never
//! outlive what it was called for: it ends, and its command with it, when the instance ends or when standard input closes (the
//! executor gave up or died).

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ExitCode};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};
use rustix::thread::ThreadNameSpaceType;

use super::folder::InstanceFolder;
use super::isolation::Isolation;
use super::record::{Plan, Process};
use super::{cgroup, init, procfs};

/// Runs `argv` in the instance of `folder` and ends with its code.
pub(super) fn run(folder: &OsStr, argv: Vec<OsString>) -> io::Result<ExitCode> {
    let folder = InstanceFolder::new(folder.into());
    let spec = folder.stored()?.spec;
    let (Some(plan), Some(running)) = (folder.plan()?, folder.running()?) else {
        return Err(io::Error::other("the instance does not run"));
    };
    let argv: Vec<String> = argv.into_iter().map(|argument| argument.to_string_lossy().into_owned()).collect();
    let (program, arguments) = argv.split_first().ok_or_else(|| io::Error::other("no command"))?;
    let instance = join(&plan, running.init)?;
    let child = match init::command(&folder, &spec, program, arguments).process_group(0).spawn() {
        Ok(child) => child,
        Err(error) => {
            eprintln!("{program}: {error}");
            return Ok(ExitCode::from(u8::try_from(init::start_failure(&error)).unwrap_or(u8::MAX)));
        }
    };
    let code = wait(child, &instance)?;
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)))
}

/// Becomes part of the instance: its groups and namespaces. Returns a descriptor of its first process.
fn join(plan: &Plan, first: Process) -> io::Result<OwnedFd> {
    let pid = i32::try_from(first.pid).ok().and_then(Pid::from_raw).ok_or_else(|| io::Error::other("running.json names no process"))?;
    let instance = pidfd_open(pid, PidfdFlags::empty())?;
    if !procfs::is_alive(first)? {
        return Err(io::Error::other("the instance has ended"));
    }
    cgroup::join_all(plan)?;
    let mounts = if plan.own_proc { ThreadNameSpaceType::MOUNT } else { ThreadNameSpaceType::empty() };
    let spaces = match plan.isolation {
        Isolation::PidNamespace => ThreadNameSpaceType::PROCESS_ID | mounts,
        Isolation::UserPidNamespace => ThreadNameSpaceType::USER | ThreadNameSpaceType::PROCESS_ID | mounts,
        Isolation::ProcessGroup => return Ok(instance),
    };
    rustix::thread::move_into_thread_name_spaces(instance.as_fd(), spaces)?;
    Ok(instance)
}

/// The child's exit code; kills its group when the instance ends or standard input closes first.
fn wait(mut child: Child, instance: &OwnedFd) -> io::Result<i32> {
    let pid = Pid::from_child(&child);
    let ended = pidfd_open(pid, PidfdFlags::empty())?;
    let stdin = io::stdin();
    // Nothing is ever sent on standard input: only its end is waited for.
    let mut fds = [PollFd::new(&ended, PollFlags::IN), PollFd::new(instance, PollFlags::IN), PollFd::new(&stdin, PollFlags::IN)];
    while fds.iter().all(|fd| fd.revents().is_empty()) {
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    if fds[0].revents().is_empty() {
        // Not reaped, so the group's number is ours.
        let _ = rustix::process::kill_process_group(pid, Signal::KILL);
    }
    let status = child.wait()?;
    Ok(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)))
}
