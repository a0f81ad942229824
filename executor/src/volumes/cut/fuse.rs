//! The cut of a FUSE file system: its server process, which has a write cache of its own, is stopped and disconnected; the kernel's connection to it is aborted,
//! so that everybody who waits for it gets an error; and then the server is killed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use super::bounded::bounded;
use super::server::{kill, stop};
use super::{CutError, CutPlan, CutReport};
use crate::volumes::mountinfo::{self, Mount};

const CONTROL: &str = "/sys/fs/fuse/connections";
const ABORT: Duration = Duration::from_secs(2);

pub(super) fn cut(plan: &CutPlan, server: &str) -> Result<CutReport, CutError> {
    let Some(point) = plan.own_point()? else { return Ok(CutReport::NotMounted) };
    let mounted = plan.mount()?;
    if let Some(mount) = &mounted {
        ours(mount)?;
    }
    // The server first: it would take the abort for an unmount, end by itself, and leave its sockets to the kernel to be sent. Also without a mount: it may
    // just be coming up, or hang after a lazy unmount.
    let stopped = stop(server, point);
    if let Some(mount) = mounted.clone() {
        bounded("the abort of the FUSE connection", ABORT, move || abort(&mount))??;
    }
    let servers = kill(stopped?)?;
    if mounted.is_none() && servers == 0 { Ok(CutReport::NotMounted) } else { Ok(CutReport::Aborted { servers }) }
}

fn ours(mount: &Mount) -> Result<(), CutError> {
    if mount.file_system == "fuse" || mount.file_system.starts_with("fuse.") {
        return Ok(());
    }
    let (point, found) = (mount.point.clone(), mount.file_system.clone());
    Err(CutError::AnotherMount { point, found, expected: "a FUSE file system".to_owned() })
}

fn abort(mount: &Mount) -> Result<(), CutError> {
    let file = connections().join(mount.device.1.to_string()).join("abort");
    match fs::write(&file, "1") {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(CutError::io("write", file, error)),
    }
    // Without the control file system: a forced unmount aborts the connection first, and may then say that the mount is busy.
    match unmount(&mount.point, UnmountFlags::FORCE | UnmountFlags::NOFOLLOW) {
        Ok(()) | Err(rustix::io::Errno::BUSY | rustix::io::Errno::INVAL) => Ok(()),
        Err(error) => Err(CutError::io("force off", &mount.point, error)),
    }
}

/// Where FUSE connections are aborted.
#[must_use]
pub fn connections() -> PathBuf {
    PathBuf::from(CONTROL)
}

/// Mounts the control file system of FUSE where the machine has not done so.
///
/// # Errors
/// The kernel has no FUSE, or this process may not mount.
pub fn prepare_connections() -> io::Result<()> {
    if mountinfo::at(Path::new(CONTROL))?.is_some() {
        return Ok(());
    }
    match mount("fusectl", CONTROL, "fusectl", MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC, None) {
        Ok(()) | Err(rustix::io::Errno::BUSY) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
