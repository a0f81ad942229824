//! openraft's own storage tests, on both engines.

use std::sync::Arc;

use berth_raft::engine::{Disk, Half, MemoryDisk, RocksDisk};
use berth_raft::fatal::Fatal;
use berth_raft::store::log::LogStore;
use berth_raft::store::log::barrier::NoBarrier;
use berth_raft::store::probe::Probe;
use berth_raft::store::state::StateStore;
use berth_raft::types::TypeConfig;
use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use tempfile::TempDir;

use crate::support::{Toy, block_on, open};

enum Kind {
    Memory,
    Rocks,
}

struct Builder(Kind);

impl StoreBuilder<TypeConfig, LogStore, StateStore<Toy>, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogStore, StateStore<Toy>), StorageError<TypeConfig>> {
        let folder = tempfile::tempdir().unwrap();
        // The suite purges logs that were never applied, which a whole store refuses: so the log is one of its own, without that check.
        let log_folder = folder.path().join("suite-log");
        let (disk, log_disk): (Box<dyn Disk>, Box<dyn Disk>) = match self.0 {
            Kind::Memory => (Box::new(MemoryDisk::default()), Box::new(MemoryDisk::default())),
            Kind::Rocks => {
                std::fs::create_dir(&log_folder).unwrap();
                (Box::new(RocksDisk::new(folder.path())), Box::new(RocksDisk::new(&log_folder)))
            }
        };
        let store = open(folder.path(), &*disk).unwrap();
        let engine = log_disk.open(Half::Raft, true).unwrap();
        let fatal = Fatal::hook(|cause| panic!("fatal: {cause:?}"));
        let log = LogStore::open(engine, log_folder, Arc::new(NoBarrier), fatal, Probe::none(), Arc::new(())).unwrap();
        Ok((folder, log, store.state))
    }
}

#[test]
fn openrafts_suite_passes_on_memory() {
    block_on(Suite::test_all(Builder(Kind::Memory))).unwrap();
}

#[test]
fn openrafts_suite_passes_on_rocksdb() {
    block_on(Suite::test_all(Builder(Kind::Rocks))).unwrap();
}
