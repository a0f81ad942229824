//! What the demo found: the one object that `-o json` prints, and the same for people. Pure; must never call a run good of which something
//! is missing.

use berth_state::Event;
use berth_state::noun::host::Host;
use serde::Serialize;

use crate::client::nodes::NodeView;
use crate::output::table::Table;

use super::failover::{Failover, LeaderChange, failovers};
use super::fault::{Deed, Fault};
use super::line::Ack;
use super::story::{Ending, VOLUME};
use super::verdict::{Verdict, judge};
use super::words::Narrator;

#[derive(Clone, Debug, Serialize)]
pub struct Findings {
    pub nodes: Vec<NodeView>,
    pub hosts: Vec<Host>,
    pub events: Vec<Event>,
    pub failovers: Vec<Failover>,
    pub leader_changes: Vec<LeaderChange>,
    pub witness: Verdict,
    pub duration_ms: u64,
    /// Everything that is not as it should be; empty: the run is good.
    pub wrong: Vec<String>,
    #[serde(skip)]
    faults: Vec<Fault>,
}

/// What was seen while the demo ran.
pub struct Seen {
    pub ending: Ending,
    pub faults: Vec<Fault>,
    pub leader_changes: Vec<LeaderChange>,
    pub acks: Vec<Ack>,
    /// The writer's file, as the volume has it when nobody can write any more.
    pub file: Vec<u8>,
    pub duration_ms: u64,
}

impl Findings {
    #[must_use]
    pub fn new(seen: Seen) -> Self {
        let Seen { ending, faults, leader_changes, acks, file, duration_ms } = seen;
        let witness = judge(VOLUME, &file, &acks);
        let failovers = failovers(&ending.events, &acks, &faults);
        let mut wrong: Vec<String> = witness.problems.iter().map(ToString::to_string).collect();
        wrong.extend(missing(&failovers, &faults));
        wrong.extend(failovers.iter().filter_map(unsound));
        if let (Some(failover), Some(token)) = (failovers.last(), witness.tokens.last())
            && failover.token_after != *token
        {
            wrong.push(format!("the newest token in the volume is {token}, the newest lease's is {}", failover.token_after));
        }
        wrong.extend(ending.dissenters.iter().map(|node| format!("the event log of node {node} is not the leader's")));
        Self {
            nodes: ending.nodes,
            hosts: ending.hosts,
            events: ending.events,
            failovers,
            leader_changes,
            witness,
            duration_ms,
            wrong,
            faults,
        }
    }

    /// Something that was found while it was taken down.
    pub fn also_wrong(&mut self, what: String) {
        self.wrong.push(what);
    }

    #[must_use]
    pub fn is_good(&self) -> bool {
        self.wrong.is_empty()
    }

    /// The result as people read it.
    #[must_use]
    pub fn text(&self) -> String {
        let mut lines = vec!["Timeline: the event log, the same on every node, and what was done to the cluster (×)".to_owned()];
        lines.extend(indented(&self.timeline()));
        lines.extend([String::new(), "Failovers".to_owned()]);
        lines.extend(indented(&self.failover_table()));
        for change in &self.leader_changes {
            let LeaderChange { node_before, node_after, election_ms, write_gap_ms, .. } = change;
            lines.push(format!("  Leader: node {node_before} to node {node_after} in {election_ms} ms; the writer's longest pause meanwhile: {write_gap_ms} ms"));
        }
        lines.extend([String::new(), "What the volume says".to_owned()]);
        let Verdict { writes, lost, overlaps, tokens, .. } = &self.witness;
        let in_order = if tokens.is_sorted() { "in order" } else { "NOT in order" };
        let tokens: Vec<_> = tokens.iter().map(ToString::to_string).collect();
        lines.push(format!("  writes acknowledged  {writes}"));
        lines.push(format!("  lost                 {lost}"));
        lines.push(format!("  writers overlapping  {overlaps}"));
        lines.push(format!("  tokens               {} ({in_order})", tokens.join(", ")));
        lines.push(String::new());
        if self.is_good() {
            lines.push(format!("Good: one writer at a time, nothing lost. {} s.", self.duration_ms.div_ceil(1_000)));
        } else {
            lines.push(format!("WRONG: {} findings.", self.wrong.len()));
            lines.extend(self.wrong.iter().take(10).map(|what| format!("  {what}")));
        }
        lines.push(String::new());
        lines.join("\n")
    }

