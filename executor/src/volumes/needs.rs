//! What a driver needs on its host: kernel file systems and programs, each with the Debian package that brings it. Asked before a driver is declared, and at
//! each mount, so that what is missing is said at once and by name.

use std::path::Path;

use berth_state::noun::volume::Driver;

use super::error::VolumeError;
use super::program::{self, find};

/// A program, and the package that has it.
pub(super) fn program(driver: Driver, name: &str, package: &str) -> Result<(), VolumeError> {
    if find(name).is_some() {
        return Ok(());
    }
    Err(VolumeError::Needs { driver, what: format!("program {name}"), remedy: format!("install package {package}") })
}

/// A file system of the kernel; loads its module when it is not there yet. Blocks for that.
pub(super) fn file_system(driver: Driver, name: &str) -> Result<(), VolumeError> {
    let known = || {
        let listed = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
        listed.lines().any(|line| line.split_whitespace().next_back() == Some(name))
    };
    if known() {
        return Ok(());
    }
    // As mount(8) would make the kernel do; a failure shows in the next look.
    let _ = program::run("modprobe", &["-q", name], &[], std::time::Duration::from_secs(10));
    if known() {
        return Ok(());
    }
    let remedy = format!("this kernel has neither it nor a module {name}; use another driver or another kernel");
    Err(VolumeError::Needs { driver, what: format!("the kernel's file system {name}"), remedy })
}

/// A device node.
pub(super) fn device(driver: Driver, path: &str, module: &str) -> Result<(), VolumeError> {
    if Path::new(path).exists() {
        return Ok(());
    }
    let _ = program::run("modprobe", &["-q", module], &[], std::time::Duration::from_secs(10));
    if Path::new(path).exists() {
        return Ok(());
    }
    Err(VolumeError::Needs { driver, what: path.to_owned(), remedy: format!("load the kernel module {module}") })
}

/// Mounting takes root.
pub(super) fn root(driver: Driver) -> Result<(), VolumeError> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    Err(VolumeError::Needs { driver, what: "root".to_owned(), remedy: "run the executor as root".to_owned() })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test")]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_said_by_name_with_its_package() {
        let error = program(Driver::Nfs, "mount.no-such-storage", "nfs-common").unwrap_err().to_string();
        assert!(error.contains("mount.no-such-storage") && error.contains("install package nfs-common"), "{error}");
        let error = file_system(Driver::Nfs, "nosuchfs").unwrap_err().to_string();
        assert!(error.contains("nosuchfs") && error.contains("kernel"), "{error}");
        assert!(device(Driver::Image, "/dev/no-such-device", "no-such-module").is_err());
        program(Driver::Image, "sh", "dash").unwrap();
        file_system(Driver::Image, "proc").unwrap();
    }
}
