//! Leases that are claimed here: for containers that somebody starts with `docker run`, and for commands under `berth lease run`. The lease goes the way of
//! every other one (claim, keepalive, prepare, release); only what uses it is not started by us. To the manager it is a runtime of its own kind, whose
//! "instance" is the set of all that uses the volumes of one lease. Must never say that nothing uses a volume without having looked.
//!
//! - `names`: what such a container is called. `aliases`: which volume a Docker volume name means. `table`: the claimed leases and who uses them.
//! - [`claims`]: takes or joins a lease, or says in one line why not (`refusal`). `runtime`: the manager's view. `look`: what Docker and the kernel say.
//! - `docker`: the few engine calls that are safe while it starts a container. `suit`: which containers are refused. `groups`: control groups by name.
//! - `local`: the control socket that `berth lease run` talks to. [`serve()`]: all doors of it.

pub mod aliases;
pub mod claims;
mod docker;
mod groups;
pub mod local;
mod look;
pub mod names;
pub mod refusal;
mod runtime;
pub mod serve;
mod suit;
mod table;

pub use serve::{ExternalConfig, serve};
pub(crate) use table::paths_of;
pub use table::{External, ExternalParts};

/// Name of the control socket in the run folder.
pub const SOCKET: &str = "executor.sock";