    fn timeline(&self) -> Table {
        let start = self.events.first().map_or(0, |event| event.time.0);
        let time = |at: u64| {
            let ms = at.saturating_sub(start);
            format!("{:>3}.{:03} s", ms / 1_000, ms % 1_000)
        };
        let fault =
            |fault: &Fault| (fault.time_ms, [String::new(), time(fault.time_ms), fault.deed.kind().to_owned(), fault.deed.to_string()]);
        let mut narrator = Narrator::default();
        let event = |event: &Event| {
            (event.time.0, [event.revision.to_string(), time(event.time.0), event.fact.kind().to_owned(), narrator.tell(event)])
        };
        // Deeds before the events of the same millisecond: their time was read before they were done. The sort keeps that order.
        let mut rows: Vec<_> = self.faults.iter().map(fault).chain(self.events.iter().map(event)).collect();
        rows.sort_by_key(|(at, _)| *at);
        let mut table = Table::new(&["REVISION", "TIME", "KIND", "WHAT"]);
        rows.into_iter().for_each(|(_, row)| table.row(row));
        table
    }

    fn failover_table(&self) -> Table {
        let mut table = Table::new(&["CAUSE", "FROM", "TO", "EVIDENCE", "OUTAGE"]);
        for failover in &self.failovers {
            let outage = failover.outage_ms.map_or_else(|| "no end".to_owned(), |ms| format!("{ms} ms"));
            let from = format!("{}, token {}", failover.host_before, failover.token_before);
            let to = format!("{}, token {}", failover.host_after, failover.token_after);
            table.row([failover.cause.to_owned(), from, to, failover.evidence.to_owned(), outage]);
        }
        table
    }
}

fn indented(table: &Table) -> Vec<String> {
    table.text().lines().map(|line| format!("  {line}")).collect()
}

/// Every host that was killed under the writer must have its failover.
fn missing(failovers: &[Failover], faults: &[Fault]) -> Vec<String> {
    let mut left: Vec<&str> =
        failovers.iter().filter(|failover| failover.cause.ends_with("host-killed")).map(|failover| failover.host_before.as_str()).collect();
    let mut wrong = vec![];
    for fault in faults {
        let Deed::HostKilled { host } = &fault.deed else { continue };
        match left.iter().position(|name| *name == host.as_str()) {
            Some(at) => {
                left.remove(at);
            }
            None => wrong.push(format!("host {host} was killed, and no failover followed")),
        }
    }
    wrong
}

fn unsound(failover: &Failover) -> Option<String> {
    let Failover { token_before, token_after, outage_ms, .. } = failover;
    if token_after <= token_before {
        return Some(format!("failover from token {token_before} to token {token_after}: tokens must rise"));
    }
    outage_ms.is_none().then(|| format!("no write under token {token_after} after the failover from token {token_before}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failover(host: &str, token_before: u64, token_after: u64) -> Failover {
        Failover {
            cause: "host-killed",
            host_before: host.to_owned(),
            host_after: "h9".to_owned(),
            token_before,
            token_after,
            evidence: "RanOut",
            outage_ms: Some(1),
        }
    }

    fn killed(host: &str) -> Fault {
        Fault { deed: Deed::HostKilled { host: host.to_owned() }, time_ms: 0, at_ns: 0 }
    }

    #[test]
    fn a_kill_without_its_failover_is_wrong() {
        let failovers = [failover("h1", 3, 5)];
        assert_eq!(missing(&failovers, &[killed("h1")]), Vec::<String>::new());
        assert_eq!(missing(&failovers, &[killed("h1"), killed("h2")]).len(), 1);
        assert_eq!(missing(&failovers, &[killed("h1"), killed("h1")]).len(), 1);
    }

    #[test]
    fn a_failover_must_raise_the_token_and_end_the_outage() {
        assert_eq!(unsound(&failover("h1", 3, 5)), None);
        assert!(unsound(&failover("h1", 5, 5)).is_some());
        assert!(unsound(&Failover { outage_ms: None, ..failover("h1", 3, 5) }).is_some());
    }

    #[test]
    fn a_run_in_which_nothing_was_seen_is_not_good() {
        let ending = Ending { nodes: vec![], hosts: vec![], events: vec![], dissenters: vec![] };
        let seen = Seen { ending, faults: vec![], leader_changes: vec![], acks: vec![], file: vec![], duration_ms: 0 };
        assert!(!Findings::new(seen).is_good());
    }
}
