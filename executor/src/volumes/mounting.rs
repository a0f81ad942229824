//! What drivers that mount something have in common: taking over a mount that is there, making the mount point, mounting by a helper program, and the clean
//! unmount. Blocks; called on threads that may.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::cut::{self, CutPlan};
use super::driver::VolumeRequest;
use super::error::VolumeError;
use super::mountinfo::{self, Mount};
use super::place;
use super::program;

/// For the mount program: a storage that needs longer is not there.
pub(super) const MOUNT: Duration = Duration::from_secs(120);

/// What is mounted for this request already, by an earlier try or process.
pub(super) fn present(request: &VolumeRequest, point: &Path) -> Result<Option<Mount>, VolumeError> {
    mountinfo::at(point).map_err(|error| VolumeError::io(&request.volume, "read mounts of", point, error))
}

/// An empty folder to mount on.
pub(super) fn make_point(request: &VolumeRequest, point: &Path) -> Result<(), VolumeError> {
    let failed = |error| VolumeError::io(&request.volume, "make mount point", point, error);
    if let Some(mounts) = point.parent() {
        place::prepare(mounts).map_err(failed)?;
    }
    fs::create_dir_all(point).map_err(failed)?;
    let used = fs::read_dir(point).map_err(failed)?.next().is_some();
    // What lies there would be hidden by the mount, and found by nobody.
    if used { Err(failed(io::Error::other("something lies in it"))) } else { Ok(()) }
}

/// Runs the program that mounts, and sees that it did: some report success too early.
pub(super) fn mount_by(request: &VolumeRequest, name: &str, arguments: &[String], point: &Path) -> Result<Mount, VolumeError> {
    let failed = |source| VolumeError::Program { volume: request.volume.clone(), action: "mount it", source };
    request.still_may()?;
    program::succeed(name, arguments, MOUNT).map_err(failed)?;
    let missing =
        || VolumeError::invalid(&request.volume, format!("{name} reported success, but nothing is mounted at {}", point.display()));
    present(request, point)?.ok_or_else(missing)
}

/// Everything out to the storage, and whether all of it arrived. A kernel tells of a failed write-back here, once.
pub(super) fn flush(request: &VolumeRequest, point: &Path) -> Result<(), VolumeError> {
    let flushed = File::open(point).and_then(|folder| rustix::fs::syncfs(&folder).map_err(io::Error::from));
    flushed.map_err(|error| VolumeError::io(&request.volume, "flush", point, error))
}

/// Flushes, then unmounts for good.
pub(super) fn unmount(request: &VolumeRequest, plan: &CutPlan, point: &Path) -> Result<(), VolumeError> {
    if present(request, point)?.is_some() {
        flush(request, point)?;
    }
    let failed = |source| VolumeError::Cut { volume: request.volume.clone(), source };
    cut::unmount_now(plan).map(drop).map_err(failed)
}

/// `-o`'s value.
pub(super) fn joined(fixed: &[&str], chosen: &[String]) -> String {
    fixed.iter().copied().chain(chosen.iter().map(String::as_str)).collect::<Vec<_>>().join(",")
}

pub(super) fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// What a mount of another kind at our place means: never to be taken over.
pub(super) fn foreign(request: &VolumeRequest, mount: &Mount, expected: &str) -> VolumeError {
    let (point, found): (PathBuf, _) = (mount.point.clone(), &mount.file_system);
    VolumeError::invalid(&request.volume, format!("{} is mounted at {}, not {expected}: see who did that", found, point.display()))
}
