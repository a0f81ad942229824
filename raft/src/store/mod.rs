//! The storage of a control node: Raft log, applied state, event log and snapshots, on two engines. Opened and used by `node`; the peer network uses
//! [`snapshot`] and [`events`] to move snapshots. Nothing here knows the network, time, or who leads.
//!
//! - [`mod@open`]: opens a data folder, or refuses it with a text that says what to do. [`identity`]: whose data it is.
//! - [`log`]: the Raft log and the vote. [`state`]: apply. [`shared`]: applied state for readers. [`machine`]: what is replicated.
//! - [`events`]: the event log, which outlives log purges and snapshot installs. [`snapshot`]: build, receive, install.
//! - [`codec`], [`pb`]: bytes on disk. [`error`]: why not. [`probe`]: where tests pull the plug.

pub mod codec;
pub mod error;
pub mod events;
pub mod identity;
pub mod log;
pub mod machine;
pub mod open;
pub mod pb;
pub mod probe;
pub mod shared;
pub mod snapshot;
pub mod state;

pub use error::StoreError;
pub use identity::Identity;
pub use open::{Store, StoreOptions, open, open_on};
