//! The folder of each lease below the run folder: its deadline page and the status files of its instances' guards. Made by the launch step, taken over at start,
//! kept up to date by the enforcer, which alone writes deadlines. Must never make a deadline later than the book's, nor lose sight of a page that a guard may be
//! reading while its right goes on.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use berth_guard::clock::{self, ClockError};
use berth_guard::page::{Deadline, Owner, PageError, PageWriter};
use berth_guard::status;
use berth_state::ids::{BootId, HostId, Token};
use tracing::warn;

use crate::clock::HolderTime;
use crate::deadline::{Lost, Right};
use crate::judged::Judged;

#[derive(Debug, thiserror::Error)]
pub enum PagesError {
    #[error("{path}")]
    Io { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Page(#[from] PageError),
    #[error(transparent)]
    Clock(#[from] ClockError),
}

/// `/run/berth/<host>`; for an ordinary user, who may not make that, a folder of his data folder.
#[must_use]
pub fn default_run_folder(host: &HostId, data: &Path) -> PathBuf {
    if rustix::process::geteuid().is_root() { Path::new("/run/berth").join(host.as_str()) } else { data.join("run") }
}

/// Where they are, and what each page says of this machine. A cheap clone.
#[derive(Clone, Debug)]
pub struct Pages {
    folder: PathBuf,
    machine: Owner,
}

impl Pages {
    /// `boot`: this boot as the executor knows it.
    ///
    /// # Errors
    /// The folder cannot be made, or the machine does not say whose clock this is.
    pub fn new(run: &Path, boot: BootId) -> Result<Self, PagesError> {
        let folder = run.join("leases");
        fs::create_dir_all(&folder).map_err(|source| PagesError::Io { path: folder.clone(), source })?;
        // Absolute: container engines ask for it, and instances have other working folders.
        let folder = fs::canonicalize(&folder).map_err(|source| PagesError::Io { path: folder, source })?;
        let kernel_boot_id = clock::kernel_boot_id().unwrap_or(boot.0);
        Ok(Self { folder, machine: Owner { token: 0, boot_id: boot.0, kernel_boot_id, time_namespace: clock::time_namespace()? } })
    }

    /// `<run>/leases/<token>`.
    #[must_use]
    pub fn folder(&self, token: Token) -> PathBuf {
        self.folder.join(token.0.to_string())
    }

    #[must_use]
    pub fn page(&self, token: Token) -> PathBuf {
        self.folder(token).join("page")
    }

    #[must_use]
    pub fn status(&self, token: Token, attempt: u32) -> PathBuf {
        self.folder(token).join(format!("status-{attempt}"))
    }

    fn owner(&self, token: Token) -> Owner {
        Owner { token: token.0, ..self.machine }
    }

    /// The page for the first launch under this lease, or the one of an earlier launch. A new one says "over" until the enforcer writes it.
    ///
    /// # Errors
    /// When it cannot be made, or what is there is not this lease's.
    pub fn make(&self, token: Token) -> Result<PageWriter, PagesError> {
        let (folder, path) = (self.folder(token), self.page(token));
        fs::create_dir_all(&folder).map_err(|source| PagesError::Io { path: folder, source })?;
        match PageWriter::open(&path, &self.owner(token)) {
            Err(error) if error.is_missing() => Ok(PageWriter::create(&path, &self.owner(token), Deadline::Over)?),
            opened => Ok(opened?),
        }
    }

    /// An empty status file for the guard of this attempt.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn make_status(&self, token: Token, attempt: u32) -> Result<PathBuf, PagesError> {
        let path = self.status(token, attempt);
        let failed = |source| PagesError::Io { path: path.clone(), source };
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
            Ok(()) | Err(_) => {}
        }
        status::create(&path).map_err(failed)?;
        Ok(path)
    }

    /// What a page of an earlier process makes of `judged`, which the ledger said (L9). The page is what guards went by, and newer than the ledger; so it
    /// decides, and a restart makes no deadline later (I12). Without it an instance that may run has no guard to trust: it is over.
    #[must_use]
    pub fn take_over(&self, token: Token, judged: Judged, may_run: bool, now: HolderTime) -> (Judged, Option<PageWriter>) {
        match PageWriter::open(&self.page(token), &self.owner(token)) {
            Ok(page) => {
                let judged = match judged {
                    Judged::Over(why) => Judged::Over(why),
                    Judged::GoesOn(_) => judge_page(page.load(), now),
                };
                (judged, Some(page))
            }
            Err(error) => {
                if !error.is_missing() {
                    warn!(%token, %error, "the deadline page is not taken over");
                }
                match judged {
                    Judged::GoesOn(_) if may_run => (Judged::Over(Lost::Stale), None),
                    Judged::GoesOn(_) | Judged::Over(_) => (judged, None),
                }
            }
        }
    }

    /// Removes a lease's folder: its instances are dead. Three files on a tmpfs.
    pub fn remove(&self, token: Token) {
        let folder = self.folder(token);
        // Twice: the host guard may just write into it what it did.
        match fs::remove_dir_all(&folder).or_else(|_| fs::remove_dir_all(&folder)) {
            Err(error) if error.kind() != ErrorKind::NotFound => warn!(%token, %error, "the lease's folder below the run folder stays"),
            Ok(()) | Err(_) => {}
        }
    }

    /// Folders of leases that nobody knows of: their guards are told to end, then they go.
    pub fn sweep(&self, known: &BTreeSet<Token>) {
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let Some(token) = entry.file_name().to_str().and_then(|name| name.parse().ok()).map(Token) else { continue };
            if !known.contains(&token) {
                if let Ok(page) = PageWriter::open(&self.page(token), &self.owner(token)) {
                    page.store(Deadline::Over);
                }
                self.remove(token);
            }
        }
    }
}

