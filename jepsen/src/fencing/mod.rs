//! The fencing report, `make fence-report`: faults on three real Docker hosts, judged by what independent writers left in the volume and by what reached the
//! storage, never by what Berth says. Called by the `fence-report` subcommand and, in a short form, by `tests/fence_report.rs`.
//!
//! - `writer/main.rs`: the program in the container; [`stamps`]: what it wrote, read back.
//! - [`watch`]: eyes on storage and deadline pages; [`tap`]: ears on the event log. [`analysis`]: the measures, pure. [`row`]: the verdict, pure.
//! - [`rig`]: cluster, volume, container, eyes; [`kind`]: which storage, which rule; [`power`]: a power switch and its fence agent.
//! - [`scenarios`]: what is done; `sabotage` in there takes a defence away from outside and wants to be noticed. [`control`]: without Berth.
//! - [`run()`]: all of it; [`failover`]: how fast; [`report`]: tables and files.

pub mod analysis;
pub mod control;
pub mod failover;
mod image;
pub mod kind;
pub mod power;
pub mod report;
pub mod rig;
pub mod row;
mod run;
pub mod scenarios;
pub mod stamps;
pub mod tap;
pub mod watch;

pub use run::{Defence, FenceReportArgs, one_case, run};
