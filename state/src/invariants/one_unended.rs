//! I3 one-unended: at most one un-ended lease per volume and per container, in every applied prefix. Counted from the leases themselves,
//! not from the index that `decide` asks.

use std::collections::BTreeMap;

use crate::state::ClusterState;

pub(super) fn check(after: &ClusterState) -> Vec<String> {
    let mut found = Vec::new();
    let mut containers = BTreeMap::new();
    let mut volumes = BTreeMap::new();
    for lease in after.leases.values() {
        if let Some(other) = containers.insert(&lease.container, lease.id) {
            found.push(format!("container {} has leases {other} and {}", lease.container, lease.id));
        }
        for held in &lease.volumes {
            if let Some(other) = volumes.insert(&held.volume, lease.id) {
                found.push(format!("volume {} has leases {other} and {}", held.volume, lease.id));
            }
        }
    }
    found
}
