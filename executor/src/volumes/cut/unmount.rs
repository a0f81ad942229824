//! Taking a mount away after a cut, or after its holder is dead. Does not flush by itself, and does not believe an unmount that leaves the file system alive in
//! another mount namespace.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;
use rustix::mount::UnmountFlags;

use super::bounded::{bounded, eventually};
use super::{CutError, CutMeans, CutPlan, CutReport, cut_now, servers_of};
use crate::volumes::exec::protocol;
use crate::volumes::loop_device;
use crate::volumes::mountinfo::{self, Mount};

/// For one unmount; after a cut it has nothing to wait for.
const UNMOUNT: Duration = Duration::from_secs(10);
/// Those who were killed just now still let go of it.
const BUSY: Duration = Duration::from_secs(2);
const RELEASE: Duration = Duration::from_secs(5);

pub(super) fn unmount(plan: &CutPlan) -> Result<CutReport, CutError> {
    let Some(point) = plan.own_point()?.cloned() else { return Ok(CutReport::NotMounted) };
    let mut report = CutReport::NotMounted;
    // More than one may lie on top of each other after a crash in between.
    while let Some(mount) = plan.mount()? {
        take_off(plan, &mount)?;
        report = CutReport::Unmounted;
    }
    if let CutMeans::Program { program, request, timeout_ms } = &plan.means {
        // Its mounts may be elsewhere, or none: the program knows.
        let request = protocol::with_operation(request, "unmount");
        protocol::call_text(program, &request, Duration::from_millis(*timeout_ms)).map_err(CutError::Program)?;
    }
    released(plan)?;
    match fs::remove_dir(&point) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        // Something lies in the folder under the mount, or somebody mounts again: it harms nothing.
        Err(error) => tracing::debug!(point = %point.display(), %error, "mount point stays"),
    }
    Ok(report)
}

fn take_off(plan: &CutPlan, mount: &Mount) -> Result<(), CutError> {
    match patiently(&mount.point)? {
        Ok(()) => return Ok(()),
        Err(Errno::BUSY) => {}
        Err(error) => return Err(CutError::io("unmount", &mount.point, error)),
    }
    // A lazy unmount is no fence: only behind a cut that holds.
    match cut_now(plan)? {
        CutReport::ShutDown | CutReport::Aborted { .. } | CutReport::ByProgram => {}
        CutReport::CannotCut | CutReport::NotMounted | CutReport::Unmounted => return Err(CutError::Busy { point: mount.point.clone() }),
    }
    match once(&mount.point, UnmountFlags::DETACH)? {
        Ok(()) | Err(Errno::INVAL) => Ok(()),
        Err(error) => Err(CutError::io("take away", &mount.point, error)),
    }
}

/// Without force and not lazily, again while it is busy.
fn patiently(point: &Path) -> Result<Result<(), Errno>, CutError> {
    let mut last = Ok(Err(Errno::BUSY));
    eventually(BUSY, || {
        last = once(point, UnmountFlags::empty());
        !matches!(last, Ok(Err(Errno::BUSY)))
    });
    // Not mounted any more: somebody else was quicker.
    if matches!(last, Ok(Err(Errno::INVAL))) { Ok(Ok(())) } else { last }
}

fn once(point: &Path, flags: UnmountFlags) -> Result<Result<(), Errno>, CutError> {
    let point = point.to_owned();
    bounded("the unmount", UNMOUNT, move || rustix::mount::unmount(&point, flags | UnmountFlags::NOFOLLOW))
}

/// The file system itself is gone, not only its place in our tree.
fn released(plan: &CutPlan) -> Result<(), CutError> {
    match &plan.means {
        CutMeans::FileSystemShutdown { backing } => {
            let mut left = None;
            let gone = eventually(RELEASE, || {
                left = loop_device::ours_over(backing, plan.token);
                left.is_none()
            });
            match left.filter(|_| !gone) {
                Some(device) => {
                    let holders = mountinfo::holders(device.numbers());
                    Err(CutError::NotReleased { what: device.path().display().to_string(), holders })
                }
                None => Ok(()),
            }
        }
        CutMeans::FuseAbort { server } => {
            let Some(point) = &plan.mount_point else { return Ok(()) };
            if eventually(RELEASE, || servers_of(server, point).is_empty()) {
                return Ok(());
            }
            // It had its time to end by itself.
            super::server::kill(super::server::stop(server, point)?).map(drop)
        }
        CutMeans::None | CutMeans::Program { .. } => Ok(()),
    }
}
