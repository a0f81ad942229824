//! Kills an instance with system calls alone. Called by the deadline thread and by both runtimes; must never wait for
//! anything, need an async task, or ask dockerd: whoever calls it may be the last part of the executor that still works.
//!
//! Two independent ways are both tried, because each has a hole that the other closes: `cgroup.kill` reaches every process
//! whatever it did to its session or parent, and the SIGKILL of a pid namespace's first process reaches everything even where
//! there is no cgroup v2.

use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Write};
use std::path::Path;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal};

use super::{KillHandle, RuntimeError};

/// Kills every process of the instance that the handle reaches and returns without waiting for their end: see [`is_gone`].
/// Killing what is already dead is `Ok`. The pid is used only while its start time fits; the cgroup always, since its path
/// names one instance for ever.
///
/// # Errors
/// [`RuntimeError::Io`] when the kernel refused one of the two ways (both have been tried then).
pub fn kill_now(handle: &KillHandle) -> Result<(), RuntimeError> {
    let by_cgroup = handle.cgroup.as_deref().map_or(Ok(()), kill_cgroup);
    let by_pid = kill_by_pid(handle);
    by_cgroup.and(by_pid).map_err(|source| failed("kill", handle, source))
}

/// Whether no process of the instance is left, as far as the handle reaches: cgroup empty, first process dead (and its group
/// with it where there is no pid namespace).
///
/// # Errors
/// [`RuntimeError::Io`] when the kernel's answer cannot be read: then nothing is known.
pub fn is_gone(handle: &KillHandle) -> Result<bool, RuntimeError> {
    let empty = handle.cgroup.as_deref().map_or(Ok(true), cgroup_is_empty).map_err(|source| failed("look at", handle, source))?;
    let dead = first_process_is_gone(handle).map_err(|source| failed("look at", handle, source))?;
    Ok(empty && dead)
}

/// When the process was started, in clock ticks since boot: together with the boot, this makes a pid unique. `None`: no such
/// process, or it is dead and only waits to be reaped.
///
/// # Errors
/// When /proc cannot be read or says something unknown.
pub fn start_ticks(pid: u32) -> io::Result<Option<u64>> {
    Ok(living(pid)?.map(|process| process.start_ticks))
}

struct Living {
    group: u32,
    start_ticks: u64,
}

fn living(pid: u32) -> io::Result<Option<Living>> {
    let stat = match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat,
        Err(error) if error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => return Ok(None),
        Err(error) => return Err(error),
    };
    let unknown = || io::Error::new(ErrorKind::InvalidData, format!("/proc/{pid}/stat has an unknown form"));
    // The second field is the program's name in parentheses and may itself hold blanks and parentheses.
    let (_, rest) = stat.rsplit_once(") ").ok_or_else(unknown)?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let [state, _, group, ..] = fields[..] else { return Err(unknown()) };
    let (Some(threads), Some(ticks)) = (fields.get(17), fields.get(19)) else { return Err(unknown()) };
    // A dead main thread whose other threads still run is a zombie too, and is not gone.
    if state == "X" || (state == "Z" && matches!(*threads, "0" | "1")) {
        return Ok(None);
    }
    // The group is 0 when its leader is outside of this pid namespace.
    Ok(Some(Living { group: group.parse().map_err(|_| unknown())?, start_ticks: ticks.parse().map_err(|_| unknown())? }))
}

