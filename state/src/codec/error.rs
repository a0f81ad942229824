//! Why bytes are not what they should be. Returned by every decode; no retry helps with the same bytes.

use crate::ids::{NameError, VolumeId};

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    // The lower text is left out of this one: it may change with the library, and a refusal must read the same on every node.
    #[error("{message}: not a well-formed message; damaged, or something else altogether")]
    Malformed {
        message: &'static str,
        #[source]
        source: prost::DecodeError,
    },
    #[error("{message}: {bytes} bytes, at most {limit} are taken; split it")]
    TooLong { message: &'static str, bytes: usize, limit: usize },
    #[error("{message}.{field}: {count} entries, at most {limit} are taken; split it")]
    TooMany { message: &'static str, field: &'static str, count: usize, limit: usize },
    #[error("{message}.{field} is missing")]
    Missing { message: &'static str, field: &'static str },
    #[error("{message}: no case that this version knows; written by a newer version, so upgrade this one")]
    UnknownCase { message: &'static str },
    #[error("{message}.{field}: {number} has no meaning for this version; written by a newer version, so upgrade this one")]
    UnknownNumber { message: &'static str, field: &'static str, number: i32 },
    #[error("{message}.{field}: {why}")]
    BadName { message: &'static str, field: &'static str, why: NameError },
    #[error("{message}.{field}: an id has 16 bytes, not {bytes}")]
    BadIdLength { message: &'static str, field: &'static str, bytes: usize },
    #[error("{message}.{field}: {number} is more than {limit}")]
    OutOfRange { message: &'static str, field: &'static str, number: u64, limit: u64 },
    #[error("{message}.{field}: the same entry twice")]
    Duplicate { message: &'static str, field: &'static str },
    #[error("stored key {key_hex} is none of this version's; written by a newer version, so upgrade this one")]
    BadKey { key_hex: String },
    #[error("stored under key {key_hex} is another object: the store is damaged; restore from a snapshot or another node")]
    KeyMismatch { key_hex: String },
    #[error("stored leases {first} and {second} both hold {held}: the store is damaged; restore from a snapshot or another node")]
    TwoHolders { held: Held, first: crate::ids::LeaseId, second: crate::ids::LeaseId },
}

/// What two stored leases may not share (L1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    Container(crate::ids::ContainerId),
    Volume(VolumeId),
    Token(crate::ids::Token),
}

impl std::fmt::Display for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Container(id) => write!(f, "container {id}"),
            Self::Volume(id) => write!(f, "volume {id}"),
            Self::Token(token) => write!(f, "token {token}"),
        }
    }
}
