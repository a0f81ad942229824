//! System calls that no crate wraps: ioctls of file systems and loop devices. The one module of the drivers with unsafe code; it decides nothing.
#![allow(unsafe_code, reason = "ioctls that no crate wraps; each block says why it is sound")]

use std::ffi::c_void;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::ioctl::{Getter, Ioctl, IoctlOutput, NoArg, Opcode, Setter, ioctl};

/// `EXT4_IOC_SHUTDOWN` and `XFS_IOC_GOINGDOWN`: the same number.
const SHUTDOWN: Opcode = 0x8004_587d;
/// Neither data nor log is written any more.
const NO_LOG_FLUSH: u32 = 2;
const LOOP_CLR_FD: Opcode = 0x4c01;
const LOOP_GET_STATUS64: Opcode = 0x4c05;
const LOOP_CONFIGURE: Opcode = 0x4c0a;
const LOOP_CTL_GET_FREE: Opcode = 0x4c82;
/// The device goes when its last user does.
pub const LO_FLAGS_AUTOCLEAR: u32 = 4;
pub const LO_FLAGS_DIRECT_IO: u32 = 16;

/// Shuts the file system of this directory down, for everybody, in all mount namespaces.
///
/// # Errors
/// ENOTTY where the file system cannot; EPERM without the right.
pub fn shut_down(root: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the kernel reads one u32 behind the pointer that `Setter` makes of its value, and keeps nothing.
    Ok(unsafe { ioctl(root, Setter::<SHUTDOWN, u32>::new(NO_LOG_FLUSH)) }?)
}

/// `struct loop_info64` of linux/loop.h.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct LoopInfo {
    pub device: u64,
    pub inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    pub flags: u32,
    /// Free text of whoever made the device, ended by a NUL.
    pub file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config` of linux/loop.h.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    info: LoopInfo,
    reserved: [u64; 8],
}

const _: () = assert!(size_of::<LoopInfo>() == 232 && size_of::<LoopConfig>() == 304);

impl LoopInfo {
    #[must_use]
    pub fn new(name: &str, flags: u32) -> Self {
        let mut file_name = [0; 64];
        for (to, from) in file_name.iter_mut().take(63).zip(name.bytes()) {
            *to = from;
        }
        Self {
            device: 0,
            inode: 0,
            rdevice: 0,
            offset: 0,
            size_limit: 0,
            number: 0,
            encrypt_type: 0,
            encrypt_key_size: 0,
            flags,
            file_name,
            crypt_name: [0; 64],
            encrypt_key: [0; 32],
            init: [0; 2],
        }
    }
}

struct GetFree;

// SAFETY: LOOP_CTL_GET_FREE takes no argument and answers by its return value.
unsafe impl Ioctl for GetFree {
    type Output = u32;
    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        LOOP_CTL_GET_FREE
    }

    fn as_ptr(&mut self) -> *mut c_void {
        std::ptr::null_mut()
    }

    unsafe fn output_from_ptr(answer: IoctlOutput, _: *mut c_void) -> rustix::io::Result<u32> {
        u32::try_from(answer).map_err(|_| rustix::io::Errno::RANGE)
    }
}

/// Number of a loop device that nobody uses at this moment; asked of /dev/loop-control.
///
/// # Errors
/// The kernel gives none.
pub fn free_loop(control: impl AsFd) -> io::Result<u32> {
    // SAFETY: see `GetFree`.
    Ok(unsafe { ioctl(control, GetFree) }?)
}

/// Puts the loop device over `backing`.
///
/// # Errors
/// EBUSY when somebody else has taken it.
pub fn configure_loop(device: impl AsFd, backing: BorrowedFd<'_>, info: LoopInfo) -> io::Result<()> {
    let fd = u32::try_from(backing.as_raw_fd()).map_err(io::Error::other)?;
    let config = LoopConfig { fd, block_size: 0, info, reserved: [0; 8] };
    // SAFETY: the kernel reads one loop_config behind the pointer; `LoopConfig` has its layout and size (asserted above), and `backing` is open.
    Ok(unsafe { ioctl(device, Setter::<LOOP_CONFIGURE, LoopConfig>::new(config)) }?)
}

/// # Errors
/// ENXIO when it is over nothing.
pub fn loop_status(device: impl AsFd) -> io::Result<LoopInfo> {
    // SAFETY: the kernel writes one whole loop_info64; `LoopInfo` has its layout and size, and every bit pattern of it is valid.
    Ok(unsafe { ioctl(device, Getter::<LOOP_GET_STATUS64, LoopInfo>::new()) }?)
}

/// Takes the backing file away as soon as nobody uses the device.
///
/// # Errors
/// ENXIO when there is none.
pub fn clear_loop(device: impl AsFd) -> io::Result<()> {
    // SAFETY: LOOP_CLR_FD takes no argument.
    Ok(unsafe { ioctl(device, NoArg::<LOOP_CLR_FD>::new()) }?)
}
