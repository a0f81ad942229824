//! Evolve: folds one event into the state. Never refuses and never asks a rule: `decide` did. An event that names what is not there
//! is a broken invariant of ours and panics.
//!
//! - [`registry`]: cluster, hosts, volumes, containers.
//! - [`lease`]: leases. [`fence`]: fences, fenced holders, bars, suspicions.
//! - [`session`]: sessions; and [`session::renew`], the one change that is not an event (L6).

pub(crate) mod fence;
pub(crate) mod lease;
pub(crate) mod registry;
pub(crate) mod session;

use crate::event::{Event, Fact};
use crate::evolve::fence::Tried;
use crate::evolve::lease::Grant;
use crate::noun::lease::{Ended, Revoked};
use crate::noun::volume::Suspicion;
use crate::state::{ClusterState, ObjectKey};

impl ClusterState {
    /// Folds one event into the state.
    ///
    /// # Panics
    /// When the event contradicts the state, which only a defect of ours can cause.
    pub fn evolve(&mut self, event: &Event) {
        if event.time > self.clock {
            self.clock = event.time;
            self.touch(ObjectKey::Clock);
        }
        let (at, time) = (event.revision, event.time);
        match &event.fact {
            Fact::ClusterInitialized { cluster, format, settings } => registry::initialized(self, *cluster, *format, *settings),
            Fact::SettingsChanged { settings } => registry::change_cluster(self, |c| c.settings = *settings),
            Fact::FormatRaised { format } => registry::change_cluster(self, |c| c.format = *format),
            Fact::HostAdded { host, spec } => registry::host_added(self, at, host, spec),
            Fact::HostUpdated { host, version, spec } => registry::host_updated(self, host, *version, spec),
            Fact::HostRemoved { host } => registry::host_removed(self, host),
            Fact::HostSchedulingChanged { host, scheduling } => registry::change_host(self, host, |h| h.scheduling = *scheduling),
            Fact::HostHealthChanged { host, health } => registry::change_host(self, host, |h| h.health = *health),
            Fact::VolumeAdded { volume, spec } => registry::volume_added(self, at, volume, spec),
            Fact::VolumeUpdated { volume, version, spec } => registry::volume_updated(self, volume, *version, spec),
            Fact::VolumeRemoved { volume } => registry::volume_removed(self, volume),
            Fact::ContainerAdded { container, spec, desired } => registry::container_added(self, at, container, spec, *desired),
            Fact::ContainerUpdated { container, version, spec } => registry::container_updated(self, container, *version, spec),
            Fact::ContainerRemoved { container } => registry::container_removed(self, container),
            Fact::ContainerDesiredChanged { container, desired } => registry::desire(self, container, *desired),
            Fact::ContainerRelocationRequested { container, relocation } => registry::relocate(self, container, relocation),
            Fact::LeaseGranted { lease, token, container, version, host, session, cause } => {
                let grant = Grant { lease: *lease, token: *token, container, version: *version, host, session: *session, cause };
                lease::granted(self, at, time, &grant);
            }
            Fact::LeaseActivated { lease, token } => lease::activated(self, at, *lease, *token),
            Fact::LeaseWithdrawn { lease, token: _, why } => lease::ended(self, at, time, *lease, Ended::Withdrawn { why: *why }),
            Fact::LeaseRevoked { lease, token: _, reason, drain_ms } => {
                lease::revoked(self, *lease, Revoked { reason: *reason, at, time, drain_ms: *drain_ms });
            }
            Fact::LeaseClosed { lease, token: _, why: _ } => lease::closed(self, *lease),
            Fact::LeaseExpired { lease, token: _, renewed: _ } => lease::expired(self, at, *lease),
            Fact::FenceStarted { lease, token: _, method } => fence::started(self, at, time, *lease, *method),
            Fact::LeaseFenced { lease, token: _, evidence } => fence::fenced(self, at, time, *lease, evidence),
            Fact::LeaseReleased { lease, token: _, session: _, exit, finished } => {
                lease::released(self, at, time, *lease, exit.as_ref(), *finished);
            }
            Fact::InstanceObserved { lease, token: _, status } => lease::observed(self, *lease, status),
            Fact::SessionOpened { session, predecessor } => session::opened(self, at, session, *predecessor),
            Fact::SessionClosed { session, host, why } => session::closed(self, *session, host, *why),
            Fact::FenceAttempted { host, attempt, instead: _ } => fence::attempted(self, host, attempt),
            Fact::FenceTried { host, attempt, ok, output } => {
                fence::tried(self, at, time, host, &Tried { attempt: *attempt, ok: *ok, output });
            }
            Fact::HolderGone { host, token, proof: _ } => fence::holder_gone(self, host, *token),
            Fact::CutLiftStarted { volume, host, newest: _ } => fence::lift_started(self, at, volume, host),
            Fact::CutLifted { volume, host, newest: _ } => fence::lifted(self, volume, host),
            Fact::SplitBrainSuspected { volume, token, other, host: _ } => {
                fence::suspect(self, volume, Some(Suspicion { token: *token, other: *other, at, time }));
            }
            Fact::SuspicionCleared { volume, name: _, reason: _ } => fence::suspect(self, volume, None),
            // The alarm itself changes nothing; the LeaseClosed events beside it do.
            Fact::SessionCloned { .. } => {}
        }
    }

    pub(crate) fn touch(&mut self, key: ObjectKey) {
        self.changed.insert(key);
    }
}
