//! Where drivers mount: `<run>/mounts/<volume>-<token>`. The token is in the path, so that a late cut can never hit a newer mount. Used by all drivers that
//! mount something, and by the sweep that finds what an earlier life left.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use berth_state::ids::{HostId, Token, VolumeId};
use rustix::mount::{MountPropagationFlags, mount_bind, mount_change};

use super::mountinfo;

/// What drivers know of their host. Cheap to clone.
#[derive(Clone, Debug)]
pub struct DriverContext {
    /// Folder of all mount points.
    pub mounts: PathBuf,
    pub host: HostId,
}

impl DriverContext {
    #[must_use]
    pub fn mount_point(&self, volume: &VolumeId, token: Token) -> PathBuf {
        self.mounts.join(format!("{volume}-{token}"))
    }

    /// Below an executor's run folder.
    #[must_use]
    pub fn below(run: &Path, host: HostId) -> Self {
        let mounts = run.join("mounts");
        let absolute = std::path::absolute(&mounts).unwrap_or(mounts);
        Self { mounts: resolved(&absolute), host }
    }
}

/// The kernel tells of mounts by their true paths: links on the way are followed as far as there is something.
fn resolved(path: &Path) -> PathBuf {
    match (path.canonicalize(), path.parent(), path.file_name()) {
        (Ok(path), _, _) => path,
        (Err(_), Some(parent), Some(name)) => resolved(parent).join(name),
        (Err(_), _, _) => path.to_owned(),
    }
}

/// Makes the folder of mount points, as a shared mount of its own: an unmount in it then reaches the copies of the mount tree that running instances have,
/// which would otherwise keep the volume's file system alive.
///
/// # Errors
/// The folder or the mount cannot be made.
pub fn prepare(mounts: &Path) -> io::Result<()> {
    // Two at a time would mount one over the other, and hide what is mounted in between.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    fs::create_dir_all(mounts)?;
    let present = mountinfo::at(mounts)?;
    if present.as_ref().is_some_and(|mount| mount.shared) {
        return Ok(());
    }
    if present.is_none() {
        mount_bind(mounts, mounts)?;
    }
    // Private first: a shared parent would have put the copy into its own group, and unmounts would reach beyond.
    mount_change(mounts, MountPropagationFlags::PRIVATE)?;
    Ok(mount_change(mounts, MountPropagationFlags::SHARED)?)
}

/// Volume and token of a mount point's name.
#[must_use]
pub fn parse_name(path: &Path) -> Option<(VolumeId, Token)> {
    let (volume, token) = path.file_name()?.to_str()?.rsplit_once('-')?;
    Some((VolumeId::new(volume).ok()?, Token(token.parse().ok()?)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test")]
mod tests {
    use super::*;

    #[test]
    fn a_mount_points_name_says_volume_and_token() {
        let context = DriverContext { mounts: PathBuf::from("/run/berth/h1/mounts"), host: HostId::new("h1").unwrap() };
        let (volume, token) = (VolumeId::new("pg-main").unwrap(), Token(42));
        let point = context.mount_point(&volume, token);
        assert_eq!(point, Path::new("/run/berth/h1/mounts/pg-main-42"));
        assert_eq!(parse_name(&point), Some((volume, token)));
        for foreign in ["pg", "pg-", "pg-x", "-1", "Pg-1"] {
            assert_eq!(parse_name(&Path::new("/m").join(foreign)), None, "{foreign}");
        }
    }
}
