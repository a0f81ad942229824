//! The host guard: a process of the host apart from the executor, started by it and surviving it, which at a lease's deadline kills the instance, cuts its
//! volumes' write-back and unmounts them (rungs 3 and 4 of design.md section 4). Executor and guard talk through files of the run folder only.
//!
//! ```text
//! executor ─▶ leases/<token>/page (deadline), enforce.json (order) ─▶ guard ─▶ kill, cut, unmount ─▶ enforced.json (facts)
//!     ▲                                                                │
//!     └──────────── host-guard.status (alive, last look) ◀─────────────┘──▶ hardware watchdog
//! ```
//!
//! - `folder`, `order`, `target`, `facts`, `status`, `lock`: the files, one each.
//! - `entry`: the hidden subcommand. `process`: what makes it stay. `guard`: its loop. `lease`, `volume`: one lease, one volume. `hands`: the seam to the world.
//! - `watchdog`: when the hardware is petted, and how. `watch`, `log`: hints in, lines out.
//! - `client`, `orders`, `supervise`: the executor's side.

pub mod client;
mod entry;
pub mod facts;
pub mod folder;
mod guard;
mod hands;
mod lease;
mod lock;
mod log;
pub mod order;
mod orders;
mod process;
pub mod status;
pub(crate) mod supervise;
mod target;
mod volume;
mod watch;
pub mod watchdog;

pub use client::{HostGuardClient, HostGuardConfig, WatchdogConfig};
pub use entry::{HOST_GUARD_COMMAND, host_guard_main};
pub use target::KillTarget;
