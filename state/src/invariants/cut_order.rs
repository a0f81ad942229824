//! I14 cut-order: no bar is lifted before every token cut there has proof of death, and no host gets a volume that is barred from it.

use crate::event::{Event, Fact};
use crate::invariants::Before;
use crate::state::ClusterState;

pub(super) fn check(before: &Before, events: &[Event], after: &ClusterState) -> Vec<String> {
    let mut found = Vec::new();
    for event in events {
        if let Fact::CutLiftStarted { volume, host, .. } | Fact::CutLifted { volume, host, .. } = &event.fact
            && let Some(bar) = before.bars.get(&(volume.clone(), host.clone()))
            && !bar.is_empty()
        {
            found.push(format!("the bar of volume {volume} against host {host} is lifted while {bar:?} are not known to be gone"));
        }
        if let Fact::LeaseGranted { lease, host, .. } = &event.fact
            && let Some(granted) = after.leases.get(lease)
        {
            for held in &granted.volumes {
                if before.bars.contains_key(&(held.volume.clone(), host.clone())) {
                    found.push(format!("lease {lease} was granted on host {host}, which volume {} bars", held.volume));
                }
            }
        }
    }
    found
}
