//! The control node. A tour of its modules; docs/architecture.md draws how they work together.
//!
//! - [`server`]: one control node, assembled: what `berth server` runs.
//! - [`api`]: the gRPC services. [`core`]: what they and the leader loops share. [`leader`]: notes and leader-only loops.
//! - [`fencing`]: fence actions, power and storage.
//! - [`machine`]: the replicated state machine over `berth_state`.
//! - [`node`]: openraft assembled: propose, linearizable read, who leads. [`peer`]: traffic between nodes.
//! - [`store`]: log, state, events and snapshots on an [`engine`]. [`types`]: openraft's types, named once.
//! - [`clock`]: the one clock. [`fatal`]: the end of a process whose durable write failed.

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests bound their own waiting"))]

pub mod api;
pub mod clock;
pub mod core;
pub mod engine;
pub mod fatal;
pub mod fencing;
pub mod leader;
pub mod machine;
pub mod node;
pub mod peer;
pub mod server;
pub mod store;
pub mod types;
