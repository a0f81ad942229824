//! Evolve: folds one event into the state. Never refuses and never asks a rule: `decide` did. An event that names what is not there
//! is a broken invariant of ours and panics.
//!
//! - [`registry`]: cluster, hosts, volumes, containers.
//! - [`lease`]: leases and fences.
//! - [`session`]: sessions; and [`session::renew`], the one change that is not an event (L6).

pub(crate) mod lease;
pub(crate) mod registry;
pub(crate) mod session;

use crate::event::{Event, Fact};
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
        match &event.fact {
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
            | Fact::ContainerRelocationRequested { .. } => registry::evolve(self, event),
            Fact::LeaseGranted { .. }
            | Fact::LeaseActivated { .. }
            | Fact::LeaseWithdrawn { .. }
            | Fact::LeaseRevoked { .. }
            | Fact::LeaseClosed { .. }
            | Fact::LeaseExpired { .. }
            | Fact::FenceStarted { .. }
            | Fact::LeaseFenced { .. }
            | Fact::LeaseReleased { .. }
            | Fact::InstanceObserved { .. } => lease::evolve(self, event),
            Fact::SessionOpened { .. } | Fact::SessionClosed { .. } | Fact::SessionCloned { .. } => session::evolve(self, event),
        }
    }

    pub(crate) fn touch(&mut self, key: ObjectKey) {
        self.changed.insert(key);
    }
}
