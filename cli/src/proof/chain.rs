//! The rolling hash over the event log, computed again from the bytes of each event. Pure. The same definition as in the control nodes' store, on purpose
//! written a second time: a proof must not rest on the code it checks.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};
use sha2::{Digest, Sha256};

/// SHA-256 over the hash before, the revision and place (8 and 4 bytes, big endian), and the event's bytes; 32 zero bytes before the first.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    #[must_use]
    pub fn after(self, revision: u64, seq: u32, event: &[u8]) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(self.0);
        hasher.update(revision.to_be_bytes());
        hasher.update(seq.to_be_bytes());
        hasher.update(event);
        Self(hasher.finalize().into())
    }

    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

/// An event and the rolling hash up to and including it: names one history. As text `REVISION.SEQ:HASH`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Head {
    pub revision: u64,
    pub seq: u32,
    pub hash: Hash,
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}:{}", self.revision, self.seq, self.hash)
    }
}

impl FromStr for Head {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?}: REVISION.SEQ:HASH, as a proof prints it");
        let (place, hash) = text.split_once(':').ok_or_else(wrong)?;
        let (revision, seq) = place.split_once('.').ok_or_else(wrong)?;
        let hash = from_hex(hash).and_then(|bytes| Hash::from_bytes(&bytes)).ok_or_else(wrong)?;
        Ok(Self { revision: revision.parse().map_err(|_| wrong())?, seq: seq.parse().map_err(|_| wrong())?, hash })
    }
}

/// One event as it was hashed, with the hash that is claimed for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub revision: u64,
    pub seq: u32,
    pub event: Vec<u8>,
    pub hash: Hash,
}

impl Record {
    #[must_use]
    pub fn head(&self) -> Head {
        Head { revision: self.revision, seq: self.seq, hash: self.hash }
    }
}

/// How far the chain was followed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Chain {
    at: Option<Head>,
    before: Hash,
}

impl Chain {
    /// One that begins after an event whose hash somebody else says.
    #[must_use]
    pub fn from(before: Hash) -> Self {
        Self { at: None, before }
    }

    #[must_use]
    pub fn head(&self) -> Option<Head> {
        self.at
    }

    /// # Errors
    /// Why the record does not follow on what came before.
    pub fn follow(&mut self, record: &Record) -> Result<(), String> {
        if let Some(at) = self.at {
            let next_of_same = record.revision == at.revision && Some(record.seq) == at.seq.checked_add(1);
            if !next_of_same && (record.revision <= at.revision || record.seq != 0) {
                return Err(format!("event {}.{} stands after event {}.{}", record.revision, record.seq, at.revision, at.seq));
            }
        } else if record.seq != 0 {
            return Err(format!("the history begins with event {}.{}", record.revision, record.seq));
        }
        let hash = self.before.after(record.revision, record.seq, &record.event);
        if hash != record.hash {
            return Err(format!(
                "hash chain broken at event {}.{}: it, or one just before it, was changed, removed, added or moved",
                record.revision, record.seq
            ));
        }
        self.before = hash;
        self.at = Some(record.head());
        Ok(())
    }
}

#[must_use]
pub fn to_hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[must_use]
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The very bytes that raft's store computes for this event; both sides have this number in a test.
    #[test]
    fn the_hash_is_the_one_that_control_nodes_write() {
        let first = Hash::default().after(1, 0, b"event");
        assert_eq!(first.to_string(), GOLDEN);
    }
    const GOLDEN: &str = "3492443a62f09cd0d90677536f051f2f9ab164a6ca72f72e490b2a632a38c551";

    #[test]
    fn a_head_reads_back_what_it_prints() {
        let head = Head { revision: 7, seq: 1, hash: Hash([0xab; 32]) };
        assert_eq!(head.to_string().parse::<Head>(), Ok(head));
        for bad in ["", "7", "7.1", "7.1:ab", "7:abab", "x.1:ab"] {
            assert!(bad.parse::<Head>().is_err(), "{bad:?} passed");
        }
    }

    #[test]
    fn hex_is_whole_bytes_of_hex_digits() {
        assert_eq!(from_hex("00ff"), Some(vec![0, 255]));
        assert_eq!(to_hex(&[0, 255]), "00ff");
        for bad in ["0", "0g", "+1", "äää"] {
            assert_eq!(from_hex(bad), None, "{bad:?}");
        }
    }
}
