//! The snapshot file: magic, manifest, objects in key order, each with its length before it, and the SHA-256 of all that. Written by build,
//! read by install and at open. Nothing of a file is believed before its hash was found right.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use prost::Message;
use sha2::{Digest, Sha256};

use super::error::SnapshotError;
use super::manifest::{Manifest, SNAPSHOT_FORMAT};
use crate::store::pb;

const MAGIC: &[u8; 8] = b"BERTHSN\n";
const HASH_BYTES: u64 = 32;
/// No object of the state comes near this; more is damage.
const MAX_RECORD_BYTES: u32 = 256 << 20;

/// Hashes what passes through.
struct Hashing<W> {
    inner: W,
    hasher: Sha256,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

fn write_record(to: &mut impl Write, message: &impl Message) -> io::Result<()> {
    let bytes = message.encode_to_vec();
    let length = u32::try_from(bytes.len()).ok().filter(|n| *n <= MAX_RECORD_BYTES);
    let length = length.ok_or_else(|| io::Error::other(format!("a record of {} bytes is too large", bytes.len())))?;
    to.write_all(&length.to_be_bytes())?;
    to.write_all(&bytes)
}

/// Writes a whole snapshot. Does not sync.
pub(in crate::store) fn write(file: &File, manifest: &Manifest, objects: &[(Vec<u8>, Vec<u8>)]) -> io::Result<()> {
    let mut to = Hashing { inner: BufWriter::new(file), hasher: Sha256::new() };
    to.write_all(MAGIC)?;
    write_record(&mut to, &manifest.to_pb())?;
    for (key, value) in objects {
        write_record(&mut to, &pb::SnapshotObject { key: key.clone().into(), value: value.clone().into() })?;
    }
    let hash = to.hasher.finalize();
    to.inner.write_all(&hash)?;
    to.inner.flush()
}

/// Reads a file from a position of its own, so that many can read one file.
pub(in crate::store) struct ReadAt {
    file: Arc<File>,
    offset: u64,
    end: u64,
}

impl ReadAt {
    pub fn new(file: Arc<File>, end: u64) -> Self {
        Self { file, offset: 0, end }
    }
}

impl Read for ReadAt {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end.saturating_sub(self.offset)).unwrap_or(usize::MAX);
        let want = into.len().min(left);
        let read = self.file.read_at(&mut into[..want], self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}

fn read_record<M: Message + Default>(from: &mut impl Read) -> io::Result<M> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length);
    if length > MAX_RECORD_BYTES {
        return Err(io::Error::other(format!("a record of {length} bytes")));
    }
    let mut bytes = vec![0; length as usize];
    from.read_exact(&mut bytes)?;
    M::decode(&bytes[..]).map_err(io::Error::other)
}

/// Checks the hash of a whole file, then reads its manifest.
pub(in crate::store) fn verify(path: &Path, file: &Arc<File>, len: u64) -> Result<Manifest, SnapshotError> {
    let damaged = |detail: String| SnapshotError::Damaged { path: path.to_owned(), detail };
    let body = len.checked_sub(HASH_BYTES).ok_or_else(|| damaged(format!("it has only {len} bytes")))?;
    let mut hasher = Sha256::new();
    let mut reader = BufReader::with_capacity(1 << 20, ReadAt::new(file.clone(), body));
    io::copy(&mut reader, &mut WriteInto(&mut hasher)).map_err(|e| damaged(e.to_string()))?;
    let mut hash = [0; HASH_BYTES as usize];
    file.read_exact_at(&mut hash, body).map_err(|e| damaged(e.to_string()))?;
    if hasher.finalize()[..] != hash[..] {
        return Err(damaged("its hash is wrong".to_owned()));
    }
    let mut reader = BufReader::new(ReadAt::new(file.clone(), body));
    let manifest = read_manifest(&mut reader).map_err(|e| damaged(e.to_string()))?;
    if manifest.format != SNAPSHOT_FORMAT {
        return Err(SnapshotError::UnknownFormat { path: path.to_owned(), found: manifest.format, known: SNAPSHOT_FORMAT });
    }
    Manifest::from_pb(&manifest).map_err(damaged)
}

struct WriteInto<'a>(&'a mut Sha256);

impl Write for WriteInto<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn read_manifest(reader: &mut impl Read) -> io::Result<pb::SnapshotManifest> {
    let mut magic = [0; MAGIC.len()];
    reader.read_exact(&mut magic)?;
    if magic != *MAGIC {
        return Err(io::Error::other("it does not begin as a snapshot does"));
    }
    read_record(reader)
}

/// The objects of a file that [`verify`] accepted, in key order. Stops at an error; ask [`Objects::finish`] afterwards.
pub(in crate::store) struct Objects {
    reader: BufReader<ReadAt>,
    left: u64,
    last_key: Option<Vec<u8>>,
    failed: Option<String>,
}

impl Objects {
    pub fn open(file: &Arc<File>, len: u64, objects: u64) -> io::Result<Self> {
        let mut reader = BufReader::with_capacity(1 << 18, ReadAt::new(file.clone(), len.saturating_sub(HASH_BYTES)));
        read_manifest(&mut reader)?;
        Ok(Self { reader, left: objects, last_key: None, failed: None })
    }

    /// Were all objects read, in order, and was there nothing else?
    pub fn finish(mut self) -> Result<(), String> {
        if let Some(detail) = self.failed {
            return Err(detail);
        }
        if self.left > 0 {
            return Err(format!("{} objects were not read", self.left));
        }
        match self.reader.read(&mut [0]) {
            Ok(0) => Ok(()),
            Ok(_) => Err("it has more objects than its manifest says".to_owned()),
            Err(e) => Err(e.to_string()),
        }
    }
}

impl Iterator for Objects {
    type Item = (Vec<u8>, Vec<u8>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 || self.failed.is_some() {
            return None;
        }
        let object = match read_record::<pb::SnapshotObject>(&mut self.reader) {
            Ok(object) => object,
            Err(e) => {
                self.failed = Some(e.to_string());
                return None;
            }
        };
        let key = object.key.to_vec();
        if self.last_key.as_ref().is_some_and(|last| *last >= key) {
            self.failed = Some("its objects are not in key order".to_owned());
            return None;
        }
        self.left -= 1;
        self.last_key = Some(key.clone());
        Some((key, object.value.to_vec()))
    }
}
