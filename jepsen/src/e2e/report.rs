//! What the end-to-end test measured: a table for people on stdout, and `target/reports/e2e.json` for machines. Holds no judgement.

use anyhow::{Context, Result};
use serde::Serialize;
use std::fmt;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// One case, as it went.
#[derive(Debug, Clone, Serialize)]
pub struct CaseReport {
    pub case: String,
    pub host_before: String,
    pub host_after: String,
    pub token_before: u64,
    pub token_after: u64,
    /// How the former lease ended, if it did.
    pub evidence: Option<String>,
    /// The writer's longest time without an acknowledged commit.
    pub outage_ms: u64,
    /// After a takeover: from the last sight of the old Postgres to the start of the new one.
    pub quiet_ms: Option<u64>,
    /// On a host that was cut off: from the cut to the last sight of its Postgres.
    pub self_stop_ms: Option<u64>,
    /// Rows acknowledged so far, all of them read back.
    pub rows_acked: usize,
    /// Rows so far whose outcome the writer does not know.
    pub rows_unknown: usize,
    /// The watcher's longest time between two looks.
    pub watch_pause_ms: u64,
}

#[derive(Debug, Default, Serialize)]
pub struct Report {
    pub ttl_ms: u64,
    pub cases: Vec<CaseReport>,
}

/// Whole milliseconds, the unit of the report.
pub(crate) fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Report {
    pub fn new(ttl: Duration) -> Self {
        Self { ttl_ms: ms(ttl), cases: Vec::new() }
    }

    pub fn write(&self, file: &Path) -> Result<()> {
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        fs::write(file, serde_json::to_string_pretty(self)? + "\n").with_context(|| format!("cannot write {}", file.display()))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "end to end, ttl {} ms; times in ms", self.ttl_ms)?;
        let columns = format_args!("{:<20} {:>9} {:>9} {:>8} {:>8} {:>9}", "case", "hosts", "tokens", "outage", "quiet", "self-stop");
        writeln!(f, "{columns} {:<10} {:>7} {:>8} {:>6}", "evidence", "rows", "unknown", "blind")?;
        for case in &self.cases {
            let hosts = format!("{}→{}", case.host_before, case.host_after);
            let tokens = format!("{}→{}", case.token_before, case.token_after);
            let shown = |value: Option<u64>| value.map_or_else(|| "-".to_string(), |v| v.to_string());
            write!(f, "{:<20} {hosts:>9} {tokens:>9} {:>8} {:>8} ", case.case, case.outage_ms, shown(case.quiet_ms))?;
            let evidence = case.evidence.as_deref().unwrap_or("-");
            write!(f, "{:>9} {evidence:<10} {:>7} {:>8} ", shown(case.self_stop_ms), case.rows_acked, case.rows_unknown)?;
            writeln!(f, "{:>6}", case.watch_pause_ms)?;
        }
        Ok(())
    }
}
