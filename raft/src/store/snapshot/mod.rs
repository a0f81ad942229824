//! Snapshots: one file that holds the whole applied state at one index, the same bytes on every node. Built and installed by `store::state`,
//! moved between nodes by the peer network, which sees only [`SnapshotHandle`], [`SnapshotReceiver`] and [`Snapshots`].
//!
//! - [`manifest`]: what a snapshot says about itself. [`mod@file`]: the file format. [`handle`]: a snapshot that is there.
//! - [`folder`]: where the files are, and which one is current. [`receive`]: one that is arriving.

pub mod error;
pub mod file;
pub mod folder;
pub mod handle;
pub mod manifest;
pub mod receive;
mod transfer;

pub use error::SnapshotError;
pub use folder::Snapshots;
pub use handle::SnapshotHandle;
pub use manifest::Manifest;
pub use receive::SnapshotReceiver;
