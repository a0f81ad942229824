//! The status file: that the guard lives, and how it is. One page, changed in place by the guard, read by the executor before each keepalive.
//!
//! Little endian words: 0 magic; 8 protocol; 16 pid; 24 its start ticks; 32 last look, ns of the holder's clock; 40 flags; 48 leases watched; 56 leases that
//! are over and not verified dead and cut; 64 watchdog timeout, ms; 72 last petted, ns; 80 boot id, 16 bytes.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use berth_guard::clock;
use berth_guard::map::{Access, Mapping, SIZE};

use crate::runtime::kill::start_ticks;

/// What executor and guard agree on: files of the run folder, and this page. An executor works with its own number and with those in [`ADOPTED`].
pub const PROTOCOL: u64 = 1;
/// Older protocols whose guard does all that this executor needs.
pub const ADOPTED: std::ops::RangeInclusive<u64> = 1..=PROTOCOL;

const MAGIC: [u8; 8] = *b"BERTHHG1";
const MAGIC_AT: usize = 0;
const PROTOCOL_AT: usize = 8;
const PID_AT: usize = 16;
const TICKS_AT: usize = 24;
const LOOK_AT: usize = 32;
const FLAGS_AT: usize = 40;
const LEASES_AT: usize = 48;
const UNVERIFIED_AT: usize = 56;
const TIMEOUT_AT: usize = 64;
const PETTED_AT: usize = 72;
const BOOT_AT: usize = 80;
const END: usize = 96;

const FLAG_ARMED: u64 = 1;
const FLAG_FITS: u64 = 2;

/// What the guard says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    pub protocol: u64,
    pub pid: u32,
    pub start_ticks: u64,
    pub last_look_ns: u64,
    pub leases: u64,
    pub unverified: u64,
    pub watchdog: Option<WatchdogStatus>,
    pub boot: [u8; 16],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchdogStatus {
    pub timeout_ms: u64,
    pub petted_ns: u64,
    /// Short enough for every lease that was renewed so far.
    pub fits: bool,
}

impl Status {
    /// `None`: no guard has ever written here in this form.
    #[must_use]
    pub fn read(path: &Path) -> Option<Self> {
        // Read, not mapped: whoever shortened the file would kill the reader.
        let bytes = fs::read(path).ok()?;
        let word = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        if bytes.len() < END || word(MAGIC_AT)? != u64::from_le_bytes(MAGIC) {
            return None;
        }
        let flags = word(FLAGS_AT)?;
        let armed = WatchdogStatus { timeout_ms: word(TIMEOUT_AT)?, petted_ns: word(PETTED_AT)?, fits: flags & FLAG_FITS != 0 };
        Some(Self {
            protocol: word(PROTOCOL_AT)?,
            pid: u32::try_from(word(PID_AT)?).ok()?,
            start_ticks: word(TICKS_AT)?,
            last_look_ns: word(LOOK_AT)?,
            leases: word(LEASES_AT)?,
            unverified: word(UNVERIFIED_AT)?,
            watchdog: (flags & FLAG_ARMED != 0).then_some(armed),
            boot: bytes.get(BOOT_AT..END)?.try_into().ok()?,
        })
    }

    /// Whether the process that wrote it still exists, in this boot.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn lives(&self) -> io::Result<bool> {
        let boot = clock::boot_id().map_err(io::Error::other)?;
        Ok(self.boot == boot && start_ticks(self.pid)? == Some(self.start_ticks))
    }
}

/// The guard's side.
#[derive(Debug)]
pub struct StatusWriter {
    map: Mapping,
}

