//! The ioctls of linux/watchdog.h, which no crate wraps. Called by `device` only; decides nothing.
#![allow(unsafe_code, reason = "ioctls that no crate wraps; each block says why it is sound")]

use std::io;
use std::os::fd::BorrowedFd;

use rustix::ioctl::{Getter, NoArg, Opcode, Updater, ioctl, opcode};

const KEEPALIVE: Opcode = opcode::read::<i32>(b'W', 5);
const SETTIMEOUT: Opcode = opcode::read_write::<i32>(b'W', 6);
const GETTIMEOUT: Opcode = opcode::read::<i32>(b'W', 7);

const _: () = assert!(KEEPALIVE == 0x8004_5705 && SETTIMEOUT == 0xc004_5706 && GETTIMEOUT == 0x8004_5707);

/// Asks for a timeout; returns the one that the device took.
pub(super) fn set_timeout(device: BorrowedFd<'_>, seconds: u32) -> io::Result<u32> {
    let mut value = i32::try_from(seconds).unwrap_or(i32::MAX);
    // SAFETY: the kernel reads and writes one int behind the pointer that `Updater` makes of it, and keeps nothing.
    unsafe { ioctl(device, Updater::<SETTIMEOUT, i32>::new(&mut value)) }?;
    positive(value)
}

pub(super) fn timeout(device: BorrowedFd<'_>) -> io::Result<u32> {
    // SAFETY: the kernel writes one int into the place that `Getter` has for it.
    let value = unsafe { ioctl(device, Getter::<GETTIMEOUT, i32>::new()) }?;
    positive(value)
}

pub(super) fn keep_alive(device: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the kernel touches no memory of ours, although the number has room for an int.
    Ok(unsafe { ioctl(device, NoArg::<KEEPALIVE>::new()) }?)
}

fn positive(seconds: i32) -> io::Result<u32> {
    u32::try_from(seconds).ok().filter(|seconds| *seconds > 0).ok_or_else(|| io::Error::other("the device names no timeout"))
}
