//! The kill handles of instances seen running, so that `kill` works while the engine does not answer. Filled by start and
//! inspect, emptied by remove. It must never be used to say that an instance does *not* run.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::liveness::is_alive;
use crate::runtime::{InstanceKey, KillHandle};

#[derive(Debug, Default)]
pub(super) struct Handles {
    known: Mutex<BTreeMap<InstanceKey, KillHandle>>,
}

impl Handles {
    pub(super) fn keep(&self, key: &InstanceKey, handle: &KillHandle) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        // Bounds the map by what runs on this host, whoever removed the rest.
        known.retain(|_, kept| is_alive(kept));
        known.insert(key.clone(), handle.clone());
    }

    /// The handle of an instance whose process lives now.
    pub(super) fn alive(&self, key: &InstanceKey) -> Option<KillHandle> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(key).filter(|handle| is_alive(handle)).cloned()
    }

    pub(super) fn forget(&self, key: &InstanceKey) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}
