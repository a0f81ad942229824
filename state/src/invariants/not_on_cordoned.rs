//! S2 not-on-cordoned: nothing is placed on a host that is cordoned or draining.

use crate::event::{Event, Fact};
use crate::noun::host::Scheduling;
use crate::state::ClusterState;

pub(super) fn check(events: &[Event], after: &ClusterState) -> Vec<String> {
    let mut found = Vec::new();
    for event in events {
        if let Fact::LeaseGranted { lease, host, .. } = &event.fact {
            let scheduling = after.hosts.get(host).map(|h| h.scheduling);
            if scheduling != Some(Scheduling::Open) {
                found.push(format!("lease {lease} was granted on host {host}, which is {scheduling:?}"));
            }
        }
    }
    found
}
