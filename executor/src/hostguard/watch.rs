//! What changes in the run folder, told by inotify, so that a new lease or order is seen at once. A hint only: the guard looks for itself every
//! [`RESCAN_NS`] too.

use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

/// Looked through even when nothing was told.
pub const RESCAN_NS: u64 = 200_000_000;

/// Without inotify only the regular looks remain.
pub(super) struct Watcher(Option<OwnedFd>);

impl Watcher {
    pub fn new(folders: &[&Path]) -> Self {
        let watcher = Self(inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok());
        folders.iter().for_each(|folder| watcher.add(folder));
        watcher
    }

    /// Adding the same folder again changes nothing; a removed one leaves by itself.
    pub fn add(&self, folder: &Path) {
        let flags = WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::DELETE | WatchFlags::ONLYDIR;
        if let Some(inotify) = &self.0 {
            let _ = inotify::add_watch(inotify, folder, flags);
        }
    }

    /// Until something is told or `at_most` has passed; whether something was told.
    #[allow(clippy::disallowed_methods, reason = "the guard's own thread, which has no async runtime")]
    pub fn wait(&self, at_most: Duration) -> bool {
        let Some(inotify) = &self.0 else {
            std::thread::sleep(at_most);
            return false;
        };
        let timeout = Timespec { tv_sec: 0, tv_nsec: at_most.subsec_nanos().into() };
        let mut polled = [PollFd::new(inotify, PollFlags::IN)];
        match poll(&mut polled, Some(&timeout)) {
            Ok(1..) => {}
            Ok(0) => return false,
            Err(_) => {
                std::thread::sleep(at_most);
                return false;
            }
        }
        // What it says does not matter: everything is looked through.
        let mut buffer = [0_u8; 4096];
        while rustix::io::read(inotify, &mut buffer).is_ok_and(|read| read > 0) {}
        true
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test")]
mod tests {
    use super::*;

    #[test]
    fn a_new_file_is_told_and_silence_ends_with_the_time() {
        let folder = tempfile::tempdir().unwrap();
        let watcher = Watcher::new(&[folder.path()]);
        assert!(!watcher.wait(Duration::from_millis(1)));
        std::fs::write(folder.path().join("x"), "").unwrap();
        assert!(watcher.wait(Duration::from_millis(999)));
        assert!(!watcher.wait(Duration::from_millis(1)), "told twice");
    }
}
