//! Ids, tokens and counters: every one a newtype, so that no two can be mixed up. Used everywhere; holds no rules beyond what a
//! well-formed id is.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Serialize, Serializer};

/// Longest name of a host, volume or container, in bytes.
pub const MAX_NAME_BYTES: usize = 63;

/// Why a text is not a valid name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a valid name: use 1 to 63 of a-z, 0-9, '-', '_' and '.', and start with a letter or digit")]
pub struct NameError {
    pub text: String,
}

/// Why a text is not a valid 16-byte id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an id: use 32 hex digits")]
pub struct HexIdError {
    pub text: String,
}

fn check_name(text: &str) -> Result<(), NameError> {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.');
    let first_ok = text.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    if first_ok && text.len() <= MAX_NAME_BYTES && text.bytes().all(inner) { Ok(()) } else { Err(NameError { text: text.to_owned() }) }
}

macro_rules! name_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// # Errors
            /// [`NameError`] when the text is empty, too long, or has other characters.
            pub fn new(text: &str) -> Result<Self, NameError> {
                check_name(text)?;
                Ok(Self(Arc::from(text)))
            }

            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(&self.0)
            }
        }
    };
}

name_id!(
    /// A host, by the name its operator gave it.
    HostId
);
name_id!(
    /// A volume, by name.
    VolumeId
);
name_id!(
    /// A container, by name.
    ContainerId
);

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = std::num::ParseIntError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map($name)
            }
        }
    };
}

number!(
    /// Position in the replicated log; also the revision of the state after that entry. 0: before the first entry.
    Revision
);
number!(
    /// A lease: the log index of its grant.
    LeaseId
);
number!(
    /// The fencing token of a lease: floor + log index of the grant (L2). Rises over all volumes and incarnations (I4).
    Token
);
number!(
    /// A session: the log index of the entry that opened it (L17).
    SessionId
);
number!(
    /// Number of one transmitted keepalive within its session; every transmission has a new one (L5).
    Seq
);
number!(
    /// A control node of the Raft group.
    NodeId
);
number!(
    /// Random number sent with a keepalive; tells a cloned machine from a reordered message (L17).
    Nonce
);
number!(
    /// Spec counter of one object, for compare-and-set. 1 when added.
    Version
);
number!(
    /// Life of the control plane; raised by restore or forced recovery (L20).
    Incarnation
);
number!(
    /// Unix time in milliseconds, as the leader's clock showed it; for people to read, never for decisions.
    Time
);

impl Revision {
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 16]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = HexIdError;
            /// Accepts 32 hex digits, with or without the dashes of a UUID.
            fn from_str(text: &str) -> Result<Self, HexIdError> {
                let err = || HexIdError { text: text.to_owned() };
                let digits: Vec<u8> = text.bytes().filter(|b| *b != b'-').collect();
                if digits.len() != 32 {
                    return Err(err());
                }
                let mut id = [0_u8; 16];
                for (byte, pair) in id.iter_mut().zip(digits.chunks(2)) {
                    let pair = std::str::from_utf8(pair).map_err(|_| err())?;
                    *byte = u8::from_str_radix(pair, 16).map_err(|_| err())?;
                }
                Ok(Self(id))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }
    };
}

hex_id!(
    /// One Berth cluster, for ever; chosen at random when it is created.
    ClusterId
);
hex_id!(
    /// One boot of a host's kernel (/proc/sys/kernel/random/boot_id).
    BootId
);
hex_id!(
    /// One executor ledger: a random id written when the ledger folder is created.
    LedgerId
);
hex_id!(
    /// Names one write, so that a retry gets the first answer.
    RequestId
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_lowercase_and_bounded() {
        assert!(HostId::new("h-1.rack_2").is_ok());
        for bad in ["", "-a", ".a", "A", "a b", "a/b", "ä", &"x".repeat(64)] {
            assert!(HostId::new(bad).is_err(), "{bad:?} passed");
        }
    }

    #[test]
    fn hex_ids_read_back_what_they_print_and_accept_uuids() {
        let id = ClusterId([0xab; 16]);
        assert_eq!(id.to_string().parse::<ClusterId>(), Ok(id));
        assert_eq!("abababab-abab-abab-abab-abababababab".parse::<ClusterId>(), Ok(id));
        assert!("ab".parse::<ClusterId>().is_err());
        assert!("zz".repeat(16).parse::<ClusterId>().is_err());
    }
}
