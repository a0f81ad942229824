//! What the process runtime keeps on disk: JSON, one record a file, each with the format's number. Written by the executor
//! (`spec`, `plan`) and by the shim (`started`, `running`, `exit`); must never be changed in place.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::isolation::Isolation;
use crate::runtime::InstanceSpec;

/// Raised when a record changes its meaning; a record of another format is refused, not guessed at.
const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Envelope<T> {
    format: u32,
    record: T,
}

/// `spec.json`: written once, before the folder gets its name.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Stored {
    /// Random: tells this folder from a later one of the same name, so that a late shim cannot start the wrong one.
    pub id: String,
    pub spec: InstanceSpec,
}

/// `plan.json`: how the instance is to be held. Written by the executor before it spawns the shim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Plan {
    pub isolation: Isolation,
    pub own_proc: bool,
    pub read_only_mounts: bool,
    /// cgroup v2 folder of the instance.
    pub cgroup: Option<PathBuf>,
    /// cgroup v2 folder of all shims: outside of the executor's own, which a service manager may empty.
    pub shim_cgroup: Option<PathBuf>,
    /// v1 folders that limit the instance.
    pub limits_v1: Vec<PathBuf>,
}

impl Plan {
    /// Every cgroup that the instance's processes are in.
    pub fn instance_cgroups(&self) -> impl Iterator<Item = &PathBuf> {
        self.cgroup.iter().chain(&self.limits_v1)
    }
}

/// A process that cannot be taken for another one within the same boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Process {
    pub pid: u32,
    pub start_ticks: u64,
}

/// `started.json`: the one right to start this instance, taken with an exclusive create. Never removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Started {
    pub boot_id: String,
    /// `None`: nobody; the instance was closed before it was started.
    pub shim: Option<Process>,
}

/// `running.json`: written before the command exists, and again when its pid is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Running {
    /// First process of the instance, as the host sees it.
    pub init: Process,
    /// The command, of an instance from before there were guards; else the first process is the guard, which hands signals on.
    pub command: Option<Process>,
}

/// `exit.json`: the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Exit {
    pub code: i32,
    pub reason: String,
}

/// `None` when there is no such file.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let damaged = |what: String| io::Error::new(ErrorKind::InvalidData, format!("{}: {what}", path.display()));
    let envelope: Envelope<T> = serde_json::from_slice(&bytes).map_err(|error| damaged(format!("not a record of berth's: {error}")))?;
    if envelope.format != FORMAT {
        return Err(damaged(format!("format {} is not the {FORMAT} of this berth: use the version that wrote it", envelope.format)));
    }
    Ok(Some(envelope.record))
}

/// Replaces the file as a whole; on return it survives a power cut.
pub(super) fn write<T: Serialize>(path: &Path, record: &T) -> io::Result<()> {
    let temporary = temporary(path);
    write_new(&temporary, record)?;
    std::fs::rename(&temporary, path)?;
    sync_parent(path)
}

/// Creates the file, or fails with `AlreadyExists`: of several callers exactly one gets `Ok`.
pub(super) fn claim<T: Serialize>(path: &Path, record: &T) -> io::Result<()> {
    let temporary = temporary(path);
    write_new(&temporary, record)?;
    // A link, not a create: whoever sees the file sees it complete.
    let linked = std::fs::hard_link(&temporary, path);
    std::fs::remove_file(&temporary)?;
    linked?;
    sync_parent(path)
}

/// No other writer of this file, in this process or another, has the same.
fn temporary(path: &Path) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    path.with_extension(format!("{}-{}.tmp", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)))
}

fn write_new<T: Serialize>(path: &Path, record: &T) -> io::Result<()> {
    let bytes = serde_json::to_vec_pretty(&Envelope { format: FORMAT, record })?;
    // The specification holds the environment, and that may hold secrets.
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(path)?;
    file.write_all(&bytes)?;
    file.sync_all()
}

pub(super) fn sync_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test")]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_granted_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("exit.json");
        let first = Exit { code: 1, reason: "first".to_owned() };
        claim(&path, &first).unwrap();
        assert_eq!(claim(&path, &Exit { code: 2, reason: String::new() }).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(read::<Exit>(&path).unwrap(), Some(first));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "a temporary file was left");
    }

    #[test]
    fn damage_and_foreign_formats_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("exit.json");
        assert_eq!(read::<Exit>(&path).unwrap(), None);
        for content in ["", "{\"format\":1", "{\"format\":2,\"record\":{\"code\":1,\"reason\":\"\"}}"] {
            std::fs::write(&path, content).unwrap();
            assert_eq!(read::<Exit>(&path).unwrap_err().kind(), ErrorKind::InvalidData, "{content:?}");
        }
    }

    #[test]
    fn format_1_stays_readable() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("running.json");
        std::fs::write(&path, "{\"format\":1,\"record\":{\"init\":{\"pid\":12,\"start_ticks\":34},\"command\":null}}").unwrap();
        assert_eq!(read::<Running>(&path).unwrap(), Some(Running { init: Process { pid: 12, start_ticks: 34 }, command: None }));
    }
}