impl StatusWriter {
    /// A new file for this process, complete before it has its name. The former guard's mapping stays with the former file.
    ///
    /// # Errors
    /// The file system refuses, or the machine does not say which boot this is.
    pub fn create(path: &Path, now_ns: u64) -> io::Result<Self> {
        let draft = path.with_extension("status-new");
        let _ = fs::remove_file(&draft);
        let file: File = OpenOptions::new().read(true).write(true).create_new(true).mode(0o644).open(&draft)?;
        file.set_len(SIZE as u64)?;
        let map = Mapping::new(&file, Access::ReadWrite)?;
        let (pid, boot) = (std::process::id(), clock::boot_id().map_err(io::Error::other)?);
        let ticks = start_ticks(pid)?.ok_or_else(|| io::Error::other("this process has no start time"))?;
        let (first, second) = boot.split_at(8);
        let half = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap_or_default());
        let words = [
            (PROTOCOL_AT, PROTOCOL),
            (PID_AT, pid.into()),
            (TICKS_AT, ticks),
            (LOOK_AT, now_ns),
            (BOOT_AT, half(first)),
            (BOOT_AT + 8, half(second)),
            (MAGIC_AT, u64::from_le_bytes(MAGIC)),
        ];
        words.iter().for_each(|(at, value)| map.store(*at, *value));
        fs::rename(&draft, path)?;
        Ok(Self { map })
    }

    /// After each look at all leases. The time goes last: who reads it may believe the rest.
    pub fn looked(&self, now_ns: u64, leases: usize, unverified: usize, watchdog: Option<WatchdogStatus>) {
        self.map.store(LEASES_AT, leases as u64);
        self.map.store(UNVERIFIED_AT, unverified as u64);
        let flags = watchdog.map_or(0, |armed| FLAG_ARMED | if armed.fits { FLAG_FITS } else { 0 });
        self.map.store(TIMEOUT_AT, watchdog.map_or(0, |armed| armed.timeout_ms));
        self.map.store(PETTED_AT, watchdog.map_or(0, |armed| armed.petted_ns));
        self.map.store(FLAGS_AT, flags);
        self.map.store(LOOK_AT, now_ns);
    }
}

/// The status file of a guard that is process `pid` and looks for ever, for tests of the executor's side.
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test")]
pub(crate) fn write_fake(path: &Path, pid: u32) {
    let mut bytes = vec![0; SIZE];
    let words = [(PROTOCOL_AT, PROTOCOL), (PID_AT, pid.into()), (TICKS_AT, start_ticks(pid).unwrap().unwrap()), (LOOK_AT, u64::MAX)];
    bytes[MAGIC_AT..PROTOCOL_AT].copy_from_slice(&MAGIC);
    words.iter().for_each(|(at, value)| bytes[*at..at + 8].copy_from_slice(&value.to_le_bytes()));
    bytes[BOOT_AT..END].copy_from_slice(&clock::boot_id().unwrap());
    super::folder::replace(path, &bytes).unwrap();
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test")]
mod tests {
    use super::*;

    #[test]
    fn what_the_guard_writes_is_what_the_executor_reads() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("host-guard.status");
        assert_eq!(Status::read(&path), None);
        let writer = StatusWriter::create(&path, 5).unwrap();
        let status = Status::read(&path).unwrap();
        assert_eq!((status.protocol, status.pid, status.last_look_ns), (PROTOCOL, std::process::id(), 5));
        assert_eq!((status.watchdog, status.leases), (None, 0));
        assert!(status.lives().unwrap());
        let armed = WatchdogStatus { timeout_ms: 5_000, petted_ns: 8, fits: true };
        writer.looked(9, 3, 1, Some(armed));
        let status = Status::read(&path).unwrap();
        assert_eq!((status.last_look_ns, status.leases, status.unverified, status.watchdog), (9, 3, 1, Some(armed)));
    }

    #[test]
    fn another_process_with_the_same_number_or_another_boot_is_not_the_guard() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("host-guard.status");
        let _writer = StatusWriter::create(&path, 5).unwrap();
        let status = Status::read(&path).unwrap();
        assert!(!Status { start_ticks: status.start_ticks + 1, ..status }.lives().unwrap());
        assert!(!Status { boot: [9; 16], ..status }.lives().unwrap());
    }

    #[test]
    fn garbage_is_no_status() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("host-guard.status");
        for garbage in [&b""[..], b"BERTHHG1", &[0; 4096]] {
            fs::write(&path, garbage).unwrap();
            assert_eq!(Status::read(&path), None);
        }
    }
}
