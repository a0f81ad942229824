//! Storage: what the options of each volume driver mean. Pure. Asked by `decide` when a volume is added, by the executor's drivers and by the
//! leader's fence actions, so that all three read them alike.
//!
//! - [`path`], [`image`], [`nfs`], [`glusterfs`], [`cephfs`], [`exec`]: the options of one driver each, checked.
//! - [`place`]: where the data is, so that two volumes over the same data are found.
//! - `reader`: how one option is read and refused.

pub mod cephfs;
pub mod exec;
pub mod glusterfs;
pub mod image;
pub mod nfs;
pub mod path;
pub mod place;
mod reader;

use std::collections::BTreeMap;

pub use cephfs::CephfsOptions;
pub use exec::{ExecFence, ExecOptions};
pub use glusterfs::GlusterfsOptions;
pub use image::{ImageFileSystem, ImageOptions};
pub use nfs::NfsOptions;
pub use path::PathOptions;
pub use place::Place;
pub use reader::OptionError;

use crate::noun::volume::Driver;

type Options = BTreeMap<String, String>;

/// The options of one volume, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StorageOptions {
    Path(PathOptions),
    Image(ImageOptions),
    Nfs(NfsOptions),
    Glusterfs(GlusterfsOptions),
    Cephfs(CephfsOptions),
    Exec(ExecOptions),
}

impl StorageOptions {
    /// # Errors
    /// The option that is wrong, and what would be right.
    pub fn parse(driver: Driver, options: &BTreeMap<String, String>) -> Result<Self, OptionError> {
        match driver {
            Driver::Path => PathOptions::read(options).map(Self::Path),
            Driver::Image => ImageOptions::read(options).map(Self::Image),
            Driver::Nfs => NfsOptions::read(options).map(Self::Nfs),
            Driver::Glusterfs => GlusterfsOptions::read(options).map(Self::Glusterfs),
            Driver::Cephfs => CephfsOptions::read(options).map(Self::Cephfs),
            Driver::Exec => ExecOptions::read(options).map(Self::Exec),
        }
    }

    /// Whether a dead holder's dirty pages can be kept from the storage by its own host.
    #[must_use]
    pub fn can_cut(&self) -> bool {
        match self {
            Self::Path(_) | Self::Nfs(_) => false,
            Self::Image(_) | Self::Glusterfs(_) | Self::Cephfs(_) => true,
            Self::Exec(options) => options.cut,
        }
    }

    /// Whether the storage can cut off a client by itself, acknowledged (StorageCut).
    #[must_use]
    pub fn can_fence(&self) -> bool {
        match self {
            Self::Path(_) | Self::Image(_) => false,
            Self::Nfs(options) => options.revoke.is_some(),
            Self::Glusterfs(options) => options.auth_reject,
            Self::Cephfs(options) => options.evict,
            Self::Exec(options) => options.fence != ExecFence::No,
        }
    }

    /// Whether that cut bars the whole host, so that it must be lifted before the host may have the volume again (L15).
    #[must_use]
    pub fn bars_host(&self) -> bool {
        match self {
            Self::Path(_) | Self::Image(_) => false,
            Self::Nfs(_) | Self::Glusterfs(_) => self.can_fence(),
            // The blocklist names one client instance; the next mount is another one.
            Self::Cephfs(_) => false,
            Self::Exec(options) => options.fence == ExecFence::Host,
        }
    }

    /// Where the data is. Its text is the canonical identity of the data.
    #[must_use]
    pub fn place(&self) -> Place {
        match self {
            Self::Path(options) => options.place(),
            Self::Image(options) => options.place(),
            Self::Nfs(options) => options.place(),
            Self::Glusterfs(options) => options.place(),
            Self::Cephfs(options) => options.place(),
            Self::Exec(options) => options.place(),
        }
    }

    /// What to do about two volumes whose places overlap, for the refusal.
    #[must_use]
    pub fn apart(&self) -> &'static str {
        match self {
            Self::Path(_) => "one directory is one volume",
            Self::Image(_) => "one image file is one volume",
            Self::Nfs(_) => "one export is one volume",
            Self::Glusterfs(_) => "one directory is one volume: give each its own subdir",
            Self::Cephfs(_) => "one directory is one volume: give each its own path",
            Self::Exec(_) => "the same program with the same options is taken for the same data: give each its own dataset",
        }
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
