//! `.berth/fence`: the newest token that was ever let start on this volume, on the volume itself. Written and synced before the instance starts; a higher
//! token found there refuses the start (L20). It is a second line: the first is the grant rule.

use std::fs;
use std::io;
use std::path::Path;

use berth_state::ids::Token;
use serde::{Deserialize, Serialize};

use super::{VolumeError, VolumeRequest};
use crate::ledger::folder::replace_file;

const FOLDER: &str = ".berth";
const FILE: &str = "fence";

/// JSON, so that a person at the storage can read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Fence {
    token: u64,
    holder: String,
    /// Unix ms, for people.
    since: u64,
}

/// Claims the volume mounted at `source` for the request's token. Blocks.
///
/// # Errors
/// [`VolumeError::NewerToken`] when a later holder has been here; else what went wrong on the storage.
pub fn claim(request: &VolumeRequest, source: &Path, since_ms: u64) -> Result<(), VolumeError> {
    let folder = source.join(FOLDER);
    let file = folder.join(FILE);
    let volume = &request.volume;
    if let Some(found) = read(request, &file)? {
        if Token(found.token) > request.token {
            let (token, found, holder) = (request.token, Token(found.token), found.holder);
            return Err(VolumeError::NewerToken { volume: volume.clone(), token, found, holder });
        }
        if Token(found.token) == request.token {
            return Ok(());
        }
    }
    let fence = Fence { token: request.token.0, holder: format!("{}/{}", request.host, request.container), since: since_ms };
    let mut bytes = serde_json::to_vec(&fence).map_err(|error| VolumeError::io(volume, "write", &file, io::Error::other(error)))?;
    bytes.push(b'\n');
    match write(source, &folder, &bytes) {
        Ok(()) => verify(request, &file, &fence),
        // A volume that only reads cannot carry the mark, and cannot be harmed.
        Err(error) if request.read_only && error.kind() == io::ErrorKind::ReadOnlyFilesystem => Ok(()),
        Err(source) => Err(VolumeError::io(volume, "write", &file, source)),
    }
}

fn write(source: &Path, folder: &Path, bytes: &[u8]) -> io::Result<()> {
    match fs::create_dir(folder) {
        Ok(()) => fs::File::open(source)?.sync_all()?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    // Durable before the instance starts.
    replace_file(folder, FILE, "fence.tmp", bytes)
}

/// What was written is what is read back; else somebody else writes here.
fn verify(request: &VolumeRequest, file: &Path, written: &Fence) -> Result<(), VolumeError> {
    match read(request, file)? {
        Some(found) if found == *written => Ok(()),
        Some(_) | None => {
            let why = "another holder wrote it at the same time".to_owned();
            Err(VolumeError::FenceUnreadable { volume: request.volume.clone(), path: file.to_owned(), why })
        }
    }
}

fn read(request: &VolumeRequest, file: &Path) -> Result<Option<Fence>, VolumeError> {
    let volume = &request.volume;
    let bytes = match fs::read(file) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(VolumeError::io(volume, "read", file, source)),
    };
    let unreadable = |error: serde_json::Error| VolumeError::FenceUnreadable {
        volume: volume.clone(),
        path: file.to_owned(),
        why: format!("not a fence file: {error}"),
    };
    serde_json::from_slice(&bytes).map(Some).map_err(unreadable)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test")]
mod tests {
    use super::*;
    use crate::testing::volume_request;

    #[test]
    fn a_newer_token_on_the_volume_refuses_an_older_holder() {
        let folder = tempfile::tempdir().unwrap();
        claim(&volume_request("v1", folder.path(), 8), folder.path(), 1).unwrap();
        let error = claim(&volume_request("v1", folder.path(), 7), folder.path(), 2).unwrap_err();
        assert!(matches!(error, VolumeError::NewerToken { token: Token(7), found: Token(8), .. }), "{error}");
        claim(&volume_request("v1", folder.path(), 8), folder.path(), 3).unwrap();
        claim(&volume_request("v1", folder.path(), 9), folder.path(), 4).unwrap();
        assert!(fs::read_to_string(folder.path().join(".berth/fence")).unwrap().contains("\"token\":9"));
    }

    #[test]
    fn an_unreadable_fence_file_refuses_the_start() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join(FOLDER)).unwrap();
        fs::write(folder.path().join(".berth/fence"), "{\"tok").unwrap();
        let error = claim(&volume_request("v1", folder.path(), 7), folder.path(), 1).unwrap_err();
        assert!(matches!(error, VolumeError::FenceUnreadable { .. }), "{error}");
    }
}
