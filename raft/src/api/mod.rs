//! The gRPC services on a control node's one port: thin translations between the wire and `core`, one file per call with something to say.
//!
//! - [`errors`]: every error that is no outcome.
//! - [`registry`]: service Registry (users): [`read`], [`watch`], [`why`], [`logs`].
//! - [`executors`]: service Executors: [`keepalives`] (batching), [`assignments`].

pub mod assignments;
pub mod errors;
pub mod executors;
pub mod keepalives;
pub mod logs;
pub mod read;
pub mod registry;
pub mod watch;
pub mod why;
