//! The next grant: the first container that is to run, is free, and has a host it fits. Pure; asked by the driver after every change.
//! One at a time, so that each choice sees the one before applied.

use std::collections::BTreeSet;

use berth_state::ClusterState;
use berth_state::command::GrantLease;
use berth_state::ids::ContainerId;
use berth_state::noun::container::{Container, Desired, RuntimeKind};
use berth_state::placement;

/// The next grant to propose, leaving out containers in `held_back` (refused a moment ago).
#[must_use]
pub fn next(state: &ClusterState, held_back: &BTreeSet<ContainerId>) -> Option<GrantLease> {
    state.containers().filter(|c| !held_back.contains(&c.id)).find_map(|c| grant(state, c))
}

fn grant(state: &ClusterState, container: &Container) -> Option<GrantLease> {
    if !waiting(state, container) {
        return None;
    }
    let host = placement::choose(state, container).ok()?;
    let session = state.host(&host)?.session?;
    Some(GrantLease { container: container.id.clone(), version: container.version, host, session })
}

/// Whether the container is to run, has no lease, and all its volumes are free.
fn waiting(state: &ClusterState, container: &Container) -> bool {
    container.desired == Desired::Running
        // Granted by its claim only.
        && container.spec.runtime != RuntimeKind::External
        && container.finished.is_none()
        && state.lease_of_container(&container.id).is_none()
        && container.spec.volumes.iter().all(|m| state.lease_of_volume(&m.volume).is_none())
}