fn judge_page(deadline: Deadline, now: HolderTime) -> Judged {
    match deadline {
        Deadline::Over => Judged::Over(Lost::Stale),
        Deadline::At(ns) if HolderTime(ns) <= now => Judged::Over(Lost::DeadlinePassed),
        Deadline::At(ns) => Judged::GoesOn(Right::Until(HolderTime(ns))),
        Deadline::None => Judged::GoesOn(Right::Open),
    }
}

/// What a page must say of a right.
#[must_use]
pub fn deadline_of(right: Right) -> Deadline {
    match right {
        Right::Never | Right::Over(_) => Deadline::Over,
        Right::Until(time) => Deadline::At(time.0),
        Right::Open => Deadline::None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test")]
mod tests {
    use super::*;

    const T: Token = Token(11);
    const NOW: HolderTime = HolderTime(100);

    fn pages() -> (tempfile::TempDir, Pages) {
        let run = tempfile::tempdir().unwrap();
        let pages = Pages::new(run.path(), BootId([1; 16])).unwrap();
        (run, pages)
    }

    fn goes_on(ns: u64) -> Judged {
        Judged::GoesOn(Right::Until(HolderTime(ns)))
    }

    #[test]
    fn a_new_page_is_over_until_the_enforcer_says_otherwise_and_is_made_once() {
        let (_run, pages) = pages();
        let page = pages.make(T).unwrap();
        assert_eq!(page.load(), Deadline::Over);
        page.store(Deadline::At(7));
        assert_eq!(pages.make(T).unwrap().load(), Deadline::At(7), "a second launch goes on with it");
    }

    #[test]
    fn after_a_restart_the_page_decides_and_never_for_longer_than_it_said() {
        let (_run, pages) = pages();
        let page = pages.make(T).unwrap();
        for (said, judged) in [
            (Deadline::At(101), goes_on(101)),
            (Deadline::At(100), Judged::Over(Lost::DeadlinePassed)),
            (Deadline::Over, Judged::Over(Lost::Stale)),
            (Deadline::None, Judged::GoesOn(Right::Open)),
        ] {
            page.store(said);
            assert_eq!(pages.take_over(T, goes_on(500), true, NOW).0, judged, "{said:?}");
            let lost = Judged::Over(Lost::SessionGone);
            assert_eq!(pages.take_over(T, lost, true, NOW).0, lost, "what the ledger ended stays ended");
        }
    }

    #[test]
    fn without_its_page_what_may_run_is_over_and_what_never_ran_goes_on() {
        let (_run, pages) = pages();
        assert_eq!(pages.take_over(T, goes_on(500), true, NOW).0, Judged::Over(Lost::Stale));
        assert_eq!(pages.take_over(T, goes_on(500), false, NOW).0, goes_on(500));
        // Of another boot, or of another token: as if there were none.
        pages.make(T).unwrap().store(Deadline::At(500));
        fs::create_dir(pages.folder(Token(12))).unwrap();
        fs::copy(pages.page(T), pages.page(Token(12))).unwrap();
        assert_eq!(pages.take_over(Token(12), goes_on(500), true, NOW).0, Judged::Over(Lost::Stale));
        let rebooted = Pages { machine: Owner { boot_id: [2; 16], ..pages.machine }, ..pages.clone() };
        assert_eq!(rebooted.take_over(T, goes_on(500), true, NOW).0, Judged::Over(Lost::Stale));
    }

    #[test]
    fn a_page_that_nobody_knows_is_ended_before_it_goes() {
        let (_run, pages) = pages();
        let (kept, unknown) = (pages.make(T).unwrap(), pages.make(Token(12)).unwrap());
        kept.store(Deadline::At(500));
        unknown.store(Deadline::At(500));
        pages.make_status(Token(12), 1).unwrap();
        pages.sweep(&BTreeSet::from([T]));
        assert_eq!((kept.load(), unknown.load()), (Deadline::At(500), Deadline::Over));
        assert_eq!(fs::read_dir(&pages.folder).unwrap().count(), 1);
    }
}
