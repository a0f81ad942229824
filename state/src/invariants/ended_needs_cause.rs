//! I5 ended-needs-cause: each lease that ended has exactly one of Withdrawn (never active), Released, or Fenced with evidence that its
//! takeover rule allows. Expired is not free.

use crate::event::{Event, Fact};
use crate::ids::LeaseId;
use crate::invariants::Before;
use crate::noun::lease::{Evidence, Lease, Phase};
use crate::noun::session::Guard;
use crate::noun::volume::Takeover;
use crate::state::ClusterState;

pub(super) fn check(before: &Before, events: &[Event], after: &ClusterState) -> Vec<String> {
    let gone = before.leases.values().filter(|lease| !after.leases.contains_key(&lease.id));
    gone.filter_map(|lease| {
        let causes: Vec<&Fact> = events.iter().map(|e| &e.fact).filter(|fact| ends(fact) == Some(lease.id)).collect();
        match causes.as_slice() {
            [one] => allowed(lease, one).err(),
            none_or_many => Some(format!("lease {} ended by {} events", lease.id, none_or_many.len())),
        }
    })
    .collect()
}

fn ends(fact: &Fact) -> Option<LeaseId> {
    if let Fact::LeaseWithdrawn { lease, .. } | Fact::LeaseReleased { lease, .. } | Fact::LeaseFenced { lease, .. } = fact {
        return Some(*lease);
    }
    None
}

fn allowed(lease: &Lease, cause: &Fact) -> Result<(), String> {
    let wrong = |why: &str| Err(format!("lease {} ({:?}, {:?}) ended {why}", lease.id, lease.phase, lease.takeover()));
    if let Fact::LeaseWithdrawn { .. } = cause
        && (lease.phase != Phase::Granted || lease.activated.is_some())
    {
        return wrong("by Withdrawn though it had been active");
    }
    if let Fact::LeaseFenced { evidence: Evidence::RanOut { expired_at }, .. } = cause {
        let silent = lease.phase == Phase::Expired && lease.expired == Some(*expired_at);
        if !silent || lease.takeover() != Takeover::AfterExpiry || lease.guard == Guard::None {
            return wrong("by RanOut without its conditions");
        }
    }
    Ok(())
}
