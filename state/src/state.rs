//! The applied state: all objects, and the indices over leases that the rules ask. Changed only by `evolve` and by the pulse
//! functions of `decide::keepalive`'s result; every change is noted in `changed` so that the store writes just that.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::{ContainerId, HostId, LeaseId, RequestId, Revision, SessionId, Time, Token, VolumeId};
use crate::noun::cluster::{Cluster, Settings};
use crate::noun::container::Container;
use crate::noun::fence::Fence;
use crate::noun::host::Host;
use crate::noun::lease::Lease;
use crate::noun::session::{Pulse, Renewal, Session};
use crate::noun::volume::Volume;
use crate::outcome::Outcome;
use crate::rejection::Rejection;

/// Names one stored object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ObjectKey {
    Cluster,
    Clock,
    Host(HostId),
    Volume(VolumeId),
    Container(ContainerId),
    Lease(LeaseId),
    Session(SessionId),
    Pulse(SessionId),
    Renewal(Token),
    Fence(Token),
    Request(RequestId),
}

/// The answer kept for a retried request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    pub at: Revision,
    /// Hash of the order, so that a request id used for another command is noticed.
    pub digest: u64,
    pub outcome: Outcome,
}

/// So many answered requests are remembered; a retry later than that is a new command. In time: at 1,000 writes a second, 16 s;
/// a client gives up long before.
pub const MAX_REQUESTS: usize = 16_384;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterState {
    pub(crate) cluster: Option<Cluster>,
    /// The newest time any command carried (never goes back).
    pub(crate) clock: Time,
    pub(crate) hosts: BTreeMap<HostId, Host>,
    pub(crate) volumes: BTreeMap<VolumeId, Volume>,
    pub(crate) containers: BTreeMap<ContainerId, Container>,
    /// Un-ended leases only.
    pub(crate) leases: BTreeMap<LeaseId, Lease>,
    pub(crate) sessions: BTreeMap<SessionId, Session>,
    /// What keepalives changed: replicated, but no event (L6).
    pub(crate) pulses: BTreeMap<SessionId, Pulse>,
    pub(crate) renewals: BTreeMap<Token, Renewal>,
    pub(crate) fences: BTreeMap<Token, Fence>,
    pub(crate) requests: BTreeMap<RequestId, Answered>,
    pub(crate) index: Index,
    pub(crate) changed: BTreeSet<ObjectKey>,
}

/// Derived from the objects; rebuilt on load and checked against them by the invariants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Index {
    pub(crate) by_container: BTreeMap<ContainerId, LeaseId>,
    pub(crate) by_volume: BTreeMap<VolumeId, LeaseId>,
    pub(crate) by_token: BTreeMap<Token, LeaseId>,
    pub(crate) by_host: BTreeSet<(HostId, LeaseId)>,
    /// Requests in the order they were answered.
    pub(crate) request_order: BTreeSet<(Revision, RequestId)>,
}

impl Index {
    pub(crate) fn add_lease(&mut self, lease: &Lease) {
        self.by_container.insert(lease.container.clone(), lease.id);
        self.by_token.insert(lease.token, lease.id);
        self.by_host.insert((lease.host.clone(), lease.id));
        for held in &lease.volumes {
            self.by_volume.insert(held.volume.clone(), lease.id);
        }
    }

    pub(crate) fn remove_lease(&mut self, lease: &Lease) {
        self.by_container.remove(&lease.container);
        self.by_token.remove(&lease.token);
        self.by_host.remove(&(lease.host.clone(), lease.id));
        for held in &lease.volumes {
            self.by_volume.remove(&held.volume);
        }
    }
}

/// Reads. All are by reference and cheap.
impl ClusterState {
    #[must_use]
    pub fn cluster(&self) -> Option<&Cluster> {
        self.cluster.as_ref()
    }

    /// # Errors
    /// [`Rejection::NotInitialized`] before the first command.
    pub fn need_cluster(&self) -> Result<&Cluster, Rejection> {
        self.cluster.as_ref().ok_or(Rejection::NotInitialized)
    }

    #[must_use]
    pub fn settings(&self) -> Settings {
        self.cluster.as_ref().map(|c| c.settings).unwrap_or_default()
    }

    #[must_use]
    pub fn clock(&self) -> Time {
        self.clock
    }

    pub fn hosts(&self) -> impl Iterator<Item = &Host> {
        self.hosts.values()
    }

    pub fn volumes(&self) -> impl Iterator<Item = &Volume> {
        self.volumes.values()
    }

