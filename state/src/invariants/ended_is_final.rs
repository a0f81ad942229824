//! I6 ended-is-final: after Ended no entry changes the lease; after Expired or Closing its `renewed` is constant, and no phase goes back.

use crate::invariants::Before;
use crate::noun::lease::Phase;
use crate::state::ClusterState;

pub(super) fn check(before: &Before, after: &ClusterState) -> Vec<String> {
    let mut found = Vec::new();
    for old in before.leases.values() {
        let Some(new) = after.leases.get(&old.id) else { continue };
        if new.phase < old.phase {
            found.push(format!("lease {} went back from {:?} to {:?}", old.id, old.phase, new.phase));
        }
        let frozen = matches!(old.phase, Phase::Closing | Phase::Expired);
        if frozen && before.renewals.get(&old.token) != after.renewals.get(&old.token) {
            found.push(format!("lease {} was renewed while {:?}", old.id, old.phase));
        }
    }
    for token in after.renewals.keys() {
        if !after.leases.values().any(|lease| lease.token == *token) {
            found.push(format!("token {token} is renewed, but no un-ended lease has it"));
        }
    }
    found
}
