//! I4 token-monotone: a grant's token exceeds every token before it, over all volumes and incarnations.

use crate::event::{Event, Fact};
use crate::invariants::Before;
use crate::state::ClusterState;

pub(super) fn check(before: &Before, events: &[Event], after: &ClusterState) -> Vec<String> {
    let mut found = Vec::new();
    let mut highest = before.max_token;
    for event in events {
        if let Fact::LeaseGranted { lease, token, .. } = &event.fact {
            if *token <= highest {
                found.push(format!("lease {lease} got token {token}, but {highest} was issued before"));
            }
            highest = highest.max(*token);
        }
    }
    let known = after.cluster.as_ref().map(|c| c.max_token).unwrap_or_default();
    if known != highest {
        found.push(format!("max_token is {known}, the highest issued is {highest}"));
    }
    for lease in after.leases.values() {
        for held in &lease.volumes {
            let last = after.volumes.get(&held.volume).map(|v| v.last_token);
            if last != Some(lease.token) {
                found.push(format!("volume {} remembers token {last:?}, its holder has {}", held.volume, lease.token));
            }
        }
    }
    found
}
