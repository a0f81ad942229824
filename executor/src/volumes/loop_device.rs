//! Loop devices over image files. Found by what the kernel says of each, never from memory: so an executor that comes back finds its own. Called by driver
//! `image` and by the cut; attaches nothing twice.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use berth_state::ids::HostId;
use rustix::fs::OFlags;

use super::system::{self, LO_FLAGS_AUTOCLEAR, LO_FLAGS_DIRECT_IO, LoopInfo};

/// Somebody else may take the free device before we do.
const TRIES: u32 = 64;
/// How the kernel's first free device is called.
const MAJOR: u32 = 7;

/// A loop device that is over a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoopDevice {
    number: u32,
    /// Device and inode of the file.
    file: (u64, u64),
    name: String,
}

impl LoopDevice {
    #[must_use]
    pub fn path(&self) -> PathBuf {
        device_path(self.number)
    }

    /// major and minor.
    #[must_use]
    pub fn numbers(&self) -> (u32, u32) {
        (MAJOR, self.number)
    }

    /// Made by an executor of another host name: several hosts on one kernel, as tests have them. To those the leases apply, not this host's rule.
    #[must_use]
    pub fn of_another_host(&self, host: &HostId) -> bool {
        self.name.strip_prefix(PREFIX).and_then(|rest| rest.split(':').next()).is_some_and(|tag| tag != host_tag(host))
    }

    fn token(&self) -> Option<u64> {
        self.name.strip_prefix(PREFIX)?.split(':').nth(1)?.parse().ok()
    }

    #[must_use]
    pub fn of_token(&self, host: &HostId, token: u64) -> bool {
        !self.of_another_host(host) && self.token() == Some(token)
    }
}

const PREFIX: &str = "berth:";

fn host_tag(host: &HostId) -> String {
    format!("{:08x}", crc32fast::hash(host.as_str().as_bytes()))
}

fn device_path(number: u32) -> PathBuf {
    PathBuf::from(format!("/dev/loop{number}"))
}

/// The file under a block device, by its numbers; `None`: no loop device, or over nothing.
#[must_use]
pub fn backing_of(device: (u32, u32)) -> Option<PathBuf> {
    let file = fs::read_to_string(format!("/sys/dev/block/{}:{}/loop/backing_file", device.0, device.1)).ok()?;
    Some(PathBuf::from(file.trim_end_matches('\n')))
}

/// All devices over this very file, whatever name it was attached by.
///
/// # Errors
/// The file cannot be looked at, or the kernel's list not read.
pub fn over(file: &Path) -> io::Result<Vec<LoopDevice>> {
    let found = fs::metadata(file)?;
    let wanted = (found.dev(), found.ino());
    Ok(all()?.into_iter().filter(|device| device.file == wanted).collect())
}

/// The device that was made over this file for this token; also when the file is not there any more.
#[must_use]
pub fn ours_over(file: &Path, token: u64) -> Option<LoopDevice> {
    let named = |device: &LoopDevice| backing_of(device.numbers()).is_some_and(|backing| same_name(&backing, file));
    all().unwrap_or_default().into_iter().find(|device| device.token() == Some(token) && named(device))
}

/// Whether the kernel's name of a backing file is this one. Of a file that was removed since, the name stays.
#[must_use]
pub fn same_name(backing: &Path, file: &Path) -> bool {
    backing == file || backing.to_str().and_then(|name| name.strip_suffix(" (deleted)")) == file.to_str()
}

fn all() -> io::Result<Vec<LoopDevice>> {
    let numbers = fs::read_dir("/sys/block")?.flatten().filter_map(|entry| entry.file_name().to_str()?.strip_prefix("loop")?.parse().ok());
    Ok(numbers.filter(|number: &u32| backing_of((MAJOR, *number)).is_some()).filter_map(read).collect())
}

/// `None`: it has been let go of meanwhile.
fn read(number: u32) -> Option<LoopDevice> {
    let info = system::loop_status(File::open(device_path(number)).ok()?).ok()?;
    let end = info.file_name.iter().position(|byte| *byte == 0).unwrap_or(info.file_name.len());
    let name = String::from_utf8_lossy(&info.file_name[..end]).into_owned();
    Some(LoopDevice { number, file: (info.device, info.inode), name })
}

/// A device that goes by itself when its last user does: this handle, and then the mount.
pub struct Attached {
    pub device: LoopDevice,
    _open: File,
}

/// Puts a loop device over `file`, for `token` on `host`.
///
/// # Errors
/// The file cannot be opened, or no device be had; [`io::ErrorKind::Unsupported`] when direct I/O is asked for and the storage does not give it.
pub fn attach(file: &Path, host: &HostId, token: u64, direct_io: bool) -> io::Result<Attached> {
    let mut options = fs::OpenOptions::new();
    options.read(true).write(true);
    if direct_io {
        // Some storages refuse it here already.
        options.custom_flags(i32::try_from(OFlags::DIRECT.bits()).unwrap_or(0));
    }
    let unsupported = |why: &str| io::Error::new(io::ErrorKind::Unsupported, format!("no direct I/O on {}: {why}", file.display()));
    let backing = options.open(file).map_err(|error| match rustix::io::Errno::from_io_error(&error) {
        Some(rustix::io::Errno::INVAL) if direct_io => unsupported("it cannot be opened so"),
        Some(_) | None => error,
    })?;
    let flags = LO_FLAGS_AUTOCLEAR | if direct_io { LO_FLAGS_DIRECT_IO } else { 0 };
    let info = LoopInfo::new(&format!("{PREFIX}{}:{token}:{host}", host_tag(host)), flags);
    let control = fs::OpenOptions::new().read(true).write(true).open("/dev/loop-control")?;
    let (number, open) = configure(&control, &backing, info)?;
    let device = read(number).ok_or_else(|| io::Error::other("the new loop device has gone again"))?;
    if direct_io && fs::read_to_string(format!("/sys/block/loop{number}/loop/dio")).is_ok_and(|on| on.trim() == "0") {
        return Err(unsupported("the kernel switched it off for the loop device"));
    }
    Ok(Attached { device, _open: open })
}

fn configure(control: &File, backing: &File, info: LoopInfo) -> io::Result<(u32, File)> {
    for _ in 0..TRIES {
        let number = system::free_loop(control)?;
        let open = open_device(number)?;
        match system::configure_loop(&open, backing.as_fd(), info) {
            Ok(()) => return Ok((number, open)),
            Err(error) if rustix::io::Errno::from_io_error(&error) == Some(rustix::io::Errno::BUSY) => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("no free loop device"))
}

/// In a container or an old /dev the node may be missing.
fn open_device(number: u32) -> io::Result<File> {
    let path = device_path(number);
    if !fs::metadata(&path).is_ok_and(|found| found.file_type().is_block_device()) {
        let node = rustix::fs::makedev(MAJOR, number);
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            rustix::fs::FileType::BlockDevice,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            node,
        )?;
    }
    fs::OpenOptions::new().read(true).write(true).open(path)
}

/// Lets go of a device that nothing is mounted from.
///
/// # Errors
/// The kernel refuses.
pub fn detach(device: &LoopDevice) -> io::Result<()> {
    match system::clear_loop(File::open(device.path())?) {
        Err(error) if rustix::io::Errno::from_io_error(&error) == Some(rustix::io::Errno::NXIO) => Ok(()),
        result => result,
    }
}
