//! Folds events of leases and fences. Called only by `evolve`.

use crate::event::{Event, Fact};
use crate::evolve::registry::{change_cluster, change_container, change_volume};
use crate::ids::{ContainerId, HostId, LeaseId, Revision, SessionId, Time, Token, Version};
use crate::noun::container::LastLease;
use crate::noun::fence::{Fence, FenceDone, FenceMethod, MAX_FENCES};
use crate::noun::lease::{Ended, Evidence, Exit, GrantCause, Lease, LeasedVolume, Phase, Revoked};
use crate::noun::session::{Cut, Renewal};
use crate::state::{ClusterState, ObjectKey};

pub(super) fn evolve(state: &mut ClusterState, event: &Event) {
    let (at, time) = (event.revision, event.time);
    match &event.fact {
        Fact::LeaseGranted { lease, token, container, version, host, session, cause } => {
            granted(state, at, time, &Grant { lease: *lease, token: *token, container, version: *version, host, session: *session, cause });
        }
        Fact::LeaseActivated { lease, token } => activated(state, at, *lease, *token),
        Fact::LeaseWithdrawn { lease, token: _, why } => ended(state, at, time, *lease, Ended::Withdrawn { why: *why }),
        Fact::LeaseRevoked { lease, token: _, reason, drain_ms } => {
            change_lease(state, *lease, |l| l.revoked = Some(Revoked { reason: *reason, at, time, drain_ms: *drain_ms }));
        }
        Fact::LeaseClosed { lease, token: _, why: _ } => change_lease(state, *lease, |l| l.phase = Phase::Closing),
        Fact::LeaseExpired { lease, token: _, renewed: _ } => change_lease(state, *lease, |l| {
            l.phase = Phase::Expired;
            l.expired = Some(at);
        }),
        Fact::FenceStarted { lease, token: _, method } => fence_started(state, at, time, *lease, *method),
        Fact::LeaseFenced { lease, token: _, evidence } => fenced(state, at, time, *lease, evidence),
        Fact::LeaseReleased { lease, token: _, session: _, exit, finished } => released(state, at, time, *lease, exit.as_ref(), *finished),
        Fact::InstanceObserved { lease, token: _, status } => change_lease(state, *lease, |l| l.instance = Some(status.clone())),
        Fact::ClusterInitialized { .. }
        | Fact::SettingsChanged { .. }
        | Fact::FormatRaised { .. }
        | Fact::HostAdded { .. }
        | Fact::HostUpdated { .. }
        | Fact::HostRemoved { .. }
        | Fact::HostSchedulingChanged { .. }
        | Fact::HostHealthChanged { .. }
        | Fact::VolumeAdded { .. }
        | Fact::VolumeUpdated { .. }
        | Fact::VolumeRemoved { .. }
        | Fact::ContainerAdded { .. }
        | Fact::ContainerUpdated { .. }
        | Fact::ContainerRemoved { .. }
        | Fact::ContainerDesiredChanged { .. }
        | Fact::ContainerRelocationRequested { .. }
        | Fact::SessionOpened { .. }
        | Fact::SessionClosed { .. }
        | Fact::SessionCloned { .. } => unreachable!("not an event of leases"),
    }
}

/// The fields of `Fact::LeaseGranted`.
struct Grant<'a> {
    lease: LeaseId,
    token: Token,
    container: &'a ContainerId,
    version: Version,
    host: &'a HostId,
    session: SessionId,
    cause: &'a GrantCause,
}

fn granted(state: &mut ClusterState, at: Revision, time: Time, grant: &Grant<'_>) {
    let lease = frozen(state, at, time, grant);
    for held in &lease.volumes {
        change_volume(state, &held.volume, |v| v.last_token = grant.token);
    }
    change_container(state, grant.container, |c| c.relocation = None);
    change_cluster(state, |c| c.max_token = grant.token);
    state.index.add_lease(&lease);
    assert!(state.leases.insert(lease.id, lease).is_none(), "lease {} granted twice", grant.lease);
    state.touch(ObjectKey::Lease(grant.lease));
}

