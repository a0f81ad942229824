//! Folds events of leases. Called only by `evolve`.

use crate::evolve::fence::unbar;
use crate::evolve::registry::{change_cluster, change_container, change_volume};
use crate::ids::{ContainerId, HostId, LeaseId, Revision, SessionId, Time, Token, Version};
use crate::noun::container::LastLease;
use crate::noun::lease::{Ended, Exit, GrantCause, InstanceStatus, Lease, LeasedVolume, Phase, Revoked};
use crate::noun::session::{Cut, Renewal};
use crate::state::{ClusterState, ObjectKey};

/// The fields of `Fact::LeaseGranted`.
pub(super) struct Grant<'a> {
    pub(super) lease: LeaseId,
    pub(super) token: Token,
    pub(super) container: &'a ContainerId,
    pub(super) version: Version,
    pub(super) host: &'a HostId,
    pub(super) session: SessionId,
    pub(super) cause: &'a GrantCause,
}

pub(super) fn granted(state: &mut ClusterState, at: Revision, time: Time, grant: &Grant<'_>) {
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

pub(super) fn change_lease(state: &mut ClusterState, id: LeaseId, change: impl FnOnce(&mut Lease)) {
    change(state.leases.get_mut(&id).expect("decide named an un-ended lease"));
    state.touch(ObjectKey::Lease(id));
}

pub(super) fn revoked(state: &mut ClusterState, id: LeaseId, revoked: Revoked) {
    change_lease(state, id, |l| l.revoked = Some(revoked));
}

pub(super) fn closed(state: &mut ClusterState, id: LeaseId) {
    change_lease(state, id, |l| l.phase = Phase::Closing);
}

pub(super) fn expired(state: &mut ClusterState, at: Revision, id: LeaseId) {
    change_lease(state, id, |l| {
        l.phase = Phase::Expired;
        l.expired = Some(at);
    });
}

pub(super) fn observed(state: &mut ClusterState, id: LeaseId, status: &InstanceStatus) {
    change_lease(state, id, |l| l.instance = Some(status.clone()));
}

/// The renewal that came with it is set by `session::renew`; replay of events alone sets the same index here.
pub(super) fn activated(state: &mut ClusterState, at: Revision, id: LeaseId, token: Token) {
    change_lease(state, id, |l| {
        l.phase = Phase::Active;
        l.activated = Some(at);
    });
    let ttl_ms = state.settings().ttl_ms;
    state.renewals.insert(token, Renewal { renewed: at, ttl_ms });
    state.touch(ObjectKey::Renewal(token));
}

/// Takes the lease out of the state and leaves a note on the container.
pub(super) fn ended(state: &mut ClusterState, at: Revision, time: Time, id: LeaseId, how: Ended) {
    let lease = state.leases.remove(&id).expect("decide named an un-ended lease");
    state.index.remove_lease(&lease);
    state.renewals.remove(&lease.token);
    state.touch(ObjectKey::Lease(id));
    state.touch(ObjectKey::Renewal(lease.token));
    let last = LastLease { lease: id, token: lease.token, host: lease.host, ended: how, at, time };
    change_container(state, &lease.container, |c| c.last_lease = Some(last));
}

pub(super) fn released(state: &mut ClusterState, at: Revision, time: Time, id: LeaseId, exit: Option<&Exit>, finished: bool) {
    let lease = state.leases.get(&id).expect("decide named an un-ended lease");
    let (container, host, token) = (lease.container.clone(), lease.host.clone(), lease.token);
    ended(state, at, time, id, Ended::Released { exit: exit.cloned() });
    unbar(state, &host, token);
    if finished {
        let exit = exit.cloned().unwrap_or(Exit { code: 0, reason: String::new() });
        change_container(state, &container, |c| c.finished = Some(exit));
    }
}
