//! One container of ours as the engine describes it. Made by `find`, read by everything that acts on an instance.

use bollard::models::ContainerInspectResponse;

use super::guard::Guarded;
use super::labels::Owner;
use super::settings;
use super::state::instance_state;
use crate::runtime::{InstanceKey, InstanceState, Observed};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// The engine's id, 64 hex digits: names are reused and can be changed, ids cannot.
    pub(super) id: String,
    pub(super) key: InstanceKey,
    pub(super) lease: u64,
    pub(super) state: InstanceState,
    pub(super) paused: bool,
    /// Init of the container as the engine's pid namespace numbers it.
    pub(super) pid: Option<u32>,
    pub(super) guard: Guarded,
    /// As set on the container or its image.
    pub(super) stop_signal: Option<String>,
    /// Why it must not be started, by its settings.
    pub(super) refused: Option<String>,
}

impl Found {
    /// `None`: not ours.
    pub(super) fn from_inspected(owner: &Owner, inspected: ContainerInspectResponse) -> Option<Self> {
        let guard = Guarded::of(&inspected);
        let config = inspected.config?;
        let identity = owner.identify(&config.labels?)?;
        let state = inspected.state.as_ref();
        let refused = settings::refusal(inspected.host_config.as_ref());
        let memory_bytes = inspected.host_config.as_ref().and_then(|host| host.memory);
        Some(Self {
            id: inspected.id?,
            key: identity.key,
            lease: identity.lease,
            state: guard.explain(instance_state(state, memory_bytes)),
            guard,
            paused: state.and_then(|state| state.paused).unwrap_or(false),
            pid: state.and_then(|state| state.pid).and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid > 0),
            stop_signal: config.stop_signal.filter(|signal| !signal.is_empty()),
            refused,
        })
    }

    pub(super) fn into_observed(self, owner: &Owner) -> Observed {
        Observed { key: self.key, cluster: owner.cluster.clone(), lease: self.lease, state: self.state }
    }

    pub(super) fn running(&self) -> bool {
        match self.state {
            InstanceState::Running => true,
            InstanceState::Created | InstanceState::Exited { .. } => false,
        }
    }
}
