//! The server process of a FUSE mount: found by the mount point in its arguments, and silenced. A plain SIGKILL would not do: the kernel goes on sending what
//! the dead process left in its sockets, for minutes after a partition, and the storage would take it for a write. So it is stopped first, its
//! connections are reset, and then it is killed.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, connect_unspec, sockopt};
use rustix::process::{ForeignRawFd, Pid, PidfdFlags, PidfdGetfdFlags, Signal, pidfd_getfd, pidfd_open, pidfd_send_signal};

use super::CutError;
use super::bounded::{bounded, eventually};

const SEARCH: Duration = Duration::from_secs(2);
const DEATH: Duration = Duration::from_secs(2);
/// The kernel cuts a command's name at this.
const COMM: usize = 15;

/// Processes called `name` that serve `point`. Reads the arguments of processes of that name only: those of others may block.
#[must_use]
pub fn servers_of(name: &str, point: &Path) -> Vec<Pid> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = processes.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?));
    ids.filter(|pid| serves(*pid, name, point)).collect()
}

fn serves(pid: Pid, name: &str, point: &Path) -> bool {
    let folder = format!("/proc/{}", pid.as_raw_nonzero());
    let called = fs::read(format!("{folder}/comm")).is_ok_and(|comm| comm.trim_ascii_end() == &name.as_bytes()[..name.len().min(COMM)]);
    let names_point = |arguments: &[u8]| arguments.split(|byte| *byte == 0).any(|argument| argument == point.as_os_str().as_bytes());
    called && fs::read(format!("{folder}/cmdline")).is_ok_and(|arguments| names_point(&arguments))
}

/// A server that does nothing any more.
pub(super) struct Stopped {
    pid: Pid,
    process: OwnedFd,
}

/// Stops and disconnects every server of the mount point.
pub(super) fn stop(name: &str, point: &Path) -> Result<Vec<Stopped>, CutError> {
    let (wanted, place) = (name.to_owned(), point.to_owned());
    let found = bounded("the search for FUSE servers", SEARCH, move || servers_of(&wanted, &place))?;
    let mut stopped = Vec::new();
    for pid in found {
        // Through a descriptor, and looked at again with it: a number may be somebody else's by now.
        let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else { continue };
        if serves(pid, name, point) {
            let _ = pidfd_send_signal(&process, Signal::STOP);
            disconnect(pid, process.as_fd());
            stopped.push(Stopped { pid, process });
        }
    }
    Ok(stopped)
}

/// Kills them and sees them dead; returns how many there were.
pub(super) fn kill(servers: Vec<Stopped>) -> Result<usize, CutError> {
    for server in &servers {
        let _ = pidfd_send_signal(&server.process, Signal::KILL);
    }
    for server in &servers {
        // A process that has ended, reaped or not, makes its descriptor readable.
        let ended = || {
            let mut polled = [PollFd::new(&server.process, PollFlags::IN)];
            matches!(poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })), Ok(1..))
        };
        if !eventually(DEATH, ended) {
            return Err(CutError::ServerLives { pid: server.pid.as_raw_nonzero().get() });
        }
    }
    Ok(servers.len())
}

/// Resets every network connection of the process, and throws away what waits in it. Best effort: without the right to look into the process, the kill
/// alone remains.
fn disconnect(pid: Pid, process: BorrowedFd<'_>) {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{}/fd", pid.as_raw_nonzero())) else { return };
    for descriptor in descriptors.flatten() {
        let socket = fs::read_link(descriptor.path()).is_ok_and(|target| target.as_os_str().as_bytes().starts_with(b"socket:"));
        let number = descriptor.file_name().to_str().and_then(|name| name.parse::<ForeignRawFd>().ok());
        let Some(number) = number.filter(|_| socket) else { continue };
        let Ok(socket) = pidfd_getfd(process, number, PidfdGetfdFlags::empty()) else { continue };
        if sockopt::socket_domain(&socket).is_ok_and(|domain| domain == AddressFamily::INET || domain == AddressFamily::INET6) {
            let _ = connect_unspec(&socket);
        }
    }
}
