//! What the report shows: tables for people on stdout, files for machines in `target/reports`. Holds no judgement. `fence.json` is a list of rows and nothing else,
//! because other programs read it; the rest is beside it.

use crate::fencing::failover::Aim;
use crate::fencing::row::Row;
use crate::fencing::run::Defence;
use crate::fencing::scenarios::sabotage;
use anyhow::{Context, Result};
use serde::Serialize;
use std::fmt::Write;
use std::fs;
use std::path::Path;

/// A row with what people need beside it.
#[derive(Debug, Clone, Serialize)]
pub struct Case {
    pub row: Row,
    /// What this rung leaves open, in the words of the documentation; such a row is allowed to show it.
    pub leaves_open: Option<String>,
    pub wrong: Vec<String>,
    /// The watcher's longest time between two looks.
    pub blind_ms: u64,
    /// Stamps of the former holder and of those after it.
    pub stamps: (usize, usize),
}

/// A defence taken away, and whether the report noticed.
#[derive(Debug, Clone, Serialize)]
pub struct Sabotaged {
    pub defence: String,
    pub what: String,
    pub noticed: bool,
    pub row: Row,
    pub wrong: Vec<String>,
}

impl Sabotaged {
    pub fn judge(defence: Defence, case: Case) -> Self {
        // Only what hurts data counts; a long outage would be noticed by anybody.
        let hurt = case.row.late_writes + case.row.bytes_after_grant + case.row.overlap_ms > 0;
        let what = sabotage::what(defence).to_owned();
        Self { defence: defence.word().to_owned(), what, noticed: hurt && !case.row.ok, row: case.row, wrong: case.wrong }
    }
}

#[derive(Debug, Default, Serialize)]
pub struct Report {
    pub cases: Vec<Case>,
    pub sabotaged: Vec<Sabotaged>,
    pub aims: Vec<Aim>,
    /// Two Postgres on one directory without Berth: whether both came up.
    pub double_start_without_berth: Option<bool>,
    /// Cases that could not be carried out to their end, and why.
    pub failed: Vec<String>,
    pub skipped: Vec<String>,
}

impl Report {
    pub fn is_ok(&self) -> bool {
        let rows = self.cases.iter().all(|case| case.row.ok) && self.sabotaged.iter().all(|s| s.noticed);
        rows && self.aims.iter().all(|aim| aim.met) && self.failed.is_empty() && self.double_start_without_berth != Some(false)
    }

    /// # Errors
    /// A file that cannot be written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let rows: Vec<&Row> = self.cases.iter().map(|case| &case.row).collect();
        for (name, text) in
            [("fence.json", serde_json::to_string_pretty(&rows)?), ("fence-details.json", serde_json::to_string_pretty(self)?)]
        {
            let file = folder.join(name);
            fs::write(&file, text + "\n").with_context(|| format!("cannot write {}", file.display()))?;
        }
        Ok(())
    }

    pub fn text(&self) -> String {
        let mut out = String::new();
        let _ = writeln!(out, "{}", header());
        for case in &self.cases {
            let _ = writeln!(out, "{}", line(&case.row));
            for wrong in &case.wrong {
                let _ = writeln!(out, "      ✗ {wrong}");
            }
            if let Some(sentence) = case.leaves_open.as_ref().filter(|_| shows_something(&case.row)) {
                let _ = writeln!(out, "      allowed on this rung: {sentence}");
            }
        }
        if !self.sabotaged.is_empty() {
            let _ = writeln!(out, "\nwith a defence taken away (each must be noticed)");
            for gone in &self.sabotaged {
                let noticed = if gone.noticed { "noticed" } else { "NOT NOTICED" };
                let _ = writeln!(out, "{:<8} {noticed}: {} — {}", gone.defence, gone.what, gone.wrong.join("; "));
            }
        }
        if let Some(double) = self.double_start_without_berth {
            let _ = writeln!(
                out,
                "\nwithout Berth, Postgres on two hosts over one directory: {}",
                if double { "both came up" } else { "one came up" }
            );
        }
        if !self.aims.is_empty() {
            let _ = writeln!(out, "\n{:<58} {:>7} {:>7} {:>7} {:>7}  met", "aim (ms)", "at most", "min", "median", "max");
            for aim in &self.aims {
                let _ = writeln!(out, "{aim}");
            }
        }
        for (title, lines) in [("not carried out:", &self.failed), ("left out:", &self.skipped)] {
            if !lines.is_empty() {
                let _ = writeln!(out, "\n{title}\n  {}", lines.join("\n  "));
            }
        }
        out
    }
}

