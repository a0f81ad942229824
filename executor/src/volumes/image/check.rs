//! The check of an ext4 image before its mount: replays the journal and repairs what can be repaired without asking. XFS does so in its mount.

use std::path::Path;
use std::time::Duration;

use tracing::warn;

use crate::volumes::driver::VolumeRequest;
use crate::volumes::error::VolumeError;
use crate::volumes::program;

const CHECK: Duration = Duration::from_secs(3_600);
/// e2fsck's exit code is a sum: 1 corrected, 2 corrected and reboot wanted; from 4 on it is not well.
const NOT_WELL: i32 = 4;

/// # Errors
/// Damage that only a person may decide on; the image is left as it is.
pub(super) fn ext4(request: &VolumeRequest, device: &Path) -> Result<(), VolumeError> {
    let failed = |source| VolumeError::Program { volume: request.volume.clone(), action: "check its file system", source };
    let device = device.to_string_lossy();
    let checked = program::run("e2fsck", &["-p", &*device], &[], CHECK).map_err(failed)?;
    match checked.status.code() {
        Some(0) => Ok(()),
        Some(code) if (1..NOT_WELL).contains(&code) => {
            warn!(volume = %request.volume, said = checked.said(), "file system was repaired before its mount");
            Ok(())
        }
        Some(_) | None => {
            let why = format!("its file system is damaged and was not mounted; e2fsck says: {}", checked.said());
            Err(VolumeError::invalid(&request.volume, why))
        }
    }
}
