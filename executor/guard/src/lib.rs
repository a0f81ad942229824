//! What the guard and its executor agree on. The guard (this package's binary) is PID 1 of each instance and ends it at the lease's deadline; it needs
//! neither executor nor container engine for that.
//!
//! - [`page`]: the deadline page, written by the executor and mapped read-only by the guard.
//! - [`status`]: the little file in which the guard says how far it is.
//! - [`clock`]: the holder's clock (L19), and whether this process has the host's.
//! - [`arguments`]: what the guard is told on its command line.
//! - [`exit`]: its own exit codes. [`map`]: shared mappings, the only memory that two processes touch.

pub mod arguments;
pub mod clock;
pub mod exit;
pub mod map;
pub mod page;
pub mod status;
