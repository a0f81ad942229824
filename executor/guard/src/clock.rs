//! The holder's clock (L19): elapsed = ΔMONOTONIC_RAW + Δ(BOOTTIME − MONOTONIC), unslewed time plus suspend. The one formula of executor and guard; must
//! never be slewed by NTP, stand still in suspend, or differ between two processes of one boot.

use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt;
use std::{fs, io};

use rustix::fs::{Mode, OFlags, openat};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};
use rustix::time::{ClockId, clock_gettime};

/// Reads of three clocks that took longer than this are repeated: the two slewed ones differ from the unslewed one by a tenth of it at most.
const STEADY_NS: u64 = 1_000_000;
/// On a machine so busy that every try is interrupted the last one counts: it still lies between start and end of the call.
const TRIES: u32 = 8;

const OWN: &str = "/proc/self/ns/time";
const CHILDREN: &str = "/proc/self/ns/time_for_children";
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Why this process's clock says nothing about the host's deadlines.
#[derive(Debug, thiserror::Error)]
pub enum ClockError {
    #[error("cannot read {path}")]
    Unreadable { path: &'static str, source: io::Error },
    #[error("{BOOT_ID} holds no boot id: {text:?}")]
    BootId { text: String },
    #[error("this process is in time namespace {own}, what it starts would be in {children}: both must be the host's")]
    Children { own: u64, children: u64 },
    #[error("this process is in time namespace {own}, the deadline is of {host}")]
    Foreign { own: u64, host: u64 },
}

/// Nanoseconds of unslewed time since boot, suspend included. Lies between the start and the end of the call.
#[must_use]
pub fn now_ns() -> u64 {
    let mut reading = Reading::take();
    for _ in 1..TRIES {
        if reading.took() <= STEADY_NS {
            break;
        }
        reading = Reading::take();
    }
    reading.time()
}

/// The inode of this process's time namespace; 0 on a kernel without them, where everybody has the host's clock.
///
/// # Errors
/// When it cannot be read, or when children would live in another one.
pub fn time_namespace() -> Result<u64, ClockError> {
    let (own, children) = (inode(OWN)?, inode(CHILDREN)?);
    if own == children { Ok(own) } else { Err(ClockError::Children { own, children }) }
}

/// Refuses when this process, or what it would start, does not have the clock of the namespace `host`.
///
/// # Errors
/// Then, and when that cannot be told.
pub fn require_namespace(host: u64) -> Result<(), ClockError> {
    let own = time_namespace()?;
    if own == host { Ok(()) } else { Err(ClockError::Foreign { own, host }) }
}

/// The id of this boot: the same in every container.
///
/// # Errors
/// When /proc does not tell.
pub fn boot_id() -> Result<[u8; 16], ClockError> {
    let text = fs::read_to_string(BOOT_ID).map_err(|source| ClockError::Unreadable { path: BOOT_ID, source })?;
    parse_boot_id(&text).ok_or(ClockError::BootId { text })
}

/// The kernel's own boot id, whatever is mounted over [`boot_id`]'s file here: what a container with a fresh /proc sees. `None`: not told to this user.
#[must_use]
pub fn kernel_boot_id() -> Option<[u8; 16]> {
    let context = fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC).ok()?;
    fsconfig_create(context.as_fd()).ok()?;
    let fresh = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::MOUNT_ATTR_RDONLY).ok()?;
    let file = openat(&fresh, "sys/kernel/random/boot_id", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let mut text = String::new();
    fs::File::from(file).read_to_string(&mut text).ok()?;
    parse_boot_id(&text)
}

fn parse_boot_id(text: &str) -> Option<[u8; 16]> {
    let digits: String = text.trim().chars().filter(|c| *c != '-').collect();
    if digits.len() != 32 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    u128::from_str_radix(&digits, 16).ok().map(u128::to_be_bytes)
}

fn inode(path: &'static str) -> Result<u64, ClockError> {
    match fs::metadata(path) {
        Ok(found) => Ok(found.ino()),
        Err(error) if error.kind() == io::ErrorKind::NotFound && fs::metadata("/proc/self/ns").is_ok() => Ok(0),
        Err(source) => Err(ClockError::Unreadable { path, source }),
    }
}

/// One reading of the three clocks, in this order: so an interruption in between can only move the result towards the end of the call.
#[derive(Clone, Copy)]
struct Reading {
    raw: u64,
    monotonic: u64,
    boottime: u64,
}

impl Reading {
    fn take() -> Self {
        let raw = ns(ClockId::MonotonicRaw);
        let monotonic = ns(ClockId::Monotonic);
        let boottime = ns(ClockId::Boottime);
        Self { raw, monotonic, boottime }
    }

    fn took(&self) -> u64 {
        ns(ClockId::MonotonicRaw).saturating_sub(self.raw)
    }

    fn time(&self) -> u64 {
        self.raw.saturating_add(self.boottime.saturating_sub(self.monotonic))
    }
}

/// A clock set before its epoch reads as 0.
fn ns(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let (seconds, nanoseconds) = (u64::try_from(time.tv_sec).unwrap_or(0), u64::try_from(time.tv_nsec).unwrap_or(0));
    seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_spent_in_suspend_counts() {
        let before = Reading { raw: 1_000, monotonic: 900, boottime: 900 };
        let after = Reading { raw: 1_010, monotonic: 910, boottime: 5_910 };
        assert_eq!(after.time() - before.time(), 5_010);
    }

    #[test]
    fn slewing_of_the_monotonic_clock_does_not_count() {
        let before = Reading { raw: 1_000, monotonic: 900, boottime: 950 };
        // Both slewed clocks ran a tenth too fast over 1,000 ns.
        let after = Reading { raw: 2_000, monotonic: 2_000, boottime: 2_050 };
        assert_eq!(after.time() - before.time(), 1_000);
    }

    #[test]
    fn the_clock_never_goes_back() {
        let mut last = 0;
        for _ in 0..10_000 {
            let now = now_ns();
            assert!(now >= last, "{now} came after {last}");
            last = now;
        }
    }

    #[test]
    fn only_the_own_time_namespace_is_accepted() {
        let own = time_namespace().unwrap();
        require_namespace(own).unwrap();
        let error = require_namespace(own + 1).unwrap_err();
        assert!(matches!(error, ClockError::Foreign { .. }), "{error}");
    }

    #[test]
    fn a_boot_id_is_sixteen_bytes_of_hex() {
        let parsed = parse_boot_id("01020304-0506-0708-090a-0b0c0d0e0f10\n").unwrap();
        assert_eq!(parsed, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]);
        for nonsense in ["", "01020304", "+1020304-0506-0708-090a-0b0c0d0e0f10", "zz020304-0506-0708-090a-0b0c0d0e0f10"] {
            assert_eq!(parse_boot_id(nonsense), None, "{nonsense}");
        }
        let here = boot_id().unwrap();
        assert!(kernel_boot_id().is_none_or(|id| id == here), "nothing is mounted over it where tests run");
    }
}
