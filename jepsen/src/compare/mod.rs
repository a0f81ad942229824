//! `make compare`: Berth against Docker Swarm on the same three Docker hosts, with the same faults and the same writer, judged by nothing but what the
//! writer left in the shared directory.
//!
//! Called by the `compare` subcommand. The judge ([`measure`]) is pure and is tested with histories that show two writers.
//!
//! - `writer/main.rs`: the program in the container; [`WriterLines`]: what it wrote, read back.
//! - [`measure`]: recovery, silence, overlap, late lines of one case.
//! - `stage`: three hosts, the image, the shared directory; `swarm` and `berth`: a system on them; `faults`: what is done to it.
//! - [`run()`]: all cases, interleaved; `document`: docs/comparison.md.

mod analysis;
mod berth;
mod document;
mod faults;
mod image;
mod interrupt;
mod lines;
mod run;
mod spread;
mod stage;
mod swarm;
mod system;

pub use analysis::{Measured, measure};
pub use faults::Fault;
pub use lines::{BootNs, WriterLines};
pub use run::{CompareArgs, run};
pub use system::SystemKind;
