//! What a proof prints: the chain of leases as a table, and one line of verdict. Pure.

use super::book::Holding;
use super::prover::Proof;
use crate::noun::words::word;
use crate::output::table::{Table, printable};
use crate::output::time::utc;
use crate::parse::duration::milliseconds_text;

#[must_use]
pub fn text(proof: &Proof) -> String {
    let mut table =
        Table::new(&["TOKEN", "HOST", "CONTAINER", "TAKEOVER", "GUARD", "GRANTED", "ACTIVATED", "ENDED", "BY", "EVIDENCE", "GAP"]);
    for lease in &proof.leases {
        table.row(row(lease));
    }
    format!("{}\n{}\n", table.text(), verdict(proof))
}

fn row(lease: &Holding) -> [String; 11] {
    let end = lease.end.as_ref();
    [
        lease.token.to_string(),
        lease.host.clone(),
        lease.container.clone(),
        word(&lease.takeover),
        word(&lease.guard),
        format!("{} ({})", lease.granted, utc(lease.granted_time.0)),
        lease.activated.map(|at| at.to_string()).unwrap_or_default(),
        end.map(|end| format!("{} ({})", end.revision, utc(end.time.0))).unwrap_or_default(),
        end.map_or_else(|| "holds".to_owned(), |end| end.by.to_owned()),
        end.map(|end| end.evidence.clone()).unwrap_or_default(),
        lease.gap_ms.map(milliseconds_text).unwrap_or_default(),
    ]
}

/// One line when it holds; else each finding on its own.
#[must_use]
pub fn verdict(proof: &Proof) -> String {
    let head = proof.head.map(|head| head.to_string()).unwrap_or_default();
    if proof.holds {
        let hand_overs = proof.leases.len().saturating_sub(1);
        return format!(
            "PROVED: volume {}: {} leases, {hand_overs} hand-overs, tokens rise, never two at once, each end with evidence that its rule allows; {} \
             events, hash chain whole up to {head}",
            proof.volume,
            proof.leases.len(),
            proof.events
        );
    }
    let mut out = format!("NOT PROVED: volume {}: {} findings in {} events:", proof.volume, proof.findings.len(), proof.events);
    for finding in &proof.findings {
        let at = finding.revision.map_or_else(|| "history".to_owned(), |revision| format!("revision {revision}"));
        out.push_str(&format!("\n  {at}: {}: {}", finding.rule, printable(&finding.what)));
    }
    out
}
