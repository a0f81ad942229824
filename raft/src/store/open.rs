//! Opens a data folder: checks whose it is and that it is whole, then log, state, events and snapshots. Called once per process by `node`. Any doubt
//! is a refusal with a text that says what to do; a node that starts on doubtful data can vote twice.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use berth_state::ids::ClusterId;
use tracing::info;

use super::codec::{seal, unseal};
use super::error::StoreError;
use super::events::EventLog;
use super::identity::{self, Identity};
use super::log::LogStore;
use super::machine::{ApplyObserver, Machine, NoObserver};
use super::pb;
use super::probe::Probe;
use super::shared::{Shared, Standing};
use super::snapshot::{Snapshots, folder::sync_folder};
use super::state::{StateCore, StateStore, load};
use crate::engine::{Batch, Direction, Disk, Engine, Half, RocksDisk, Span};
use crate::fatal::Fatal;

/// Key of each half's copy of the identity.
const IDENTITY: &[u8] = b"identity";
const LOCK_FILE: &str = "lock";
const SNAPSHOTS: &str = "snapshots";

/// What a store is given beside its folder.
pub struct StoreOptions {
    pub fatal: Fatal,
    pub probe: Probe,
    pub observer: Arc<dyn ApplyObserver>,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self { fatal: Fatal::exit(), probe: Probe::none(), observer: Arc::new(NoObserver) }
    }
}

/// An open store.
pub struct Store<M> {
    /// For openraft.
    pub log: LogStore,
    /// For openraft.
    pub state: StateStore<M>,
    /// For readers.
    pub shared: Arc<Shared<M>>,
    pub events: EventLog,
    /// For the peer network.
    pub snapshots: Snapshots,
    pub identity: Identity,
}

/// Opens the store of `node` in `data_dir` on RocksDB; creates it if the folder is empty or missing.
///
/// # Errors
/// In use, foreign, damaged, half missing, or not accessible: the text says what to do.
pub fn open<M: Machine>(data_dir: &Path, cluster: ClusterId, node: u64, options: StoreOptions) -> Result<Store<M>, StoreError> {
    open_on(data_dir, cluster, node, &RocksDisk::new(data_dir), options)
}

/// As [`open`], with the engines of `disk`. Identity and snapshots are files in `data_dir` in any case.
///
/// # Errors
/// As [`open`].
pub fn open_on<M: Machine>(
    data_dir: &Path,
    cluster: ClusterId,
    node: u64,
    disk: &dyn Disk,
    options: StoreOptions,
) -> Result<Store<M>, StoreError> {
    create_folder(data_dir).map_err(|source| StoreError::File { path: data_dir.to_owned(), action: "creating the data folder", source })?;
    let lock: Arc<dyn Send + Sync> = Arc::new(lock(data_dir)?);
    let (identity, raft, state) = open_halves(data_dir, cluster, node, disk)?;
    // What is read below may be acted upon, so it must not be lost again.
    for engine in [&raft, &state] {
        engine.sync()?;
    }
    let snapshots = Snapshots::open(&data_dir.join(SNAPSHOTS), cluster, options.probe.clone())?;
    let core = open_state::<M>(data_dir, cluster, state, snapshots, &options, lock.clone())?;
    let log_path = data_dir.join(Half::Raft.folder());
    let log = LogStore::open(raft, log_path, core.clone(), options.fatal, options.probe, lock)?;
    check_together(data_dir, &log, &core)?;
    let (shared, events, snapshots) = (core.shared.clone(), core.events.clone(), core.snapshots.clone());
    info!(%cluster, node, applied = shared.standing().index(), path = %data_dir.display(), "store is open");
    Ok(Store { log, state: StateStore::new(core), shared, events, snapshots, identity })
}

fn open_state<M: Machine>(
    data_dir: &Path,
    cluster: ClusterId,
    engine: Arc<dyn Engine>,
    snapshots: Snapshots,
    options: &StoreOptions,
    lock: Arc<dyn Send + Sync>,
) -> Result<Arc<StateCore<M>>, StoreError> {
    let path = data_dir.join(Half::State.folder());
    let (machine, standing) = load::load::<M>(&*engine, &path)?;
    let events = EventLog::new(engine.clone(), standing.head);
    if let Some(head) = &standing.head {
        // Cheap, and catches an event log that stops short of where the state says it ends.
        events.verify(head.index, head.index)?;
        if !events.contains(head)? {
            let detail = "the state ends with an event that is not there".to_owned();
            return Err(StoreError::DamagedEvents { index: head.index, seq: head.seq, detail });
        }
    }
    let durable = AtomicU64::new(standing.index().map_or(0, |index| index + 1));
    Ok(Arc::new(StateCore {
        engine,
        cluster,
        shared: Arc::new(Shared::new(machine, standing)),
        events,
        snapshots,
        observer: options.observer.clone(),
        fatal: options.fatal.clone(),
        probe: options.probe.clone(),
        durable,
        changing: Mutex::new(()),
        _lock: lock,
    }))
}