fn shows_something(row: &Row) -> bool {
    row.late_writes + row.bytes_after_grant + row.overlap_ms > 0
}

pub fn header() -> String {
    let left = format!("{:<30} {:<9} {:<12} {:>6} {:>7}", "scenario", "driver", "takeover", "late", "late_ms");
    format!("{left} {:>11} {:>7} {:>8} {:<12} {:<16} ok", "bytes_after", "overlap", "outage", "evidence", "rung")
}

pub fn line(row: &Row) -> String {
    let left = format!("{:<30} {:<9} {:<12} {:>6} {:>7}", row.scenario, row.driver, row.takeover, row.late_writes, row.late_ms);
    let right = format!("{:>11} {:>7} {:>8} {:<12} {:<16}", row.bytes_after_grant, row.overlap_ms, row.outage_ms, row.evidence, row.rung);
    format!("{left} {right} {}", if row.ok { "yes" } else { "NO" })
}

#[cfg(test)]
mod tests {
    use super::{Case, Report, Sabotaged};
    use crate::fencing::row::Row;
    use crate::fencing::run::Defence;

    fn row(ok: bool) -> Row {
        Row {
            scenario: "executor killed".to_owned(),
            driver: "path".to_owned(),
            takeover: "after-expiry".to_owned(),
            late_writes: 0,
            late_ms: 0,
            bytes_after_grant: 0,
            overlap_ms: 0,
            outage_ms: 5_000,
            evidence: "ran-out".to_owned(),
            rung: "2 guard".to_owned(),
            ok,
        }
    }

    fn case(ok: bool) -> Case {
        Case { row: row(ok), leaves_open: None, wrong: Vec::new(), blind_ms: 4, stamps: (500, 500) }
    }

    #[test]
    fn the_fixed_file_is_a_list_of_rows_with_just_these_fields() {
        let folder = tempfile::tempdir().expect("a folder");
        Report { cases: vec![case(true)], ..Report::default() }.write(folder.path()).expect("written");
        let text = std::fs::read_to_string(folder.path().join("fence.json")).expect("there");
        let rows: Vec<serde_json::Map<String, serde_json::Value>> = serde_json::from_str(&text).expect("a list of objects");
        let mut names: Vec<&str> = rows[0].keys().map(String::as_str).collect();
        names.sort_unstable();
        let mut fixed = [
            "scenario",
            "driver",
            "takeover",
            "late_writes",
            "late_ms",
            "bytes_after_grant",
            "overlap_ms",
            "outage_ms",
            "evidence",
            "rung",
            "ok",
        ];
        fixed.sort_unstable();
        assert_eq!(names, fixed);
    }

    #[test]
    fn a_defence_that_nobody_misses_is_not_noticed_and_neither_is_a_mere_outage() {
        let noticed = |row| Sabotaged::judge(Defence::Guard, Case { row, ..case(false) }).noticed;
        assert!(!noticed(row(true)));
        assert!(!noticed(row(false)), "no late write, no late byte, no overlap");
        assert!(noticed(Row { overlap_ms: 1, ..row(false) }));
    }

    #[test]
    fn one_bad_part_makes_the_whole_report_bad() {
        let good = || Report { cases: vec![case(true)], ..Report::default() };
        assert!(good().is_ok());
        assert!(!Report { cases: vec![case(true), case(false)], ..good() }.is_ok());
        assert!(!Report { failed: vec!["x".to_owned()], ..good() }.is_ok());
        assert!(!Report { double_start_without_berth: Some(false), ..good() }.is_ok());
    }
}
