//! Keys of stored objects: one byte for the kind, then the id, so that byte order is the order of [`ObjectKey`]. A disk format: golden bytes
//! in `tests/golden/keys.hex`.

use crate::codec::error::CodecError;
use crate::ids::{ContainerId, HostId, LeaseId, RequestId, SessionId, Token, VolumeId};
use crate::state::ObjectKey;

// Gaps are room for later kinds.
const CLUSTER: u8 = 0x01;
const CLOCK: u8 = 0x02;
const HOST: u8 = 0x10;
const VOLUME: u8 = 0x11;
const CONTAINER: u8 = 0x12;
const LEASE: u8 = 0x20;
const SESSION: u8 = 0x21;
const PULSE: u8 = 0x22;
const RENEWAL: u8 = 0x23;
const FENCE: u8 = 0x24;
const REQUEST: u8 = 0x30;

impl ObjectKey {
    /// Prefix byte, then: names as they are, numbers as 8 bytes big-endian, ids as 16 bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Cluster => vec![CLUSTER],
            Self::Clock => vec![CLOCK],
            Self::Host(id) => join(HOST, id.as_str().as_bytes()),
            Self::Volume(id) => join(VOLUME, id.as_str().as_bytes()),
            Self::Container(id) => join(CONTAINER, id.as_str().as_bytes()),
            Self::Lease(id) => join(LEASE, &id.0.to_be_bytes()),
            Self::Session(id) => join(SESSION, &id.0.to_be_bytes()),
            Self::Pulse(id) => join(PULSE, &id.0.to_be_bytes()),
            Self::Renewal(token) => join(RENEWAL, &token.0.to_be_bytes()),
            Self::Fence(token) => join(FENCE, &token.0.to_be_bytes()),
            Self::Request(id) => join(REQUEST, &id.0),
        }
    }

    /// # Errors
    /// [`CodecError::BadKey`].
    pub fn decode(key: &[u8]) -> Result<Self, CodecError> {
        Self::parse(key).ok_or_else(|| CodecError::BadKey { key_hex: hex(key) })
    }

    fn parse(key: &[u8]) -> Option<Self> {
        let (kind, id) = key.split_first()?;
        let name = || std::str::from_utf8(id).ok();
        let number = || id.try_into().ok().map(u64::from_be_bytes);
        match *kind {
            CLUSTER if id.is_empty() => Some(Self::Cluster),
            CLOCK if id.is_empty() => Some(Self::Clock),
            HOST => HostId::new(name()?).ok().map(Self::Host),
            VOLUME => VolumeId::new(name()?).ok().map(Self::Volume),
            CONTAINER => ContainerId::new(name()?).ok().map(Self::Container),
            LEASE => Some(Self::Lease(LeaseId(number()?))),
            SESSION => Some(Self::Session(SessionId(number()?))),
            PULSE => Some(Self::Pulse(SessionId(number()?))),
            RENEWAL => Some(Self::Renewal(Token(number()?))),
            FENCE => Some(Self::Fence(Token(number()?))),
            REQUEST => Some(Self::Request(RequestId(id.try_into().ok()?))),
            _ => None,
        }
    }
}

fn join(kind: u8, id: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + id.len());
    key.push(kind);
    key.extend_from_slice(id);
    key
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
