//! Which events are part of the story of a volume or container. Fed with the event log from its beginning, because most events name only a lease.

use std::collections::BTreeSet;

use berth_state::ids::{ContainerId, LeaseId, Revision, Token};
use berth_state::noun::container::ContainerSpec;
use berth_state::{Event, Fact};

/// So many of the newest events about the subject are shown.
pub const HISTORY: usize = 12;

pub struct Story<'a> {
    name: &'a str,
    /// Of a volume: who mounts it, as of the event that is looked at.
    containers: BTreeSet<ContainerId>,
    leases: BTreeSet<LeaseId>,
    tokens: BTreeSet<Token>,
    attempts: BTreeSet<Revision>,
}

impl<'a> Story<'a> {
    #[must_use]
    pub fn of(name: &'a str) -> Self {
        let (containers, leases) = (BTreeSet::new(), BTreeSet::new());
        Self { name, containers, leases, tokens: BTreeSet::new(), attempts: BTreeSet::new() }
    }

    fn mounts(&mut self, container: &ContainerId, spec: &ContainerSpec) -> bool {
        if spec.volumes.iter().any(|mount| mount.volume.as_str() == self.name) {
            self.containers.insert(container.clone());
        } else {
            self.containers.remove(container);
        }
        container.as_str() == self.name
    }

    /// Whether the event is part of it.
    pub fn concerns(&mut self, event: &Event) -> bool {
        match &event.fact {
            Fact::LeaseGranted { lease, token, container, .. } => {
                let ours = container.as_str() == self.name || self.containers.contains(container);
                if ours {
                    self.leases.insert(*lease);
                    self.tokens.insert(*token);
                }
                ours
            }
            Fact::LeaseActivated { lease, .. }
            | Fact::LeaseWithdrawn { lease, .. }
            | Fact::LeaseRevoked { lease, .. }
            | Fact::LeaseClosed { lease, .. }
            | Fact::LeaseExpired { lease, .. }
            | Fact::FenceStarted { lease, .. }
            | Fact::LeaseFenced { lease, .. }
            | Fact::LeaseReleased { lease, .. }
            | Fact::InstanceObserved { lease, .. } => self.leases.contains(lease),
            Fact::FenceAttempted { attempt, .. } => {
                let ours = attempt.tokens.iter().any(|token| self.tokens.contains(token));
                if ours {
                    self.attempts.insert(attempt.id);
                }
                ours
            }
            Fact::FenceTried { attempt, .. } => self.attempts.contains(attempt),
            Fact::HolderGone { token, .. } => self.tokens.contains(token),
            Fact::VolumeAdded { volume, .. }
            | Fact::VolumeUpdated { volume, .. }
            | Fact::VolumeRemoved { volume }
            | Fact::CutLiftStarted { volume, .. }
            | Fact::CutLifted { volume, .. }
            | Fact::SplitBrainSuspected { volume, .. }
            | Fact::SuspicionCleared { volume, .. } => volume.as_str() == self.name,
            Fact::ContainerAdded { container, spec, .. } | Fact::ContainerUpdated { container, spec, .. } => self.mounts(container, spec),
            Fact::ContainerRemoved { container }
            | Fact::ContainerDesiredChanged { container, .. }
            | Fact::ContainerRelocationRequested { container, .. } => container.as_str() == self.name,
            Fact::ClusterInitialized { .. }
            | Fact::SettingsChanged { .. }
            | Fact::FormatRaised { .. }
            | Fact::HostAdded { .. }
            | Fact::HostUpdated { .. }
            | Fact::HostRemoved { .. }
            | Fact::HostSchedulingChanged { .. }
            | Fact::HostHealthChanged { .. }
            | Fact::SessionOpened { .. }
            | Fact::SessionClosed { .. }
            | Fact::SessionCloned { .. } => false,
        }
    }
}
