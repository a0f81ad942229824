//! The replicated state machine as the store sees it: decodes a command, applies it to the cluster state, encodes what changed. Called by
//! the store's apply on every node alike; it must never ask who leads or what time it is.

use std::collections::BTreeSet;
use std::sync::Arc;

use berth_state::codec;
use berth_state::ids::Revision;
use berth_state::state::ObjectKey;
use berth_state::{ClusterState, Outcome, Rejection};
use bytes::Bytes;

use crate::store::machine::{Applied, Machine};

/// The cluster state of this node, and which leases and sessions changed since the notes were last brought up to date.
#[derive(Default)]
pub struct ClusterMachine {
    state: ClusterState,
    /// Not replicated; read and emptied by the notes (L10). A set, so its size is bounded by the state's.
    touched: BTreeSet<ObjectKey>,
}

impl ClusterMachine {
    #[must_use]
    pub fn state(&self) -> &ClusterState {
        &self.state
    }

    /// What changed since the last call, for the notes.
    pub fn take_touched(&mut self) -> BTreeSet<ObjectKey> {
        std::mem::take(&mut self.touched)
    }
}

impl Machine for ClusterMachine {
    fn apply(&mut self, index: u64, command: &[u8]) -> Applied {
        let command = match codec::decode_command(command) {
            Ok(command) => command,
            // Same bytes, same answer on every node: a refusal, not a crash of the whole group.
            Err(why) => {
                let rejection = Rejection::Undecodable { why: why.to_string() };
                return Applied { outcome: Some(Arc::new(Outcome::Rejected(rejection))), events: Vec::new(), changed: Vec::new() };
            }
        };
        let applied = self.state.apply(Revision(index), &command);
        let changed = applied.changed.iter().map(|key| (key.encode(), self.state.object(key))).collect();
        let events = applied.events.iter().map(|event| Bytes::from(codec::encode_event(event))).collect();
        self.touched.extend(applied.changed.into_iter().filter(has_note));
        Applied { outcome: Some(Arc::new(applied.outcome)), events, changed }
    }

    fn load(objects: &mut dyn Iterator<Item = (Vec<u8>, Vec<u8>)>) -> Result<Self, String> {
        let state = ClusterState::load(objects).map_err(|e| e.to_string())?;
        // A fresh start or a snapshot: every note is set anew, to now, unless it is of the same renewal (L10).
        let leases = state.leases().flat_map(|l| [ObjectKey::Lease(l.id), ObjectKey::Renewal(l.token)]);
        let touched = leases.chain(state.sessions().map(|s| ObjectKey::Pulse(s.id))).collect();
        Ok(Self { state, touched })
    }

    fn dump(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.state.objects().collect()
    }
}

fn has_note(key: &ObjectKey) -> bool {
    match key {
        ObjectKey::Lease(_) | ObjectKey::Renewal(_) | ObjectKey::Pulse(_) => true,
        ObjectKey::Cluster
        | ObjectKey::Clock
        | ObjectKey::Host(_)
        | ObjectKey::Volume(_)
        | ObjectKey::Container(_)
        | ObjectKey::Session(_)
        | ObjectKey::Fence(_)
        | ObjectKey::Request(_) => false,
    }
}
