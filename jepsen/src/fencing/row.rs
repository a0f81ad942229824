//! A row of the report, and its verdict. Pure. Made by the run; the JSON of a row is fixed, since other programs read it.

use crate::fencing::analysis::Measures;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    pub scenario: String,
    pub driver: String,
    pub takeover: String,
    pub late_writes: u64,
    pub late_ms: u64,
    pub bytes_after_grant: u64,
    pub overlap_ms: u64,
    pub outage_ms: u64,
    /// How the former holder's lease ended; `none` when it goes on.
    pub evidence: String,
    /// The strongest rung that acted or stood by (design.md section 4).
    pub rung: String,
    pub ok: bool,
}

/// What the promise of a rung leaves open, in the words of `berth why`, which must have said so; such a row shows it instead of failing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leave {
    pub sentence: &'static str,
    /// Bounds of what is left open.
    pub late_ms: u64,
    pub overlap_ms: u64,
    pub bytes: u64,
}

/// What had to come of the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Another holder, and the former lease ended by one of these.
    Moves(&'static [&'static str]),
    /// The same holder under the same token goes on.
    Stays,
    /// One or the other: what is left of the host decides.
    Either,
}

/// The holder's margin m is taken off every deadline for what a kill takes: a stamp within it is shown, but breaks no promise.
pub const MARGIN_MS: u64 = berth_executor::DEFAULT_MARGIN_MS;

/// What is wrong with a case, in words; nothing when all is as it must be.
pub fn faults_of(
    measures: &Measures,
    evidence: &str,
    moved: bool,
    expected: Expected,
    leave: Option<Leave>,
    outage_bound_ms: u64,
) -> Vec<String> {
    let leave = leave.unwrap_or(Leave { sentence: "", late_ms: 0, overlap_ms: 0, bytes: 0 });
    let mut wrong = Vec::new();
    let mut over = |what: &str, found: u64, bound: u64| {
        if found > bound {
            wrong.push(format!("{what}: {found}, at most {bound}"));
        }
    };
    over("late_ms", measures.late_ms, leave.late_ms.max(MARGIN_MS));
    over("overlap_ms", measures.overlap_ms, leave.overlap_ms);
    over("bytes_after_grant", measures.bytes_after_grant, leave.bytes);
    over("outage_ms", measures.outage_ms, outage_bound_ms);
    match expected {
        Expected::Moves(ways) => {
            if !moved {
                wrong.push("nobody took over".to_owned());
            } else if !ways.contains(&evidence) {
                wrong.push(format!("the former lease ended by {evidence}, not by {}", ways.join(" or ")));
            }
        }
        Expected::Stays if moved => wrong.push("another lease was granted though nothing ended the first".to_owned()),
        Expected::Stays | Expected::Either => {}
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::{Expected, Leave, MARGIN_MS, faults_of};
    use crate::fencing::analysis::Measures;

    const MOVES: Expected = Expected::Moves(&["ran-out"]);
    const LEAVE: Leave = Leave { sentence: "a paused host", late_ms: 5_000, overlap_ms: 50, bytes: 100 };

    #[test]
    fn each_column_by_itself_fails_a_row() {
        let clean = Measures { outage_ms: 900, ..Measures::default() };
        assert_eq!(faults_of(&clean, "ran-out", true, MOVES, None, 1_000), Vec::<String>::new());
        let bad = [
            Measures { late_writes: 1, late_ms: MARGIN_MS + 1, ..clean },
            Measures { overlap_ms: 1, ..clean },
            Measures { bytes_after_grant: 1, ..clean },
            Measures { outage_ms: 1_001, ..clean },
        ];
        for measures in bad {
            assert_eq!(faults_of(&measures, "ran-out", true, MOVES, None, 1_000).len(), 1, "{measures:?}");
        }
        let in_time = Measures { late_writes: 1, late_ms: MARGIN_MS, ..clean };
        assert!(faults_of(&in_time, "ran-out", true, MOVES, None, 1_000).is_empty());
        assert_eq!(faults_of(&clean, "none", false, MOVES, None, 1_000).len(), 1, "nobody took over");
        assert_eq!(faults_of(&clean, "released", true, MOVES, None, 1_000).len(), 1, "another evidence");
        assert_eq!(faults_of(&clean, "none", true, Expected::Stays, None, 1_000).len(), 1, "moved for nothing");
        assert!(faults_of(&clean, "none", false, Expected::Stays, None, 1_000).is_empty());
    }

    #[test]
    fn what_a_rung_leaves_open_is_bounded() {
        let little = Measures { late_ms: 5_000, overlap_ms: 50, bytes_after_grant: 100, ..Measures::default() };
        assert!(faults_of(&little, "ran-out", true, MOVES, Some(LEAVE), 1_000).is_empty());
        let much = Measures { late_ms: 5_001, overlap_ms: 51, bytes_after_grant: 101, ..Measures::default() };
        assert_eq!(faults_of(&much, "ran-out", true, MOVES, Some(LEAVE), 1_000).len(), 3);
    }
}
