//! The short form of the fencing report: a few faults on three real Docker hosts, one of them with the guard taken away, which the report must notice.
//! The long form is `make fence-report`.

#![allow(clippy::unwrap_used, reason = "test")]

use berth_jepsen::e2e::target_dir;
use berth_jepsen::fencing::report::{Report, Sabotaged};
use berth_jepsen::fencing::scenarios::{all, sabotage};
use berth_jepsen::fencing::{Defence, one_case};
use berth_jepsen::lab::ready_or_skip;
use std::time::Duration;

/// A leader that dies is replaced within two seconds, and the last renewal may be a third of the ttl old by then: four seconds were not enough every time.
const TTL: Duration = Duration::from_secs(6);

#[test]
fn no_old_holder_writes_late_or_at_once_with_the_new_one_whatever_fails() {
    if !ready_or_skip("no_old_holder_writes_late_or_at_once_with_the_new_one_whatever_fails") {
        return;
    }
    let mut report = Report::default();
    for scenario in all().into_iter().filter(|scenario| scenario.short) {
        for setting in scenario.settings.iter().take(2) {
            report.cases.push(one_case(&scenario, *setting, TTL).unwrap());
        }
    }
    println!("{}", report.text());
    report.write(&target_dir().unwrap().join("reports/short")).unwrap();
    assert!(report.is_ok());
    assert!(report.cases.iter().all(|case| case.stamps.0 > 0), "each former holder was seen to write");
}

#[test]
fn a_run_without_the_guard_is_not_called_clean() {
    if !ready_or_skip("a_run_without_the_guard_is_not_called_clean") {
        return;
    }
    let scenario = sabotage::of(Defence::Guard);
    let case = one_case(&scenario, scenario.settings[0], TTL).unwrap();
    println!("{}", berth_jepsen::fencing::report::line(&case.row));
    let sabotaged = Sabotaged::judge(Defence::Guard, case);
    assert!(sabotaged.noticed, "{:?}", sabotaged.row);
    assert!(sabotaged.row.overlap_ms > 0 && sabotaged.row.late_writes > 0, "{:?}", sabotaged.row);
}
