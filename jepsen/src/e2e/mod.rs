//! The end-to-end test's library: a whole Berth cluster in the lab, watchers that see Postgres without asking Berth, and the checkers of what they saw.
//!
//! Called by `tests/e2e.rs`. The checkers are pure and are tested with histories that must be refused.
//!
//! - [`Cluster`]: control nodes and executors as processes in machines of the lab; [`Cli`]: the product as its users call it.
//! - [`ProcessWatch`], [`FenceWatch`]: ground truth from the kernel and from the volume itself.
//! - [`overlaps`]: was Postgres ever up twice? [`Witness::judge`]: is every acknowledged row there? [`falls`]: did a token go back?
//! - [`History`]: what the event log tells. [`Report`]: the table, and the file for a machine.
//! - [`Stamp`]: the one clock of all watchers.

mod binary;
mod cli;
mod cluster;
mod fence_watch;
mod history;
mod lives;
mod process_watch;
mod report;
mod stamp;
mod witness;

pub use binary::{berth_binary, target_dir};
pub use cli::{Cli, Leader, Placed};
pub use cluster::{Cluster, ClusterPlan, HostMachine};
pub use fence_watch::{FenceWatch, falls};
pub use history::{History, Told};
pub use lives::{Life, Overlap, overlaps, quiet_between, spans};
pub use process_watch::{ProcessWatch, postmaster_pid};
pub use report::{CaseReport, Report};
pub use stamp::Stamp;
pub use witness::{Findings, Row, RowNumber, Witness};
