//! What the witness writes: lines in the volume, and reports to the demo outside of it. Written by `witness`, read by `reports` and
//! `verdict`. The line is the format that other checkers read: its four fields keep their names and meaning.

use serde::{Deserialize, Serialize};

/// Name of the witness's file in the volume.
pub const FILE: &str = "witness.jsonl";

/// One write in the volume. `n` counts 1, 2, 3, … within a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The volume.
    pub key: String,
    /// Fencing token of the lease it was written under.
    pub token: u64,
    /// The host.
    pub writer: String,
    pub n: u64,
}

/// What the witness tells the demo, one JSON object a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Report {
    Opened(Opened),
    Ack(Ack),
}

/// The file was opened: what a new writer found of its predecessors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    pub token: u64,
    pub writer: String,
    /// Whole lines.
    pub lines: u64,
}

/// The line (token, n) is on the disk. `at_ns`: nanoseconds of the machine's unslewed clock, read after the sync.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    pub token: u64,
    pub n: u64,
    pub at_ns: u64,
}
