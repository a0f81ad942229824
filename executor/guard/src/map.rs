//! A shared mapping of one small file, as 8-byte words that are loaded and stored whole. Used by the deadline page and the status file. Must never be
//! used on a file that somebody might shorten and outlive: a touch beyond the end kills the process, which for a guard is the safe end.
#![allow(unsafe_code, reason = "rustix has no safe mapping: two processes share this memory, so all access is by atomics")]

use std::fs::File;
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// Size of every such file, in bytes: one page.
pub const SIZE: usize = 4096;

/// Whether the mapping may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Read,
    ReadWrite,
}

/// Unmapped when dropped; the file may be closed or removed before.
#[derive(Debug)]
pub struct Mapping {
    start: NonNull<AtomicU64>,
    access: Access,
}

// SAFETY: the memory is reached through atomics only.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// # Errors
    /// `InvalidData` for a file that is not a regular file of [`SIZE`] bytes; what the kernel says otherwise.
    pub fn new(file: &File, access: Access) -> io::Result<Self> {
        let found = file.metadata()?;
        if !found.is_file() || found.len() != SIZE as u64 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("it is not a file of {SIZE} bytes")));
        }
        let protection = match access {
            Access::Read => ProtFlags::READ,
            Access::ReadWrite => ProtFlags::READ | ProtFlags::WRITE,
        };
        // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing of ours.
        let start = unsafe { mmap(std::ptr::null_mut(), SIZE, protection, MapFlags::SHARED, file, 0) }?;
        let start = NonNull::new(start.cast::<AtomicU64>()).ok_or_else(|| io::Error::other("the kernel mapped at address 0"))?;
        Ok(Self { start, access })
    }

    /// The word at `offset`: a multiple of 8 within the page.
    #[must_use]
    pub fn load(&self, offset: usize) -> u64 {
        u64::from_le(self.word(offset).load(Ordering::SeqCst))
    }

    /// # Panics
    /// When the mapping is read-only: a defect of the caller.
    pub fn store(&self, offset: usize, value: u64) {
        assert_eq!(self.access, Access::ReadWrite, "a read-only mapping is never written");
        self.word(offset).store(value.to_le(), Ordering::SeqCst);
    }

    fn word(&self, offset: usize) -> &AtomicU64 {
        assert!(offset.is_multiple_of(8) && offset < SIZE, "word {offset} is not within the page");
        // SAFETY: within the mapping, aligned (mappings begin at page boundaries), and alive as long as `self`.
        unsafe { self.start.byte_add(offset).as_ref() }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this size, and no reference into it outlives `self`.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), SIZE) };
    }
}
