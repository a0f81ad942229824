//! The state as stored objects: what a control node keeps in its store and sends as a snapshot. Derived parts (`index`, `changed`) are never
//! stored.

use prost::Message;
use sha2::{Digest, Sha256};

use crate::codec::error::{CodecError, Held};
use crate::codec::key::hex;
use crate::codec::parse;
use crate::codec::wire::Wire;
use crate::ids::{LeaseId, Time};
use crate::noun::container::Container;
use crate::noun::fence::Fence;
use crate::noun::host::Host;
use crate::noun::lease::Lease;
use crate::noun::session::Session;
use crate::noun::volume::Volume;
use crate::pb;
use crate::state::{ClusterState, Index, ObjectKey};

impl ClusterState {
    /// The value stored under `key`; `None`: there is no such object, so the store deletes it.
    #[must_use]
    pub fn object(&self, key: &ObjectKey) -> Option<Vec<u8>> {
        match key {
            ObjectKey::Cluster => self.cluster.as_ref().map(bytes),
            ObjectKey::Clock => (self.clock != Time(0)).then(|| pb::state::Clock { time_ms: self.clock.0 }.encode_to_vec()),
            ObjectKey::Host(id) => self.hosts.get(id).map(bytes),
            ObjectKey::Volume(id) => self.volumes.get(id).map(bytes),
            ObjectKey::Container(id) => self.containers.get(id).map(bytes),
            ObjectKey::Lease(id) => self.leases.get(id).map(bytes),
            ObjectKey::Session(id) => self.sessions.get(id).map(bytes),
            ObjectKey::Pulse(id) => self.pulses.get(id).map(bytes),
            ObjectKey::Renewal(token) => self.renewals.get(token).map(bytes),
            ObjectKey::Fence(token) => self.fences.get(token).map(bytes),
            ObjectKey::Request(id) => self.requests.get(id).map(bytes),
        }
    }

    /// All objects as (key, value), in key order; the same on every node that is at the same revision.
    pub fn objects(&self) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> + '_ {
        self.keys().filter_map(|key| Some((key.encode(), self.object(&key)?)))
    }

    fn keys(&self) -> impl Iterator<Item = ObjectKey> + '_ {
        [ObjectKey::Cluster, ObjectKey::Clock]
            .into_iter()
            .chain(self.hosts.keys().cloned().map(ObjectKey::Host))
            .chain(self.volumes.keys().cloned().map(ObjectKey::Volume))
            .chain(self.containers.keys().cloned().map(ObjectKey::Container))
            .chain(self.leases.keys().copied().map(ObjectKey::Lease))
            .chain(self.sessions.keys().copied().map(ObjectKey::Session))
            .chain(self.pulses.keys().copied().map(ObjectKey::Pulse))
            .chain(self.renewals.keys().copied().map(ObjectKey::Renewal))
            .chain(self.fences.keys().copied().map(ObjectKey::Fence))
            .chain(self.requests.keys().copied().map(ObjectKey::Request))
    }

    /// The state that has just these objects, in any order.
    ///
    /// # Errors
    /// [`CodecError`] when a key or value is not this version's, or two leases hold the same thing: no node may go on from such a store.
    pub fn load(objects: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>) -> Result<Self, CodecError> {
        let mut state = Self::default();
        for (key, value) in objects {
            state.insert(&key, &value)?;
        }
        state.index = index(&state)?;
        Ok(state)
    }

    fn insert(&mut self, key: &[u8], value: &[u8]) -> Result<(), CodecError> {
        // Where the value names itself, it must be what the key says.
        let own = |agrees: bool| if agrees { Ok(()) } else { Err(CodecError::KeyMismatch { key_hex: hex(key) }) };
        match ObjectKey::decode(key)? {
            ObjectKey::Cluster => self.cluster = Some(object("Cluster", value)?),
            ObjectKey::Clock => self.clock = Time(parse::<pb::state::Clock>("Clock", value)?.time_ms),
            ObjectKey::Host(id) => {
                let host: Host = object("Host", value)?;
                own(host.id == id)?;
                self.hosts.insert(id, host);
            }
            ObjectKey::Volume(id) => {
                let volume: Volume = object("Volume", value)?;
                own(volume.id == id)?;
                self.volumes.insert(id, volume);
            }
            ObjectKey::Container(id) => {
                let container: Container = object("Container", value)?;
                own(container.id == id)?;
                self.containers.insert(id, container);
            }
            ObjectKey::Lease(id) => {
                let lease: Lease = object("Lease", value)?;
                own(lease.id == id)?;
                self.leases.insert(id, lease);
            }
            ObjectKey::Session(id) => {
                let session: Session = object("Session", value)?;
                own(session.id == id)?;
                self.sessions.insert(id, session);
            }
            ObjectKey::Pulse(id) => drop(self.pulses.insert(id, object("Pulse", value)?)),
            ObjectKey::Renewal(token) => drop(self.renewals.insert(token, object("Renewal", value)?)),
            ObjectKey::Fence(token) => {
                let fence: Fence = object("Fence", value)?;
                own(fence.token == token)?;
                self.fences.insert(token, fence);
            }
            ObjectKey::Request(id) => drop(self.requests.insert(id, object("Answered", value)?)),
        }
        Ok(())
    }

    /// SHA-256 over all objects: equal on two nodes at the same revision, or one of them has gone astray.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for (key, value) in self.objects() {
            for part in [key, value] {
                hash.update((part.len() as u64).to_be_bytes());
                hash.update(part);
            }
        }
        hash.finalize().into()
    }
}

fn bytes<T: Wire<Pb: Message>>(value: &T) -> Vec<u8> {
    value.to_pb().encode_to_vec()
}

fn object<T: Wire<Pb: Message + Default>>(message: &'static str, value: &[u8]) -> Result<T, CodecError> {
    T::from_pb(parse(message, value)?)
}

/// I1 rests on the index: a store in which two leases share a volume must not be loaded, since one of them would be hidden.
fn index(state: &ClusterState) -> Result<Index, CodecError> {
    let mut index = Index::default();
    for lease in state.leases.values() {
        if let Some((held, first)) = taken(&index, lease) {
            return Err(CodecError::TwoHolders { held, first, second: lease.id });
        }
        index.add_lease(lease);
    }
    index.request_order = state.requests.iter().map(|(id, answered)| (answered.at, *id)).collect();
    Ok(index)
}

fn taken(index: &Index, lease: &Lease) -> Option<(Held, LeaseId)> {
    let container = index.by_container.get(&lease.container).map(|first| (Held::Container(lease.container.clone()), *first));
    let token = index.by_token.get(&lease.token).map(|first| (Held::Token(lease.token), *first));
    let mut volumes = lease.volumes.iter().filter_map(|v| Some((Held::Volume(v.volume.clone()), *index.by_volume.get(&v.volume)?)));
    container.or(token).or_else(|| volumes.next())
}
