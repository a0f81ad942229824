//! A watchdog device of the kernel (Documentation/watchdog/watchdog-api): armed by its opening, petted by an ioctl or any write, disarmed by the letter V before
//! the close. Closed without it, it goes on counting: that is what makes a killed guard reset the host.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::ioctl;

/// What the guard needs of a watchdog.
pub trait Watchdog: Send {
    /// After so long without a pet the host is reset.
    fn timeout_s(&self) -> u32;

    /// # Errors
    /// The device did not take it.
    fn pet(&mut self) -> Result<(), DeviceError>;

    /// Stops it and closes it.
    ///
    /// # Errors
    /// It counts on.
    fn disarm(self: Box<Self>) -> Result<(), DeviceError>;
}

#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    #[error("cannot {action} watchdog {path}")]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "watchdog {path} does not go below {least_s} s, and {wanted_s} s were asked for: raise the leases' ttl to at least {} s and the watchdog timeout to {least_s} s, \
         or run without this watchdog",
        least_s.saturating_mul(2)
    )]
    TooSlow { path: PathBuf, wanted_s: u32, least_s: u32 },
}

/// The real one, or a file that stands for it.
#[derive(Debug)]
pub struct Device {
    path: PathBuf,
    file: File,
    timeout_s: u32,
    /// It understands the ioctls; else it is written to.
    speaks: bool,
}

impl Device {
    /// Opens, and so arms, the device; sets its timeout. A device that cannot be set so low is disarmed again.
    ///
    /// # Errors
    /// [`DeviceError`]; it is not armed then, or its driver does not let go.
    pub fn open(path: &Path, wanted_s: u32) -> Result<Self, DeviceError> {
        let failed = |source| DeviceError::Io { action: "open", path: path.to_owned(), source };
        let nonblocking = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
        let file = OpenOptions::new().write(true).custom_flags(nonblocking).open(path).map_err(failed)?;
        let (speaks, timeout_s) = match ioctl::set_timeout(file.as_fd(), wanted_s) {
            Ok(set) => (true, set),
            // Out of its range, or no such call: what it has is what counts.
            Err(_) => match ioctl::timeout(file.as_fd()) {
                Ok(has) => (true, has),
                Err(_) => (false, wanted_s),
            },
        };
        let device = Self { path: path.to_owned(), file, timeout_s, speaks };
        if timeout_s <= wanted_s {
            return Ok(device);
        }
        Box::new(device).disarm()?;
        Err(DeviceError::TooSlow { path: path.to_owned(), wanted_s, least_s: timeout_s })
    }

    fn write(&mut self, action: &'static str, byte: u8) -> Result<(), DeviceError> {
        self.file.write_all(&[byte]).map_err(|source| DeviceError::Io { action, path: self.path.clone(), source })
    }
}

impl Watchdog for Device {
    fn timeout_s(&self) -> u32 {
        self.timeout_s
    }

    fn pet(&mut self) -> Result<(), DeviceError> {
        if self.speaks && ioctl::keep_alive(self.file.as_fd()).is_ok() {
            return Ok(());
        }
        // Any letter but V.
        self.write("pet", b'p')
    }

    fn disarm(mut self: Box<Self>) -> Result<(), DeviceError> {
        self.write("disarm", b'V')
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test")]
mod tests {
    use super::*;

    #[test]
    fn a_device_without_ioctls_is_written_to_and_disarmed_by_its_letter() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("watchdog");
        std::fs::write(&path, "").unwrap();
        let mut device = Device::open(&path, 5).unwrap();
        assert_eq!(device.timeout_s(), 5);
        device.pet().unwrap();
        device.pet().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "pp");
        Box::new(device).disarm().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "ppV");
    }

    #[test]
    fn a_device_that_is_merely_dropped_stays_armed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("watchdog");
        std::fs::write(&path, "").unwrap();
        drop(Device::open(&path, 5).unwrap());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "");
    }

    #[test]
    fn a_missing_device_is_named_and_a_slow_one_comes_with_advice() {
        let error = Device::open(Path::new("/nonexistent/watchdog0"), 5).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/watchdog0"), "{error}");
        let slow = DeviceError::TooSlow { path: "/dev/watchdog0".into(), wanted_s: 5, least_s: 30 }.to_string();
        assert!(slow.contains("ttl to at least 60 s"), "{slow}");
    }
}
