//! I9 expire-names-last, as far as the log shows it: an accepted Expire names the renewal that its lease had. That enough time had
//! passed is the simulation's check.

use crate::event::{Event, Fact};
use crate::invariants::Before;

pub(super) fn check(before: &Before, events: &[Event]) -> Vec<String> {
    let mut found = Vec::new();
    for event in events {
        if let Fact::LeaseExpired { lease, token, renewed } = &event.fact {
            let last = before.renewals.get(token).map(|r| r.renewed);
            if last != Some(*renewed) {
                found.push(format!("lease {lease} expired by renewal {renewed}, but its last was {last:?}"));
            }
        }
    }
    found
}