    pub fn containers(&self) -> impl Iterator<Item = &Container> {
        self.containers.values()
    }

    pub fn leases(&self) -> impl Iterator<Item = &Lease> {
        self.leases.values()
    }

    pub fn sessions(&self) -> impl Iterator<Item = &Session> {
        self.sessions.values()
    }

    pub fn fences(&self) -> impl Iterator<Item = &Fence> {
        self.fences.values()
    }

    #[must_use]
    pub fn fence(&self, token: Token) -> Option<&Fence> {
        self.fences.get(&token)
    }

    #[must_use]
    pub fn host(&self, id: &HostId) -> Option<&Host> {
        self.hosts.get(id)
    }

    #[must_use]
    pub fn volume(&self, id: &VolumeId) -> Option<&Volume> {
        self.volumes.get(id)
    }

    #[must_use]
    pub fn container(&self, id: &ContainerId) -> Option<&Container> {
        self.containers.get(id)
    }

    #[must_use]
    pub fn lease(&self, id: LeaseId) -> Option<&Lease> {
        self.leases.get(&id)
    }

    #[must_use]
    pub fn session(&self, id: SessionId) -> Option<&Session> {
        self.sessions.get(&id)
    }

    #[must_use]
    pub fn pulse(&self, id: SessionId) -> Option<&Pulse> {
        self.pulses.get(&id)
    }

    #[must_use]
    pub fn renewal(&self, token: Token) -> Option<&Renewal> {
        self.renewals.get(&token)
    }

    #[must_use]
    pub fn lease_by_token(&self, token: Token) -> Option<&Lease> {
        self.index.by_token.get(&token).and_then(|id| self.leases.get(id))
    }

    #[must_use]
    pub fn lease_of_container(&self, id: &ContainerId) -> Option<&Lease> {
        self.index.by_container.get(id).and_then(|lease| self.leases.get(lease))
    }

    #[must_use]
    pub fn lease_of_volume(&self, id: &VolumeId) -> Option<&Lease> {
        self.index.by_volume.get(id).and_then(|lease| self.leases.get(lease))
    }

    pub fn leases_of_host<'a>(&'a self, id: &HostId) -> impl Iterator<Item = &'a Lease> + 'a {
        let from = (id.clone(), LeaseId(0));
        let to = (id.clone(), LeaseId(u64::MAX));
        self.index.by_host.range(from..=to).filter_map(|(_, lease)| self.leases.get(lease))
    }

    pub(crate) fn leases_of_session(&self, id: SessionId) -> impl Iterator<Item = &Lease> {
        self.sessions.get(&id).into_iter().flat_map(move |s| self.leases_of_host(&s.host)).filter(move |lease| lease.session == id)
    }

    /// # Errors
    /// [`Rejection::HostNotFound`].
    pub fn need_host(&self, id: &HostId) -> Result<&Host, Rejection> {
        self.hosts.get(id).ok_or_else(|| Rejection::HostNotFound { host: id.clone() })
    }

    /// # Errors
    /// [`Rejection::VolumeNotFound`].
    pub fn need_volume(&self, id: &VolumeId) -> Result<&Volume, Rejection> {
        self.volumes.get(id).ok_or_else(|| Rejection::VolumeNotFound { volume: id.clone() })
    }

    /// # Errors
    /// [`Rejection::ContainerNotFound`].
    pub fn need_container(&self, id: &ContainerId) -> Result<&Container, Rejection> {
        self.containers.get(id).ok_or_else(|| Rejection::ContainerNotFound { container: id.clone() })
    }

    /// The un-ended lease, by number and token both (L2).
    ///
    /// # Errors
    /// [`Rejection::LeaseNotFound`], [`Rejection::TokenMismatch`].
    pub fn need_lease(&self, id: LeaseId, token: Token) -> Result<&Lease, Rejection> {
        let lease = self.leases.get(&id).ok_or(Rejection::LeaseNotFound { lease: id })?;
        if lease.token != token {
            return Err(Rejection::TokenMismatch { lease: id, expected: token, actual: lease.token });
        }
        Ok(lease)
    }

    /// # Errors
    /// [`Rejection::SessionNotFound`] when it was closed, replaced, or never was.
    pub fn need_session(&self, id: SessionId) -> Result<(&Session, &Pulse), Rejection> {
        match (self.sessions.get(&id), self.pulses.get(&id)) {
            (Some(session), Some(pulse)) => Ok((session, pulse)),
            (None, _) | (_, None) => Err(Rejection::SessionNotFound { session: id }),
        }
    }
}
