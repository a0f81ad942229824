//! The cut of a file system on a loop device. Two things are dirty in memory when its writers are dead: file pages, which the shutdown ioctl keeps from being
//! written for ever; and metadata that the journal has committed, in the cache of the block device, which the kernel would write back up to half a minute
//! later, over the next holder's. That part is brought out at once, before the cut is reported: it is what a replay of the journal would write too.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};

use super::bounded::bounded;
use super::{CutError, CutPlan, CutReport, server};
use crate::volumes::loop_device;
use crate::volumes::mountinfo::Mount;
use crate::volumes::system;

const SHUTDOWN: Duration = Duration::from_secs(2);
/// Some megabytes of metadata at most.
const SETTLE: Duration = Duration::from_secs(5);
/// Programs of ours that work on the device before it is mounted.
const MAKING: [&str; 2] = ["e2fsck", "mount"];

pub(super) fn cut(plan: &CutPlan, backing: &Path) -> Result<CutReport, CutError> {
    let Some(mount) = not_before_quiet(plan, backing)? else { return Ok(CutReport::NotMounted) };
    ours(&mount, backing)?;
    let point = mount.point.clone();
    bounded("the file system's shutdown", SHUTDOWN, move || shut_down(&point))??;
    let device = PathBuf::from(&mount.source);
    bounded("bringing out the block device's cache", SETTLE, move || settle(&device))??;
    Ok(CutReport::ShutDown)
}

/// The mount. Where there is none yet, whatever is about to make it is ended first: a check of the file system writes, and so does a mount. One that was let go of
/// is brought out, as the mount itself would be.
fn not_before_quiet(plan: &CutPlan, backing: &Path) -> Result<Option<Mount>, CutError> {
    if let Some(mount) = plan.mount()? {
        return Ok(Some(mount));
    }
    let Some(device) = loop_device::ours_over(backing, plan.token) else { return Ok(None) };
    for program in MAKING {
        server::kill(server::stop(program, &device.path())?)?;
    }
    if let Some(mount) = plan.mount()? {
        return Ok(Some(mount));
    }
    let path = device.path();
    bounded("bringing out the block device's cache", SETTLE, move || settle(&path))??;
    // It goes with its last user.
    let _ = loop_device::detach(&device);
    plan.mount()
}

/// What is mounted there must be a file system that shuts down, on a loop device over the very file the plan names.
fn ours(mount: &Mount, backing: &Path) -> Result<(), CutError> {
    let another = |found: String| CutError::AnotherMount {
        point: mount.point.clone(),
        found,
        expected: format!("ext4 or xfs on a loop device over {}", backing.display()),
    };
    if !matches!(mount.file_system.as_str(), "ext4" | "xfs") {
        return Err(another(mount.file_system.clone()));
    }
    match loop_device::backing_of(mount.device) {
        Some(found) if loop_device::same_name(&found, backing) => Ok(()),
        Some(found) => Err(another(format!("{} over {}", mount.source, found.display()))),
        None => Err(another(mount.source.clone())),
    }
}

fn shut_down(point: &Path) -> Result<(), CutError> {
    let root = match rustix::fs::open(point, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) {
        Ok(root) => root,
        // A file system that has been shut down opens nothing any more.
        Err(rustix::io::Errno::IO) => return Ok(()),
        Err(error) => return Err(CutError::io("open", point, error)),
    };
    match system::shut_down(root.as_fd()) {
        Err(error) if error.raw_os_error() != Some(rustix::io::Errno::IO.raw_os_error()) => Err(CutError::io("shut down", point, error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Errors of single writes do not matter: what could not be written is dropped with them.
fn settle(device: &Path) -> Result<(), CutError> {
    let file = File::open(device).map_err(|error| CutError::io("open", device, error))?;
    let _ = file.sync_all();
    Ok(())
}
