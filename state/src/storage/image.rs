//! Options of driver `image`: a file system of its own in an image file, which lies on storage that every host sees at the same path.

use super::place::{Place, Space};
use super::reader::{OptionError, Reader};

/// The smallest that both file systems can be made in and that is worth a volume.
const LEAST_EXT4: u64 = 16 << 20;
/// mkfs.xfs refuses less.
const LEAST_XFS: u64 = 300 << 20;

/// Options of the mount that Berth decides, or without which a crash would lose what was synced.
const REFUSED: [&str; 17] = [
    "loop",
    "offset",
    "sizelimit",
    "noload",
    "norecovery",
    "nobarrier",
    "barrier=0",
    "barrier",
    "data=writeback",
    "errors",
    "nouuid",
    "noatime",
    "journal_async_commit",
    "journal_dev",
    "journal_path",
    "logdev",
    "rtdev",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageFileSystem {
    Ext4,
    Xfs,
}

impl ImageFileSystem {
    /// As the kernel calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageOptions {
    /// Absolute path of the image file.
    pub file: String,
    pub file_system: ImageFileSystem,
    /// With it the file is made when it is absent and no lease ever held the volume.
    pub size_bytes: Option<u64>,
    /// Refuse storage on which the loop device cannot bypass the page cache.
    pub direct_io: bool,
    pub mount_options: Vec<String>,
}

impl ImageOptions {
    pub(super) fn read(options: &super::Options) -> Result<Self, OptionError> {
        let reader = Reader::new("image", options, &["file", "fs", "size", "direct-io", "mount-options"])?;
        let (file_system, least) = match reader.word("fs", &["ext4", "xfs"])? {
            "xfs" => (ImageFileSystem::Xfs, LEAST_XFS),
            _ => (ImageFileSystem::Ext4, LEAST_EXT4),
        };
        Ok(Self {
            file: reader.path("file", "/absolute/file")?,
            file_system,
            size_bytes: reader.size("size", least)?,
            direct_io: reader.yes("direct-io", true)?,
            mount_options: reader.mount_options(&REFUSED)?,
        })
    }

    pub(super) fn place(&self) -> Place {
        Place::new(Space::Files, &self.file)
    }
}
