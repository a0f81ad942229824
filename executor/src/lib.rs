//! The executor: Berth's process on each host. It runs what leases entitle it to, and stops it when they no longer do. See docs/architecture.md.
//!
//! ```text
//! link ─▶ session ─ keepalive ─▶ enforcer (deadline book, kill handles; a thread of its own)
//!   └──── assignments ─▶ manager (world: workloads) ─▶ plan ─▶ steps ─▶ runtime, volumes, ledger
//! ```
//!
//! - [`executor`]: configuration, and how the parts are put together: start here. [`error`]: why it ended.
//! - [`clock`], [`random`], [`control`]: the seams: time, randomness, the control plane. [`link`]: gRPC behind the last.
//! - [`deadline`], [`enforcer`]: until when each token may be acted on, and who kills.
//! - [`pages`], [`guard_binary`]: deadline pages and the guard that reads them as PID 1 of each instance. [`hooks`]: what it runs before the command.
//! - [`ledger`]: what a successor of this process must know. [`leftovers`]: what an earlier one left.
//! - [`session`], [`keepalive`], [`assignments`]: the talk with the control plane.
//! - [`workload`], [`world`], [`plan`], [`steps`], [`release`], [`manager`]: from wish and facts to steps.
//! - [`instance`], [`runtimes`], [`runtime`], [`observer`]: what runs. [`volumes`]: on what.
//! - [`external`]: leases for what others start (`docker run`, `berth lease run`). [`plugin`], `authz`: Docker's doors to it.
//! - [`health`], [`report`], [`logs`], [`backoff`]: checks, word to the control plane, output, patience.

pub mod assignments;
mod authz;
pub mod backoff;
pub mod births;
pub mod clock;
pub mod context;
pub mod control;
pub mod deadline;
pub mod enforcer;
pub mod error;
pub mod event;
pub mod executor;
pub mod external;
pub mod gone;
pub mod guard_binary;
pub mod health;
pub mod heartbeats;
pub mod hooks;
pub mod hostguard;
pub mod instance;
pub mod judged;
pub mod keepalive;
pub mod ledger;
pub mod leftovers;
pub mod link;
mod link_messages;
pub mod logs;
pub mod manager;
pub mod observer;
pub mod pages;
pub mod plan;
pub mod plugin;
pub mod random;
pub mod release;
pub mod report;
pub mod runtime;
pub mod runtimes;
pub mod session;
pub mod step_done;
pub mod steps;
pub mod suspicions;
pub mod volumes;
pub mod workload;
pub mod world;

#[cfg(test)]
mod scenarios;
#[cfg(test)]
mod testing;

pub use error::ExecutorError;
pub use executor::{DEFAULT_MARGIN_MS, Deps, Executor, ExecutorConfig, ExecutorHandle};
