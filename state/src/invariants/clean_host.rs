//! S4 clean-host: a fenced host gets no lease before every fenced holder there is known to be gone.

use crate::event::{Event, Fact};
use crate::invariants::Before;

pub(super) fn check(before: &Before, events: &[Event]) -> Vec<String> {
    let mut found = Vec::new();
    for event in events {
        if let Fact::LeaseGranted { lease, host, .. } = &event.fact
            && let Some(tokens) = before.fenced.get(host)
        {
            found.push(format!("lease {lease} was granted on host {host}, where {tokens:?} were fenced and may still run"));
        }
    }
    found
}
