//! `.berth/volume`: whether the volume has been made ready for its application, on the volume itself. An instance learns it as BERTH_VOLUME_STATE_*, and its
//! `init` hook runs while it is `new`. Written by the holder only. Must never call a volume new that has somebody's data in it.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::Path;

use berth_state::ids::Token;
use serde::{Deserialize, Serialize};

use crate::ledger::folder::replace_file;

const FOLDER: &str = ".berth";
const FILE: &str = "volume";
/// What a file system makes by itself.
const NO_DATA: [&str; 2] = [FOLDER, "lost+found"];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VolumeState {
    /// Empty when it was first seen, and no init hook has come through since, though one may have begun.
    New,
    Used,
}

impl VolumeState {
    /// As in BERTH_VOLUME_STATE_*.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Used => "used",
        }
    }
}

/// JSON, so that a person at the storage can read it.
#[derive(Debug, Serialize, Deserialize)]
struct Marker {
    state: VolumeState,
    /// Who said so.
    token: u64,
}

/// What the volume is. An empty one without a marker is marked as new, so that it still is after an init hook that died half-way. Blocks.
///
/// # Errors
/// The storage fails, or the marker cannot be read.
pub fn look(source: &Path, token: Token) -> io::Result<VolumeState> {
    let file = source.join(FOLDER).join(FILE);
    match fs::read(&file) {
        Ok(bytes) => {
            let marker: Marker =
                serde_json::from_slice(&bytes).map_err(|error| io::Error::other(format!("{} is not a marker: {error}", file.display())))?;
            return Ok(marker.state);
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    for entry in fs::read_dir(source)? {
        let name = entry?.file_name();
        if !NO_DATA.iter().any(|no| OsStr::new(no) == name) {
            return Ok(VolumeState::Used);
        }
    }
    match mark(source, VolumeState::New, token) {
        Ok(()) => Ok(VolumeState::New),
        // Nothing can be made ready on it.
        Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => Ok(VolumeState::Used),
        Err(error) => Err(error),
    }
}

/// The init hook has come through, or there is none and the instance has started. Durable when this returns. Blocks.
///
/// # Errors
/// The storage fails.
pub fn initialised(source: &Path, token: Token) -> io::Result<()> {
    // What the hook wrote is on the storage before the volume is called used: a power cut must not leave the one without the other.
    rustix::fs::syncfs(fs::File::open(source)?)?;
    match mark(source, VolumeState::Used, token) {
        Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => Ok(()),
        result => result,
    }
}

fn mark(source: &Path, state: VolumeState, token: Token) -> io::Result<()> {
    let folder = source.join(FOLDER);
    match fs::create_dir(&folder) {
        Ok(()) => fs::File::open(source)?.sync_all()?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    let mut bytes = serde_json::to_vec(&Marker { state, token: token.0 }).map_err(io::Error::other)?;
    bytes.push(b'\n');
    replace_file(&folder, FILE, "volume.tmp", &bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test")]
mod tests {
    use super::*;

    #[test]
    fn an_empty_volume_is_new_until_its_init_hook_has_come_through() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("lost+found")).unwrap();
        assert_eq!(look(folder.path(), Token(7)).unwrap(), VolumeState::New);
        // The hook wrote something, and died.
        fs::write(folder.path().join("PG_VERSION"), "15").unwrap();
        assert_eq!(look(folder.path(), Token(8)).unwrap(), VolumeState::New);
        initialised(folder.path(), Token(8)).unwrap();
        assert_eq!(look(folder.path(), Token(9)).unwrap(), VolumeState::Used);
        // Emptied by hand: the marker holds.
        fs::remove_file(folder.path().join("PG_VERSION")).unwrap();
        assert_eq!(look(folder.path(), Token(9)).unwrap(), VolumeState::Used);
    }

    #[test]
    fn data_of_somebody_else_counts_as_used() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("data"), "x").unwrap();
        assert_eq!(look(folder.path(), Token(7)).unwrap(), VolumeState::Used);
        assert!(!folder.path().join(".berth/volume").exists());
    }

    #[test]
    fn a_marker_that_cannot_be_read_is_an_error_and_no_new_volume() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join(FOLDER)).unwrap();
        fs::write(folder.path().join(".berth/volume"), "{").unwrap();
        assert!(look(folder.path(), Token(7)).is_err());
    }
}
