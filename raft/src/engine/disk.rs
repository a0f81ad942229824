//! The two engines of a node, and how to open them. Used by `store::open`; a simulation brings its own [`Disk`].

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::memory::MemoryEngine;
use super::rocks::{RocksEngine, WalDamage};
use super::{Engine, EngineError, Family};

/// One of the two engines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Half {
    /// Log and vote; synced before every answer.
    Raft,
    /// Applied state and events; synced before the log that made them is purged.
    State,
}

impl Half {
    /// Its folder below the data folder.
    #[must_use]
    pub fn folder(self) -> &'static str {
        match self {
            Self::Raft => "raft",
            Self::State => "state",
        }
    }

    #[must_use]
    pub fn families(self) -> &'static [Family] {
        match self {
            Self::Raft => &[Family::Log, Family::Meta],
            Self::State => &[Family::State, Family::Events, Family::SmMeta],
        }
    }

    /// The family that holds this half's copy of the identity.
    #[must_use]
    pub fn meta(self) -> Family {
        match self {
            Self::Raft => Family::Meta,
            Self::State => Family::SmMeta,
        }
    }
}

/// Where the engines come from.
pub trait Disk {
    /// Was this half ever created?
    fn exists(&self, half: Half) -> bool;

    /// Opens a half; creates it only if told to.
    ///
    /// # Errors
    /// In use, damaged, or not accessible.
    fn open(&self, half: Half, create: bool) -> Result<Arc<dyn Engine>, EngineError>;
}

/// RocksDB in two folders.
#[derive(Clone, Debug)]
pub struct RocksDisk {
    data_dir: PathBuf,
}

impl RocksDisk {
    #[must_use]
    pub fn new(data_dir: &Path) -> Self {
        Self { data_dir: data_dir.to_owned() }
    }
}

impl Disk for RocksDisk {
    fn exists(&self, half: Half) -> bool {
        // CURRENT names RocksDB's manifest; without it there is no database, whatever else lies in the folder.
        fs::exists(self.data_dir.join(half.folder()).join("CURRENT")).unwrap_or(true)
    }

    fn open(&self, half: Half, create: bool) -> Result<Arc<dyn Engine>, EngineError> {
        let damage = match half {
            Half::Raft => WalDamage::Refuse,
            // Its WAL is not synced as it is written, so power loss may leave more than one torn record. The log makes again what is
            // missing; the store refuses if it cannot.
            Half::State => WalDamage::KeepWhatIsBefore,
        };
        Ok(Arc::new(RocksEngine::open(&self.data_dir.join(half.folder()), half.families(), damage, create)?))
    }
}

/// Two memory engines that outlive the stores opened on them, as a disk outlives a process.
#[derive(Clone, Default)]
pub struct MemoryDisk {
    halves: Arc<Mutex<[Option<Arc<MemoryEngine>>; 2]>>,
}

impl MemoryDisk {
    /// A disk with these two halves.
    #[must_use]
    pub fn with(raft: Arc<MemoryEngine>, state: Arc<MemoryEngine>) -> Self {
        Self { halves: Arc::new(Mutex::new([Some(raft), Some(state)])) }
    }

    /// The engine of a half, once it was opened.
    #[must_use]
    pub fn engine(&self, half: Half) -> Option<Arc<MemoryEngine>> {
        self.halves.lock().unwrap_or_else(PoisonError::into_inner)[index(half)].clone()
    }
}

fn index(half: Half) -> usize {
    match half {
        Half::Raft => 0,
        Half::State => 1,
    }
}

impl Disk for MemoryDisk {
    fn exists(&self, half: Half) -> bool {
        self.engine(half).is_some()
    }

    fn open(&self, half: Half, create: bool) -> Result<Arc<dyn Engine>, EngineError> {
        let mut halves = self.halves.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut halves[index(half)] {
            Some(engine) => Ok(engine.clone()),
            None if create => Ok(halves[index(half)].insert(Arc::new(MemoryEngine::new(half.folder()))).clone()),
            None => Err(EngineError::Open { path: half.folder().into(), source: "it was never created".into() }),
        }
    }
}
