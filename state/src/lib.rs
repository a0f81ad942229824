//! Berth's pure core: what the replicated log means. No async, clock, randomness, I/O or logging; time and ids arrive in commands.
//!
//! - [`ids`], [`noun`]: ids, tokens, and the objects of the state.
//! - [`command`], [`event`], [`outcome`], [`rejection`]: orders, past facts, answers, refusals.
//! - [`state`]: the applied state and its reads.
//! - [`decide`]: (state, command) → events or rejection; every rule between objects. [`evolve`]: (state, event) → state.
//! - [`apply`]: one log entry through both; what a control node calls.
//! - [`placement`]: which host a container may go to; [`unfit`]: why not.
//! - [`invariants`]: I1-I9 as far as the state shows them, each a named check.
//! - [`codec`], [`pb`]: protobuf on disk and wire; gRPC stubs behind feature `rpc`.

pub mod apply;
pub mod codec;
pub mod command;
pub mod decide;
pub mod event;
pub mod evolve;
pub mod ids;
pub mod invariants;
pub mod noun;
pub mod outcome;
pub mod pb;
pub mod placement;
pub mod rejection;
pub mod state;
pub mod storage;
pub mod unfit;

pub use command::{Command, Order};
pub use event::{Event, Fact};
pub use outcome::Outcome;
pub use rejection::Rejection;
pub use state::ClusterState;
