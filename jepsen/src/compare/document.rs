//! docs/comparison.md, from the results of a run and nothing else. Called by the run at its end; must never hold a number of its own.

use crate::compare::faults::{Fault, Leaders};
use crate::compare::run::{CaseRecord, Results};
use crate::compare::spread::{seconds, spread};
use crate::compare::system::SystemKind;
use std::fmt::Write;

pub(super) fn render(results: &Results) -> String {
    let mut text = String::from(HEAD);
    ran_on(&mut text, results);
    writer_table(&mut text, results);
    leader_table(&mut text, results);
    text.push_str(FROZEN);
    text.push_str(TERMS);
    faults(&mut text);
    commands(&mut text, results);
    failed(&mut text, results);
    text
}

const HEAD: &str = "# Berth and Docker Swarm under the same faults

Written by `make compare`; do not edit. Each case runs on three fresh Docker hosts (network namespaces with a dockerd each) that share one directory. All three are
managers in Swarm, and carry a control node and an executor in Berth. One container, free to run on any host, appends 200 stamped lines a second to a file of its own
in the shared directory. All figures come from those stamps.
";

const TERMS: &str = "
## Terms

Stamps are CLOCK_BOOTTIME in nanoseconds, one clock for all hosts, taken by the writer right before each line is written. Cells: minimum / median / maximum of the
rounds, or one value if all are the same.

