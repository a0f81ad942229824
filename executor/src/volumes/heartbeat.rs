//! `.berth/heartbeat`: whose executor is alive at this volume, on the volume itself. Claimed with the fence file, advanced by the holder with each renewal.
//! After the claim it carries our token; any other token in it was written by somebody who still believes to hold the volume: two holders. It is a
//! witness, not a lock: what keeps the other one out is the lease.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use berth_state::ids::{HostId, Token, VolumeId};
use serde::{Deserialize, Serialize};

const FOLDER: &str = ".berth";
const FILE: &str = "heartbeat";

/// JSON, so that a person at the storage can read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    pub token: u64,
    /// Counts up.
    pub beat: u64,
    pub host: String,
}

/// Somebody else wrote the heartbeat after our claim.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("volume {volume}: the heartbeat of token {other} advanced while token {own} holds it: two holders are suspected")]
pub struct SplitBrain {
    pub volume: VolumeId,
    pub own: Token,
    pub other: Token,
}

/// What one beat found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Beat {
    /// Ours, advanced to this.
    Advanced(u64),
    /// The right ended meanwhile: nothing was written.
    NoRight,
    Other(SplitBrain),
}

/// The newest beat on the volume; `None`: none that can be read.
///
/// # Errors
/// The storage fails.
pub fn read(source: &Path) -> io::Result<Option<Heartbeat>> {
    match fs::read(source.join(FOLDER).join(FILE)) {
        // A file that is half written by a storage without atomic rename says nothing; the next one will.
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Takes the heartbeat over, after the fence file and before the instance starts. The same token's goes on where it was. Blocks.
///
/// # Errors
/// The storage fails; on one that only reads nothing is written.
pub fn claim(source: &Path, host: &HostId, token: Token) -> io::Result<()> {
    let beat = match read(source)? {
        Some(found) if found.token == token.0 => return Ok(()),
        Some(found) => found.beat + 1,
        None => 1,
    };
    match write(source, &Heartbeat { token: token.0, beat, host: host.to_string() }) {
        Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => Ok(()),
        result => result,
    }
}

/// One beat. `still`: whether the right lasts, asked again at the last moment. Blocks as long as the storage does.
///
/// # Errors
/// The storage fails.
pub fn beat(source: &Path, volume: &VolumeId, host: &HostId, own: Token, still: impl Fn() -> bool) -> io::Result<Beat> {
    let found = read(source)?;
    let next = found.as_ref().map_or(1, |found| found.beat + 1);
    let mine = Heartbeat { token: own.0, beat: next, host: host.to_string() };
    if !still() {
        return Ok(Beat::NoRight);
    }
    // Also over somebody else's: a holder that was taken over shows itself to its successor that way, and then stops.
    write(source, &mine)?;
    match found {
        Some(found) if found.token != own.0 => Ok(Beat::Other(SplitBrain { volume: volume.clone(), own, other: Token(found.token) })),
        Some(_) | None => Ok(Beat::Advanced(next)),
    }
}

/// As a whole, so that no reader on another host sees half of it. Not synced: a beat that a crash loses is of somebody who is dead.
fn write(source: &Path, heartbeat: &Heartbeat) -> io::Result<()> {
    let folder = source.join(FOLDER);
    // Two holders must not write one temporary file.
    let temporary = folder.join(format!("heartbeat-{}.tmp", heartbeat.token));
    let mut bytes = serde_json::to_vec(heartbeat).map_err(io::Error::other)?;
    bytes.push(b'\n');
    File::create(&temporary)?.write_all(&bytes)?;
    fs::rename(&temporary, folder.join(FILE))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test")]
mod tests {
    use super::*;

    struct Holder {
        host: HostId,
        token: Token,
    }

    impl Holder {
        fn new(token: u64) -> Self {
            Self { host: HostId::new(&format!("h{token}")).unwrap(), token: Token(token) }
        }

        fn claim(&self, source: &Path) {
            fs::create_dir_all(source.join(FOLDER)).unwrap();
            claim(source, &self.host, self.token).unwrap();
        }

        fn beat(&self, source: &Path) -> Beat {
            beat(source, &VolumeId::new("pg").unwrap(), &self.host, self.token, || true).unwrap()
        }
    }

    #[test]
    fn a_holder_that_is_alone_sees_its_own_beats_only() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (Holder::new(7), Holder::new(8));
        old.claim(folder.path());
        assert_eq!(old.beat(folder.path()), Beat::Advanced(2));
        new.claim(folder.path());
        new.claim(folder.path());
        assert_eq!((new.beat(folder.path()), new.beat(folder.path())), (Beat::Advanced(4), Beat::Advanced(5)));
    }

    #[test]
    fn both_holders_see_each_other_when_the_old_one_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (Holder::new(7), Holder::new(8));
        old.claim(folder.path());
        new.claim(folder.path());
        let Beat::Other(seen) = old.beat(folder.path()) else { panic!("the old one saw nothing") };
        assert_eq!((seen.own, seen.other), (Token(7), Token(8)));
        let Beat::Other(seen) = new.beat(folder.path()) else { panic!("the new one saw nothing") };
        assert_eq!((seen.own, seen.other), (Token(8), Token(7)));
        assert!(seen.to_string().contains('7') && seen.to_string().contains('8'), "{seen}");
    }

    #[test]
    fn nothing_is_written_once_the_right_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let old = Holder::new(7);
        old.claim(folder.path());
        let before = read(folder.path()).unwrap();
        let done = beat(folder.path(), &VolumeId::new("pg").unwrap(), &old.host, old.token, || false).unwrap();
        assert_eq!((done, read(folder.path()).unwrap()), (Beat::NoRight, before));
    }

    #[test]
    fn a_heartbeat_that_cannot_be_read_is_written_anew() {
        let folder = tempfile::tempdir().unwrap();
        let holder = Holder::new(7);
        holder.claim(folder.path());
        fs::write(folder.path().join(".berth/heartbeat"), "{\"tok").unwrap();
        assert_eq!(holder.beat(folder.path()), Beat::Advanced(1));
    }
}
