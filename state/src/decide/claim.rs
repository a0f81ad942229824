//! Decisions on claims: a lease for a workload that somebody else starts on that very host (`docker run`, `berth lease run`). The rules of a grant hold;
//! the host is given instead of chosen. Called only by `decide`.

use crate::command::ClaimLease;
use crate::decide::{Decision, check, container, volume};
use crate::event::Fact;
use crate::ids::{LeaseId, Revision, Token, Version};
use crate::noun::container::{Container, ContainerSpec, Desired, RuntimeKind};
use crate::noun::lease::GrantCause;
use crate::outcome::Made;
use crate::placement;
use crate::rejection::Rejection;
use crate::state::ClusterState;

/// L3. The container object is made in the same entry, and is removed in the entry that ends the lease.
pub(super) fn claim(state: &ClusterState, at: Revision, cmd: &ClaimLease) -> Result<Decision, Rejection> {
    let (session, _) = state.need_session(cmd.session)?;
    let host = state.need_host(&session.host)?;
    well_formed(&cmd.spec)?;
    container::volumes_exist(state, &cmd.spec)?;
    container::not_privileged(state, &cmd.spec)?;
    // Before the name: whoever claims one volume twice is to read who holds it.
    for mount in &cmd.spec.volumes {
        volume::not_held(state, &mount.volume)?;
    }
    if state.container(&cmd.container).is_some() {
        return Err(Rejection::ContainerExists { container: cmd.container.clone() });
    }
    check::limit("containers", state.containers.len(), check::MAX_CONTAINERS)?;
    placement::fits(state, &draft(cmd), host).map_err(|why| super::grant::unfit(&cmd.container, &host.id, why))?;
    let token = Token(state.need_cluster()?.floor + at.0);
    let lease = LeaseId(at.0);
    let facts = vec![
        Fact::ContainerAdded { container: cmd.container.clone(), spec: cmd.spec.clone(), desired: Desired::Running },
        Fact::LeaseGranted {
            lease,
            token,
            container: cmd.container.clone(),
            version: Version(1),
            host: host.id.clone(),
            session: session.id,
            cause: GrantCause::Claimed,
        },
    ];
    Ok(Decision::Change { facts, made: Made::Lease { lease, token } })
}

fn well_formed(spec: &ContainerSpec) -> Result<(), Rejection> {
    let invalid = |field: &str, reason: &str| Err(Rejection::Invalid { field: field.to_owned(), reason: reason.to_owned() });
    match spec.runtime {
        RuntimeKind::External => {}
        RuntimeKind::Docker | RuntimeKind::Process => {
            return invalid("runtime", "only an external workload is claimed: add a container instead");
        }
    }
    if spec.volumes.is_empty() {
        return invalid("volumes", "a claim names at least one volume");
    }
    check::container(spec)
}

/// The container as it will be, for placement.
fn draft(cmd: &ClaimLease) -> Container {
    Container {
        id: cmd.container.clone(),
        spec: cmd.spec.clone(),
        version: Version(1),
        created: Revision(0),
        desired: Desired::Running,
        finished: None,
        relocation: None,
        last_lease: None,
    }
}