- **new writer after**: from the fault to the first line of a container that was started after it. *None*: the old one was not replaced while the fault lasted.
- **nobody writes for**: the longest time without a line from anybody, from the last line before the fault to the end of the watch.
- **both write for**: the time in which two containers or more were writing. Pauses under one second count as writing.
- **late lines**: lines of a container written after the first line of one that was started later.
- **the old one ends**: from the undoing (the heal, the thaw, the engine's restart) to the last late line.
- **its bytes after the undoing**: what the first container's file grew by after it, seen from outside. A container frozen between taking a stamp and writing the
  line writes that line later than it says; it shows here.
";

fn ran_on(text: &mut String, results: &Results) {
    let rounds = rounds(results);
    let loads: Vec<Option<u64>> = results.cases.iter().map(|case| Some(case.load_percent)).collect();
    let load = spread(&loads, |l| format!("{}.{:02}", l / 100, l % 100), "unknown");
    let (engine, berth, kernel) = (&results.engine, &results.berth, &results.kernel);
    let _ = writeln!(text, "\nDocker {engine} with its defaults; {berth} with its defaults (ttl 10 s); Linux {kernel}.");
    let _ = writeln!(text, "Rounds: {rounds}, the systems in turns. Load average before the faults (min / median / max): {load}.");
}

fn of(results: &Results, fault: Fault, system: SystemKind) -> Vec<&CaseRecord> {
    results.cases.iter().filter(|case| case.fault == fault && case.system == system).collect()
}

fn rounds(results: &Results) -> usize {
    results.cases.iter().map(|case| case.round as usize).max().unwrap_or(0)
}

/// The fault, and how often it was done if that is less often than others.
fn titled(results: &Results, fault: Fault, done: usize) -> String {
    if done == rounds(results) { fault.title().to_string() } else { format!("{} (rounds: {done})", fault.title()) }
}

fn writer_table(text: &mut String, results: &Results) {
    text.push_str("\n## The data's writers\n\n");
    text.push_str("| fault | system | new writer after | nobody writes for | both write for | late lines | the old one ends | its bytes after the undoing |\n");
    text.push_str("|---|---|---|---|---|---|---|---|\n");
    for fault in Fault::ALL {
        for system in SystemKind::ALL {
            let cases = of(results, fault, system);
            if cases.is_empty() {
                continue;
            }
            let values = |get: fn(&CaseRecord) -> Option<u64>| cases.iter().map(|case| get(case)).collect::<Vec<_>>();
            let recovery = spread(&values(|c| c.outcome.measured.recovery_ms), seconds, "none");
            let silence = spread(&values(|c| Some(c.outcome.measured.silence_ms)), seconds, "none");
            let both = spread(&values(|c| Some(c.outcome.measured.overlap_ms)), seconds, "none");
            let late = spread(&values(|c| Some(c.outcome.measured.late_lines)), |n| n.to_string(), "none");
            let ended = spread(&values(|c| c.outcome.ended_after_undo_ms), seconds, "before");
            let ended = if fault.is_undone() { ended } else { String::new() };
            let bytes = values(|c| c.outcome.bytes_after_undo);
            let bytes = if fault.is_undone() { spread(&bytes, |n| n.to_string(), "not replaced") } else { String::new() };
            let still = cases.iter().filter(|case| case.outcome.measured.still_two).count();
            let both = if still == 0 { both } else { format!("{both} (**both to the end of the watch** in {still} of {})", cases.len()) };
            let (what, who) = (titled(results, fault, cases.len()), system.title());
            let _ = writeln!(text, "| {what} | {who} | {recovery} | {silence} | {both} | {late} | {ended} | {bytes} |");
        }
    }
}

fn leader_table(text: &mut String, results: &Results) {
    text.push_str("\n## The group's leader\n\n");
    text.push_str("The host that is cut off or frozen does not lead. `docker node ls` shows no term.\n\n");
    text.push_str("| fault | system | another leader after | leader changed while the fault lasted | leader changed by the undoing | term before → after |\n");
    text.push_str("|---|---|---|---|---|---|\n");
    for fault in Fault::ALL {
        for system in SystemKind::ALL {
            let cases = of(results, fault, system);
            let leaders: Vec<&Leaders> = cases.iter().map(|case| &case.outcome.leaders).collect();
            if leaders.is_empty() || matches!(fault, Fault::HostKilled) {
                continue;
            }
            let after: Vec<Option<u64>> = leaders.iter().map(|l| l.new_after_ms).collect();
            let after = if after.iter().all(Option::is_none) { String::new() } else { spread(&after, seconds, "none") };
            let undone = fault.is_undone();
            let share = |changed: fn(&Leaders) -> Option<bool>| if undone { share(&leaders, changed) } else { String::new() };
            let (during, undoing) = (share(changed_during), share(changed_by_undoing));
            let terms: Vec<String> = leaders.iter().map(|l| terms(l)).collect();
            let terms = if terms.iter().all(|t| *t == terms[0]) { terms[0].clone() } else { terms.join(", ") };
            let (what, who) = (titled(results, fault, leaders.len()), system.title());
            let _ = writeln!(text, "| {what} | {who} | {after} | {during} | {undoing} | {terms} |");
        }
    }
}

fn changed_during(leaders: &Leaders) -> Option<bool> {
    leaders.during.as_ref().map(|during| *during != leaders.before)
}

fn changed_by_undoing(leaders: &Leaders) -> Option<bool> {
    leaders.during.as_ref().zip(leaders.after.as_ref()).map(|(during, after)| during != after)
}

fn share(leaders: &[&Leaders], changed: fn(&Leaders) -> Option<bool>) -> String {
    let answers: Vec<Option<bool>> = leaders.iter().map(|l| changed(l)).collect();
    let yes = answers.iter().filter(|a| **a == Some(true)).count();
    let unknown = answers.iter().filter(|a| a.is_none()).count();
    let shown = if yes == 0 { "no".to_string() } else { format!("in {yes} of {}", answers.len()) };
    if unknown == 0 { shown } else { format!("{shown} (no answer in {unknown})") }
}

fn terms(leaders: &Leaders) -> String {
    let term = |leader: Option<&crate::compare::system::Leader>| leader.and_then(|l| l.term);
    match (leaders.before.term, term(leaders.after.as_ref())) {
        (Some(before), Some(after)) => format!("{before} → {after}"),
        (_, None) | (None, _) => "not shown".to_string(),
    }
}

const FROZEN: &str = "
Where Berth is not at zero: a volume of driver `path` under `after-expiry` rests on clocks. A host that stood still past its deadline cannot stop its container while it
stands still; after the thaw the container runs until the host's own guard gets the processor, some milliseconds, in which it may write. Only a fence that acts outside the host
(storage or power, takeover `after-fence`) holds against that.
";

fn faults(text: &mut String) {
    text.push_str("\n## What is done\n\nFrom round to round the fault comes 1.2 s later after the set-up, so that it meets heartbeats and renewals at other moments.\n");
    text.push_str("\n| fault | command |\n|---|---|\n");
    for fault in Fault::ALL {
        let _ = writeln!(text, "| {} | {} |", fault.title(), fault.deed());
    }
}

fn commands(text: &mut String, results: &Results) {
    text.push_str("\n## How the systems were set up\n\n");
    text.push_str("`h1`, `h2`, `h3` are the hosts, `$SHARED` the shared directory, `$LAB` the lab's folder. Hosts are drained or cordoned only until the writer runs where the case\n");
    text.push_str("needs it. Swarm gets the image by its id, because for a tag each start would first wait for a registry that is not there. The stop signal is SIGKILL, so\n");
    text.push_str("that either system can end the writer at once.\n");
    for (system, lines) in &results.commands {
        let _ = writeln!(text, "\n{}:\n\n```\n{}\n```", system.title(), lines.join("\n"));
    }
    text.push_str("\nAll of it again: `make compare`. One case: `make compare ARGS=\"--rounds 1 --fault cut-off --system berth\"`. Raw results: `target/reports/compare.json`.\n");
}

fn failed(text: &mut String, results: &Results) {
    if !results.failed.is_empty() {
        let lines: Vec<String> = results.failed.iter().map(|line| format!("- {}", line.replace('\n', " "))).collect();
        let _ = writeln!(text, "\n## Cases without a result\n\n{}", lines.join("\n"));
    }
}

#[cfg(test)]
mod tests {
    use super::render;
    use crate::compare::analysis::Measured;
    use crate::compare::faults::{Fault, Leaders, Outcome};
    use crate::compare::run::{CaseRecord, Results};
    use crate::compare::system::{Leader, SystemKind};

    fn leader(host: &str, term: u64) -> Leader {
        Leader { host: host.to_string(), term: Some(term) }
    }

    fn cut_off(round: u32, overlap_ms: u64, after: Leader) -> CaseRecord {
        let measured = Measured {
            recovery_ms: Some(9_000 + u64::from(round)),
            silence_ms: 9_000,
            overlap_ms,
            late_lines: overlap_ms / 5,
            last_late: None,
            new_writers: 1,
            still_two: overlap_ms > 60_000,
        };
        let leaders = Leaders { before: leader("h1", 1), during: Some(leader("h1", 1)), after: Some(after), new_after_ms: None };
        let outcome = Outcome { holder: "h2".to_string(), measured, ended_after_undo_ms: None, bytes_after_undo: Some(0), leaders };
        CaseRecord { system: SystemKind::Berth, fault: Fault::CutOff, round, load_percent: 50, outcome }
    }

    fn shown(cases: Vec<CaseRecord>) -> String {
        render(&Results { cases, ..Results::default() })
    }

    #[test]
    fn a_single_round_with_two_writers_is_seen_in_the_table() {
        let clean = || cut_off(1, 0, leader("h1", 1));
        assert!(shown(vec![clean(), cut_off(2, 0, leader("h1", 1))]).contains("| 9.0 s | 9.0 s | 0 | 0 | before | 0 |"));
        let bad = shown(vec![clean(), clean(), cut_off(3, 67_300, leader("h1", 1))]);
        assert!(bad.contains("| 0 / 0 / 67.3 s (**both to the end of the watch** in 1 of 3) | 0 / 0 / 13460 |"), "{bad}");
    }

    #[test]
    fn a_leader_that_is_deposed_by_the_healing_is_seen_by_host_and_by_term() {
        let kept = |round| cut_off(round, 0, leader("h1", 1));
        assert!(shown(vec![kept(1), kept(2)]).contains("|  | no | no | 1 → 1 |"));
        let other = shown(vec![kept(1), cut_off(2, 0, leader("h3", 7))]);
        assert!(other.contains("|  | no | in 1 of 2 | 1 → 1, 1 → 7 |"), "{other}");
        let same_host = shown(vec![cut_off(1, 0, leader("h1", 3))]);
        assert!(same_host.contains("in 1 of 1 | 1 → 3 |"), "elected again is a change too: {same_host}");
    }

    #[test]
    fn a_fault_that_was_done_less_often_says_so() {
        let all = shown(vec![cut_off(1, 0, leader("h1", 1)), cut_off(2, 0, leader("h1", 1))]);
        assert!(!all.contains("healed (rounds:"), "{all}");
        assert!(shown(vec![cut_off(2, 0, leader("h1", 1))]).contains("healed (rounds: 1)"));
    }

    #[test]
    fn a_case_that_failed_is_listed() {
        let failed = Results { failed: vec!["round 2: host killed, Berth: no\nluck".to_string()], ..Results::default() };
        assert!(render(&failed).contains("- round 2: host killed, Berth: no luck"));
        assert!(!shown(vec![]).contains("Cases without a result"));
    }
}