/// What the lease is for as long as it lives: specs and declaration as of the grant.
fn frozen(state: &ClusterState, at: Revision, time: Time, grant: &Grant<'_>) -> Lease {
    let container = state.containers.get(grant.container).expect("decide named an existing container");
    let session = state.sessions.get(&grant.session).expect("decide named a live session");
    let volumes = container.spec.volumes.iter().map(|mount| {
        let volume = state.volumes.get(&mount.volume).expect("a container's volumes exist");
        let cut = session.declared.drivers.get(&volume.spec.driver).copied().unwrap_or(Cut::None);
        LeasedVolume { volume: volume.id.clone(), spec: volume.spec.clone(), cut }
    });
    Lease {
        id: grant.lease,
        token: grant.token,
        container: grant.container.clone(),
        host: grant.host.clone(),
        session: grant.session,
        boot: session.boot,
        ledger: session.ledger,
        phase: Phase::Granted,
        cause: grant.cause.clone(),
        guard: session.declared.guard,
        volumes: volumes.collect(),
        spec: container.spec.clone(),
        version: grant.version,
        granted: at,
        granted_time: time,
        activated: None,
        revoked: None,
        expired: None,
        instance: None,
    }
}

fn change_lease(state: &mut ClusterState, id: LeaseId, change: impl FnOnce(&mut Lease)) {
    change(state.leases.get_mut(&id).expect("decide named an un-ended lease"));
    state.touch(ObjectKey::Lease(id));
}

/// The renewal that came with it is set by `session::renew`; replay of events alone sets the same index here.
fn activated(state: &mut ClusterState, at: Revision, id: LeaseId, token: Token) {
    change_lease(state, id, |l| {
        l.phase = Phase::Active;
        l.activated = Some(at);
    });
    let ttl_ms = state.settings().ttl_ms;
    state.renewals.insert(token, Renewal { renewed: at, ttl_ms });
    state.touch(ObjectKey::Renewal(token));
}

/// Takes the lease out of the state and leaves a note on the container.
fn ended(state: &mut ClusterState, at: Revision, time: Time, id: LeaseId, how: Ended) {
    let lease = state.leases.remove(&id).expect("decide named an un-ended lease");
    state.index.remove_lease(&lease);
    state.renewals.remove(&lease.token);
    state.touch(ObjectKey::Lease(id));
    state.touch(ObjectKey::Renewal(lease.token));
    let last = LastLease { lease: id, token: lease.token, host: lease.host, ended: how, at, time };
    change_container(state, &lease.container, |c| c.last_lease = Some(last));
}

fn released(state: &mut ClusterState, at: Revision, time: Time, id: LeaseId, exit: Option<&Exit>, finished: bool) {
    let container = state.leases.get(&id).expect("decide named an un-ended lease").container.clone();
    ended(state, at, time, id, Ended::Released { exit: exit.cloned() });
    if finished {
        let exit = exit.cloned().unwrap_or(Exit { code: 0, reason: String::new() });
        change_container(state, &container, |c| c.finished = Some(exit));
    }
}

fn fence_started(state: &mut ClusterState, at: Revision, time: Time, id: LeaseId, method: FenceMethod) {
    // One that has expired already stays so: it is not renewed either, and its Expire entry is evidence.
    change_lease(state, id, |l| l.phase = l.phase.max(Phase::Closing));
    let lease = state.leases.get(&id).expect("changed just now");
    let fence = Fence {
        token: lease.token,
        lease: id,
        host: lease.host.clone(),
        container: lease.container.clone(),
        method: Some(method),
        started: at,
        started_time: time,
        done: None,
    };
    put_fence(state, fence);
}

fn fenced(state: &mut ClusterState, at: Revision, time: Time, id: LeaseId, evidence: &Evidence) {
    let lease = state.leases.get(&id).expect("decide named an un-ended lease");
    let mut fence = state.fences.get(&lease.token).cloned().unwrap_or(Fence {
        token: lease.token,
        lease: id,
        host: lease.host.clone(),
        container: lease.container.clone(),
        method: None,
        started: at,
        started_time: time,
        done: None,
    });
    fence.done = Some(FenceDone { evidence: evidence.clone(), at, time });
    put_fence(state, fence);
    ended(state, at, time, id, Ended::Fenced { evidence: evidence.clone() });
}

fn put_fence(state: &mut ClusterState, fence: Fence) {
    let token = fence.token;
    state.fences.insert(token, fence);
    state.touch(ObjectKey::Fence(token));
    while state.fences.len() > MAX_FENCES {
        // Only done ones may go; an open fence names a lease that still lives.
        let Some(oldest) = state.fences.values().find(|f| f.done.is_some()).map(|f| f.token) else { break };
        state.fences.remove(&oldest);
        state.touch(ObjectKey::Fence(oldest));
    }
}