/// Creates the data folder so that power loss cannot take it away again, and with it a vote.
fn create_folder(data_dir: &Path) -> std::io::Result<()> {
    let missing: Vec<&Path> = data_dir.ancestors().take_while(|folder| !folder.as_os_str().is_empty() && !folder.exists()).collect();
    fs::create_dir_all(data_dir)?;
    for folder in missing {
        let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty());
        sync_folder(parent.unwrap_or(Path::new(".")))?;
    }
    Ok(())
}

/// The lock on a data folder, let go when dropped.
struct FolderLock(File);

impl Drop for FolderLock {
    fn drop(&mut self) {
        // Closing alone would leave it to a child process that was forked and has not yet called exec.
        let _ = self.0.unlock();
    }
}

fn lock(data_dir: &Path) -> Result<FolderLock, StoreError> {
    let path = data_dir.join(LOCK_FILE);
    let failed = |source| StoreError::File { path: path.clone(), action: "locking the data folder", source };
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(FolderLock(file)),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse { path: data_dir.to_owned() }),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

type Halves = (Identity, Arc<dyn Engine>, Arc<dyn Engine>);

fn open_halves(data_dir: &Path, cluster: ClusterId, node: u64, disk: &dyn Disk) -> Result<Halves, StoreError> {
    let Some(identity) = identity::read(data_dir)? else {
        return create(data_dir, cluster, node, disk);
    };
    identity.check(&identity::path_in(data_dir), cluster, node)?;
    for half in [Half::Raft, Half::State] {
        if !disk.exists(half) {
            return Err(StoreError::MissingHalf { path: data_dir.join(half.folder()) });
        }
    }
    let open = |half: Half| -> Result<Arc<dyn Engine>, StoreError> {
        let engine = disk.open(half, false)?;
        check_half(&*engine, half, &data_dir.join(half.folder()), identity)?;
        Ok(engine)
    };
    Ok((identity, open(Half::Raft)?, open(Half::State)?))
}

/// Both engines carry the identity too, so that a folder of another store put in their place is noticed.
fn check_half(engine: &dyn Engine, half: Half, path: &Path, identity: Identity) -> Result<(), StoreError> {
    let mixed = |detail: String| StoreError::MixedHalves { path: path.to_owned(), detail };
    let Some(bytes) = engine.get(half.meta(), IDENTITY)? else { return Err(mixed("it carries no identity".to_owned())) };
    let found: pb::Identity = unseal(&bytes).map_err(|e| mixed(e.to_string()))?;
    let found = Identity::from_pb(&found).map_err(mixed)?;
    if found == identity {
        return Ok(());
    }
    Err(mixed(format!("it is of node {} in cluster {}, another store of it", found.node, found.cluster)))
}

/// Creates a store. The identity file comes last: without it nothing was ever promised by this store, so a creation that was cut off is
/// simply done again.
fn create(data_dir: &Path, cluster: ClusterId, node: u64, disk: &dyn Disk) -> Result<Halves, StoreError> {
    let path = identity::path_in(data_dir);
    let made = Identity::create(cluster, node);
    let identity = made.map_err(|source| StoreError::File { path: path.clone(), action: "drawing a store id", source })?;
    let open = |half: Half| -> Result<Arc<dyn Engine>, StoreError> {
        let engine = disk.open(half, true)?;
        if !is_blank(&*engine, half)? {
            return Err(StoreError::MissingIdentity { path: path.clone() });
        }
        let mut batch = Batch::new();
        batch.put(half.meta(), IDENTITY, seal(&identity.to_pb()));
        engine.write(batch)?;
        engine.sync()?;
        Ok(engine)
    };
    let (raft, state) = (open(Half::Raft)?, open(Half::State)?);
    identity::write(data_dir, identity)?;
    info!(%cluster, node, path = %data_dir.display(), "store created");
    Ok((identity, raft, state))
}

/// Is there nothing in it but, perhaps, an identity?
fn is_blank(engine: &dyn Engine, half: Half) -> Result<bool, StoreError> {
    let mut blank = true;
    for family in half.families() {
        engine.scan(*family, &Span::all(), Direction::Forward, &mut |key, _| {
            blank &= key == IDENTITY;
            if blank { std::ops::ControlFlow::Continue(()) } else { std::ops::ControlFlow::Break(()) }
        })?;
    }
    Ok(blank)
}

/// The halves and the snapshot must fit together: none may have gone back in time.
fn check_together<M: Machine>(data_dir: &Path, log: &LogStore, core: &StateCore<M>) -> Result<(), StoreError> {
    let path: PathBuf = data_dir.join(Half::State.folder());
    let Standing { last: applied, .. } = core.shared.standing();
    let text = applied.map_or_else(|| "nothing is applied".to_owned(), |id| format!("it stands at entry {id}"));
    if let Some(purged) = log.purged()
        && applied.is_none_or(|applied| applied.index < purged.index)
    {
        return Err(StoreError::DamagedState {
            path,
            detail: format!("{text}, but the log was purged up to entry {purged}: it was rolled back"),
        });
    }
    if let Some(last) = core.snapshots.current().and_then(|snapshot| snapshot.manifest().last)
        && applied.is_none_or(|applied| applied < last)
    {
        return Err(StoreError::DamagedState { path, detail: format!("{text}, but its snapshot is of entry {last}: it was rolled back") });
    }
    Ok(())
}
