//! Mounts through a FUSE client program that stays behind as a daemon: what drivers `glusterfs` and `cephfs` have in common. Blocks.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::statfs;
use tracing::info;

use super::cut::{self, CutPlan, prepare_connections};
use super::driver::VolumeRequest;
use super::error::VolumeError;
use super::mounting;

/// For the first answer of a storage that has just been mounted.
const ANSWER: Duration = Duration::from_secs(30);

/// One client program.
pub(super) struct Client<'c> {
    pub program: &'c str,
    /// As mountinfo calls its mounts.
    pub file_system: &'c str,
    pub arguments: Vec<String>,
}

/// Mounts, or takes over a mount of this token whose server still lives.
pub(super) fn mount(request: &VolumeRequest, client: &Client<'_>, plan: &CutPlan, point: &Path) -> Result<PathBuf, VolumeError> {
    let volume = &request.volume;
    if let Some(mount) = mounting::present(request, point)? {
        if mount.file_system != client.file_system {
            return Err(mounting::foreign(request, &mount, client.file_system));
        }
        if !cut::servers_of(client.program, point).is_empty() {
            return answers(request, client, point);
        }
        // Its server has died: nothing works there any more, and nothing can be lost.
        let failed = |source| VolumeError::Cut { volume: volume.clone(), source };
        cut::cut_now(plan).map_err(failed)?;
        cut::unmount_now(plan).map_err(failed)?;
    }
    // Without it a cut would have to do with a forced unmount.
    prepare_connections().map_err(|error| VolumeError::io(volume, "mount the FUSE control file system for", point, error))?;
    mounting::make_point(request, point)?;
    let mounted = mounting::mount_by(request, client.program, &client.arguments, point).and_then(|_| answers(request, client, point));
    if mounted.is_err() {
        // A client that is half up goes on trying: it must not come through later.
        let _ = cut::cut_now(plan).and_then(|_| cut::unmount_now(plan));
    }
    mounted
}

/// A client reports success before it has seen its storage.
fn answers(request: &VolumeRequest, client: &Client<'_>, point: &Path) -> Result<PathBuf, VolumeError> {
    let owned = point.to_owned();
    // One message: the result.
    let (sender, receiver) = std::sync::mpsc::sync_channel(1);
    let ask = move || {
        let _ = sender.send(statfs(&owned).map(drop).and_then(|()| rustix::fs::stat(&owned).map(drop)));
    };
    let failed = |error: std::io::Error| VolumeError::io(&request.volume, "reach the storage through", point, error);
    std::thread::Builder::new().name("berth-statfs".to_owned()).spawn(ask).map_err(failed)?;
    match receiver.recv_timeout(ANSWER) {
        Ok(Ok(())) => {
            info!(volume = %request.volume, token = %request.token, client = client.program, "mounted");
            Ok(point.to_owned())
        }
        Ok(Err(error)) => Err(failed(error.into())),
        Err(_) => {
            Err(VolumeError::TooSlow { volume: request.volume.clone(), what: "the storage's first answer", seconds: ANSWER.as_secs() })
        }
    }
}
