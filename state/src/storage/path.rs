//! Options of driver `path`: a directory on storage that every host mounts at the same place.

use super::place::{Place, Space};
use super::reader::{OptionError, Reader};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathOptions {
    /// Absolute; the same on every host.
    pub path: String,
}

impl PathOptions {
    pub(super) fn read(options: &super::Options) -> Result<Self, OptionError> {
        let reader = Reader::new("path", options, &["path"])?;
        Ok(Self { path: reader.path("path", "/absolute/directory")? })
    }

    pub(super) fn place(&self) -> Place {
        Place::new(Space::Files, &self.path)
    }
}
