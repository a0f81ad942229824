//! The Raft log of this node: entries, vote, purge and commit marks. openraft writes and reads it; nothing else does.
//!
//! - [`storage`]: what openraft writes. [`reader`]: what it reads. [`sync`]: the one thread that syncs, and completes what waited.
//! - [`core`]: what they share: the engine, and where the log stands. [`cache`]: the newest entries.
//! - [`check`]: reads the whole log at open, or refuses it. [`barrier`]: purge only what is durably applied.

pub mod barrier;
pub(super) mod cache;
pub(super) mod check;
pub(super) mod core;
pub mod reader;
pub mod storage;
pub(super) mod sync;

pub use reader::LogReader;
pub use storage::LogStore;
