//! The folder of snapshots: the current one, and files that are still being written. A file gets its final name only when it is whole and
//! synced, and an older one goes only after that; so after a crash at any point there is the old snapshot or the new one.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use berth_state::ids::ClusterId;
use tracing::warn;

use super::error::SnapshotError;
use super::file;
use super::handle::SnapshotHandle;
use super::manifest::Manifest;
use super::receive::SnapshotReceiver;
use crate::store::probe::{Point, Probe};
use crate::types::LogId;

/// Ending of a whole snapshot; files with other endings are leftovers.
const EXTENSION: &str = "snapshot";
const TEMPORARY: &str = "tmp";
/// A whole file whose hash is wrong is kept for a look, out of the way.
const DAMAGED: &str = "damaged";

/// Makes a rename or a new file in a folder durable.
pub(in crate::store) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// The snapshots of this node. Cheap to clone.
#[derive(Clone)]
pub struct Snapshots(Arc<Folder>);

struct Folder {
    path: PathBuf,
    cluster: ClusterId,
    probe: Probe,
    current: Mutex<Option<SnapshotHandle>>,
    /// For names of temporary files.
    counter: AtomicU64,
}

impl Snapshots {
    /// Opens the folder, creating it if there is none; removes leftovers, and sets damaged files aside.
    pub(in crate::store) fn open(path: &Path, cluster: ClusterId, probe: Probe) -> Result<Self, SnapshotError> {
        let failed = |source| SnapshotError::File { path: path.to_owned(), action: "opening the snapshot folder", source };
        fs::create_dir_all(path).map_err(failed)?;
        if let Some(parent) = path.parent() {
            sync_folder(parent).map_err(failed)?;
        }
        let mut whole = Vec::new();
        for entry in fs::read_dir(path).map_err(failed)? {
            let file = entry.map_err(failed)?.path();
            let extension = file.extension().map(|ext| ext.to_owned()).unwrap_or_default();
            if extension == EXTENSION {
                whole.push(file);
            } else if extension != DAMAGED {
                fs::remove_file(&file).map_err(failed)?;
            }
        }
        let folder = Folder { path: path.to_owned(), cluster, probe, current: Mutex::new(None), counter: AtomicU64::new(0) };
        let snapshots = Self(Arc::new(folder));
        for file in whole {
            snapshots.adopt(&file).map_err(failed)?;
        }
        Ok(snapshots)
    }

    /// Takes a whole file found at open, if it is good and newer than what is current.
    fn adopt(&self, file: &Path) -> io::Result<()> {
        let opened = SnapshotHandle::open(file).and_then(|handle| self.check_cluster(&handle).map(|()| handle));
        let mut current = self.current_lock();
        match opened {
            Ok(handle) if current.as_ref().is_none_or(|now| now.manifest().last < handle.manifest().last) => {
                if let Some(older) = current.replace(handle) {
                    fs::remove_file(older.path())?;
                }
                Ok(())
            }
            Ok(older) => fs::remove_file(older.path()),
            Err(error) => {
                // The state it was made from is durable in the engine: nothing is lost but the work.
                warn!(path = %file.display(), %error, "snapshot set aside");
                fs::rename(file, file.with_extension(DAMAGED))
            }
        }
    }

    fn current_lock(&self) -> MutexGuard<'_, Option<SnapshotHandle>> {
        self.0.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest whole snapshot.
    #[must_use]
    pub fn current(&self) -> Option<SnapshotHandle> {
        self.current_lock().clone()
    }

    /// Begins to receive a snapshot from another node.
    ///
    /// # Errors
    /// The disk.
    pub fn receive(&self) -> Result<SnapshotReceiver, SnapshotError> {
        SnapshotReceiver::create(self.clone())
    }

    pub(super) fn check_cluster(&self, handle: &SnapshotHandle) -> Result<(), SnapshotError> {
        let (found, wanted) = (handle.manifest().cluster, self.0.cluster);
        if found == wanted {
            return Ok(());
        }
        Err(SnapshotError::ForeignCluster { path: handle.path.clone(), found: found.to_string(), wanted: wanted.to_string() })
    }

    /// A name for a file in the making; leftovers of such names are removed at open.
    pub(super) fn temporary(&self, kind: &str) -> PathBuf {
        let number = self.0.counter.fetch_add(1, Ordering::Relaxed);
        self.0.path.join(format!("{kind}-{number}.{TEMPORARY}"))
    }

    /// Writes a snapshot and makes it current. What it was made from must be durable before.
    pub(in crate::store) fn create(&self, manifest: &Manifest, objects: &[(Vec<u8>, Vec<u8>)]) -> Result<SnapshotHandle, SnapshotError> {
        let temporary = self.temporary("built");
        let write = || -> io::Result<()> {
            let file = File::create(&temporary)?;
            file::write(&file, manifest, objects)?;
            self.0.probe.at(Point::SnapshotBeforeFileSync);
            file.sync_all()
        };
        write().map_err(|source| SnapshotError::File { path: temporary.clone(), action: "writing a snapshot", source })?;
        self.publish(SnapshotHandle::open(&temporary)?)
    }

    /// Makes a whole, synced file the current snapshot, and removes the one before. A file that is not newer is removed instead.
    pub(in crate::store) fn publish(&self, mut handle: SnapshotHandle) -> Result<SnapshotHandle, SnapshotError> {
        let failed = |source| SnapshotError::File { path: self.0.path.clone(), action: "renaming a snapshot", source };
        let mut current = self.current_lock();
        if let Some(newer) = current.as_ref().filter(|now| now.manifest().last >= handle.manifest().last) {
            if handle.path != newer.path {
                fs::remove_file(&handle.path).map_err(failed)?;
            }
            return Ok(newer.clone());
        }
        let path = self.0.path.join(final_name(handle.manifest().last));
        self.0.probe.at(Point::SnapshotBeforeRename);
        fs::rename(&handle.path, &path).map_err(failed)?;
        self.0.probe.at(Point::SnapshotAfterRename);
        // Durable before reply: openraft purges the log on the strength of this name.
        sync_folder(&self.0.path).map_err(failed)?;
        self.0.probe.at(Point::SnapshotAfterFolderSync);
        handle.path = path;
        handle.events = None;
        if let Some(older) = current.replace(handle.clone()) {
            fs::remove_file(older.path()).map_err(failed)?;
        }
        Ok(handle)
    }

    /// Brings a snapshot that lies elsewhere into this folder, as a synced temporary file.
    pub(in crate::store) fn bring_in(&self, handle: SnapshotHandle) -> Result<SnapshotHandle, SnapshotError> {
        if handle.path.parent() == Some(&self.0.path) {
            return Ok(handle);
        }
        let temporary = self.temporary("copied");
        let copy = || -> io::Result<()> {
            let mut to = File::create(&temporary)?;
            io::copy(&mut file::ReadAt::new(handle.file.clone(), handle.len_bytes()), &mut to)?;
            to.sync_all()
        };
        copy().map_err(|source| SnapshotError::File { path: temporary.clone(), action: "copying a snapshot", source })?;
        let mut copied = SnapshotHandle::open(&temporary)?;
        copied.events = handle.events;
        Ok(copied)
    }
}

/// Sorts by index; says what is in it.
fn final_name(last: Option<LogId>) -> String {
    let (index, term, node) = last.map_or((0, 0, 0), |id| (id.index, id.leader_id.term, id.leader_id.node_id));
    format!("{index:020}-{term}-{node}.{EXTENSION}")
}