/// Sends `signal` to the process with this pid and start time. `false`: there is none any more.
///
/// # Errors
/// When the kernel refuses.
pub fn signal(pid: u32, ticks: u64, signal: Signal) -> io::Result<bool> {
    let Some(raw) = raw_pid(pid) else { return Ok(false) };
    let fd = match rustix::process::pidfd_open(raw, PidfdFlags::empty()) {
        Ok(fd) => fd,
        Err(Errno::SRCH) => return Ok(false),
        Err(error) => return Err(error.into()),
    };
    // Read after the open: had the pid been given to somebody else before, the start time would differ; if it is given away from
    // here on, the descriptor still names the old process.
    if start_ticks(pid)? != Some(ticks) {
        return Ok(false);
    }
    match rustix::process::pidfd_send_signal(&fd, signal) {
        Ok(()) => Ok(true),
        Err(Errno::SRCH) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn kill_by_pid(handle: &KillHandle) -> io::Result<()> {
    if handle.process_group {
        kill_group(handle)?;
    }
    signal(handle.pid, handle.start_ticks, Signal::KILL).map(|_| ())
}

/// A group's number is not given away while it has a member, so a foreign process with this pid proves that the group is empty.
fn kill_group(handle: &KillHandle) -> io::Result<()> {
    let Some(group) = raw_pid(handle.pid) else { return Ok(()) };
    if pid_is_foreign(handle)? {
        return Ok(());
    }
    match rustix::process::kill_process_group(group, Signal::KILL) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn first_process_is_gone(handle: &KillHandle) -> io::Result<bool> {
    if start_ticks(handle.pid)? == Some(handle.start_ticks) {
        return Ok(false);
    }
    if !handle.process_group || raw_pid(handle.pid).is_none() || pid_is_foreign(handle)? {
        return Ok(true);
    }
    group_is_dead(handle.pid)
}

/// Asks /proc, not `kill`: for that the dead whom nobody has reaped are still there.
fn group_is_dead(group: u32) -> io::Result<bool> {
    for entry in std::fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if living(pid)?.is_some_and(|process| process.group == group) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn pid_is_foreign(handle: &KillHandle) -> io::Result<bool> {
    Ok(start_ticks(handle.pid)?.is_some_and(|ticks| ticks != handle.start_ticks))
}

fn kill_cgroup(cgroup: &Path) -> io::Result<()> {
    let written = OpenOptions::new().write(true).open(cgroup.join("cgroup.kill")).and_then(|mut file| file.write_all(b"1"));
    written.or_else(|error| if is_absent(&error) { Ok(()) } else { Err(error) })
}

/// Whether no living process is in the cgroup or below it; a removed cgroup is empty.
///
/// # Errors
/// When the kernel's answer cannot be read.
pub fn cgroup_is_empty(cgroup: &Path) -> io::Result<bool> {
    match std::fs::read_to_string(cgroup.join("cgroup.events")) {
        Ok(events) => Ok(events.lines().any(|line| line == "populated 0")),
        Err(error) if is_absent(&error) => Ok(true),
        Err(error) => Err(error),
    }
}

/// Not there, or removed between open and use.
fn is_absent(error: &io::Error) -> bool {
    error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(Errno::NODEV.raw_os_error())
}

/// `None` for 0, which would mean the caller itself or its group.
fn raw_pid(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().filter(|pid| *pid > 0).and_then(Pid::from_raw)
}

fn failed(operation: &'static str, handle: &KillHandle, source: io::Error) -> RuntimeError {
    let instance = match &handle.cgroup {
        Some(cgroup) => cgroup.display().to_string(),
        None => format!("pid {}", handle.pid),
    };
    RuntimeError::Io { operation, instance, source }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test")]
mod tests {
    use super::*;

    fn sleeper() -> std::process::Child {
        std::process::Command::new("sleep").arg("1000").spawn().unwrap()
    }

    #[test]
    fn a_process_is_killed_only_under_its_own_start_time() {
        let mut child = sleeper();
        let ticks = start_ticks(child.id()).unwrap().unwrap();
        assert!(!signal(child.id(), ticks + 1, Signal::KILL).unwrap());
        assert_eq!(child.try_wait().unwrap(), None, "the wrong start time killed");
        assert!(signal(child.id(), ticks, Signal::KILL).unwrap());
        child.wait().unwrap();
        assert!(!signal(child.id(), ticks, Signal::KILL).unwrap());
    }

    #[test]
    fn a_dead_process_that_nobody_reaped_counts_as_gone() {
        let mut child = sleeper();
        let handle =
            KillHandle { cgroup: None, pid: child.id(), start_ticks: start_ticks(child.id()).unwrap().unwrap(), process_group: false };
        assert!(!is_gone(&handle).unwrap());
        kill_now(&handle).unwrap();
        // Waits for its death without reaping it.
        let options = rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT;
        rustix::process::waitid(rustix::process::WaitId::Pid(Pid::from_child(&child)), options).unwrap();
        assert!(is_gone(&handle).unwrap());
        child.wait().unwrap();
    }

    #[test]
    fn pid_zero_is_nobody() {
        let handle = KillHandle { cgroup: None, pid: 0, start_ticks: 0, process_group: true };
        kill_now(&handle).unwrap();
        assert!(is_gone(&handle).unwrap());
    }

    #[test]
    fn a_cgroup_that_is_not_there_is_empty_and_killed() {
        let cgroup = Some(std::path::PathBuf::from("/nonexistent/cgroup"));
        let handle = KillHandle { cgroup, pid: 0, start_ticks: 0, process_group: false };
        kill_now(&handle).unwrap();
        assert!(is_gone(&handle).unwrap());
    }
}
