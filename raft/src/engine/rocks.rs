//! The engine of a control node: RocksDB with its WAL on. Opened by `engine::disk`. It must never open a Raft log after silently dropping records
//! from the middle of its WAL: one of them may be a vote.

use std::path::{Path, PathBuf};

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType, DBRecoveryMode, ErrorKind, IteratorMode,
    LogLevel, Options, ReadOptions, WriteBatch,
};

use super::{Batch, Direction, Engine, EngineError, Family, Op, Span, Visit};

/// Per family and memtable: a control node's state is small, and every open family keeps up to two of these.
const WRITE_BUFFER_BYTES: usize = 16 << 20;
/// Blocks read from disk; the log's tail and the state are cached above this layer.
const BLOCK_CACHE_BYTES: usize = 8 << 20;
/// Beyond this RocksDB flushes the family that holds the oldest WAL back.
const TOTAL_WAL_BYTES: u64 = 64 << 20;
const OPEN_FILES: i32 = 256;
const INFO_LOG_BYTES: usize = 1 << 20;

/// What to do about damage in the WAL that is more than a torn last record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalDamage {
    /// Do not open: for what exists nowhere else.
    Refuse,
    /// Keep what was written before it: for what can be made again from there on, if its user checks how far it got.
    KeepWhatIsBefore,
}

/// See the module.
pub struct RocksEngine {
    path: PathBuf,
    db: DB,
}

impl RocksEngine {
    /// Opens the database in a folder.
    ///
    /// # Errors
    /// In use by another process, damaged, or not accessible.
    pub fn open(path: &Path, families: &[Family], damage: WalDamage, create: bool) -> Result<Self, EngineError> {
        let options = database_options(damage, create);
        let family_options = family_options();
        // RocksDB insists on a family of this name; nothing is kept in it.
        let names = std::iter::once("default").chain(families.iter().map(|family| family.name()));
        let descriptors = names.map(|name| ColumnFamilyDescriptor::new(name, family_options.clone()));
        let db = DB::open_cf_descriptors(&options, path, descriptors).map_err(|e| open_error(path, e))?;
        Ok(Self { path: path.to_owned(), db })
    }

    fn family(&self, family: Family) -> Result<&ColumnFamily, EngineError> {
        let missing = || EngineError::Read { path: self.path.clone(), source: format!("it has no family {}", family.name()).into() };
        self.db.cf_handle(family.name()).ok_or_else(missing)
    }

    fn read_error(&self, source: rocksdb::Error) -> EngineError {
        EngineError::Read { path: self.path.clone(), source: source.into() }
    }
}

fn database_options(damage: WalDamage, create: bool) -> Options {
    let mut options = Options::default();
    options.create_if_missing(create);
    options.create_missing_column_families(create);
    options.set_wal_recovery_mode(match damage {
        // Drops a torn last record, refuses damage before it.
        WalDamage::Refuse => DBRecoveryMode::TolerateCorruptedTailRecords,
        // RocksDB's own default.
        WalDamage::KeepWhatIsBefore => DBRecoveryMode::PointInTime,
    });
    options.set_paranoid_checks(true);
    options.set_max_total_wal_size(TOTAL_WAL_BYTES);
    options.set_max_open_files(OPEN_FILES);
    options.set_max_background_jobs(2);
    options.set_log_level(LogLevel::Warn);
    options.set_keep_log_file_num(2);
    options.set_max_log_file_size(INFO_LOG_BYTES);
    options
}

fn family_options() -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&Cache::new_lru_cache(BLOCK_CACHE_BYTES));
    let mut options = Options::default();
    options.set_write_buffer_size(WRITE_BUFFER_BYTES);
    options.set_block_based_table_factory(&table);
    // Entries are small and short-lived; the library is built without compressors.
    options.set_compression_type(DBCompressionType::None);
    options
}

fn open_error(path: &Path, error: rocksdb::Error) -> EngineError {
    let path = path.to_owned();
    let text = error.to_string();
    // RocksDB has no kind of its own for a taken lock.
    let locked = text.contains("LOCK") && (text.contains("unavailable") || text.contains("current process"));
    if locked {
        return EngineError::InUse { path, source: error.into() };
    }
    #[allow(clippy::wildcard_enum_match_arm, reason = "not our enum: whatever else it says, the folder could not be opened")]
    match error.kind() {
        ErrorKind::Corruption => EngineError::Damaged { path, source: error.into() },
        _ => EngineError::Open { path, source: error.into() },
    }
}

impl Engine for RocksEngine {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        self.db.get_cf(self.family(family)?, key).map_err(|e| self.read_error(e))
    }

    fn scan(&self, family: Family, span: &Span, direction: Direction, visit: &mut Visit<'_>) -> Result<(), EngineError> {
        if span.is_empty() {
            return Ok(());
        }
        let mut options = ReadOptions::default();
        // Bounds keep the iterator off the tombstones of what was purged or truncated.
        options.set_iterate_lower_bound(span.from.clone());
        if let Some(to) = &span.to {
            options.set_iterate_upper_bound(to.clone());
        }
        let mode = match direction {
            Direction::Forward => IteratorMode::Start,
            Direction::Backward => IteratorMode::End,
        };
        for row in self.db.iterator_cf_opt(self.family(family)?, options, mode) {
            let (key, value) = row.map_err(|e| self.read_error(e))?;
            if visit(&key, &value).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn write(&self, batch: Batch) -> Result<(), EngineError> {
        let mut rocks = WriteBatch::default();
        for op in batch.ops() {
            match op {
                Op::Put { family, key, value } => rocks.put_cf(self.family(*family)?, key, value),
                Op::Delete { family, key } => rocks.delete_cf(self.family(*family)?, key),
                Op::DeleteRange { family, from, to } => rocks.delete_range_cf(self.family(*family)?, from, to),
            }
        }
        self.db.write(rocks).map_err(|source| EngineError::Write { path: self.path.clone(), source: source.into() })
    }

    fn sync(&self) -> Result<(), EngineError> {
        self.db.flush_wal(true).map_err(|source| EngineError::Sync { path: self.path.clone(), source: source.into() })
    }
}
