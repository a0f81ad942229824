//! Guards for the instances of tests: the program, installed once, and a page and a status file for each instance, as the executor makes them. Used by all
//! tests of runtimes.
#![allow(clippy::unwrap_used, dead_code, reason = "test support: each test program uses its part")]

use std::path::{Path, PathBuf};

use berth_executor::pages::Pages;
use berth_executor::runtime::InstanceKey;
use berth_executor::runtime::spec::{GuardSpec, HookSpec};
use berth_executor::{guard_binary, ledger};
use berth_guard::page::{Deadline, Owner, PageWriter};
use berth_guard::status::{self, Phase};
use berth_state::ids::Token;

/// A run folder; goes with the value, if it made it.
pub struct Guards {
    pages: Pages,
    binary: PathBuf,
    _folder: Option<tempfile::TempDir>,
}

impl Guards {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Whoever an instance runs as must come to the guard's files.
        std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let made = Self::at(folder.path());
        Self { _folder: Some(folder), ..made }
    }

    /// In a folder that somebody else removes.
    pub fn at(run: &Path) -> Self {
        std::fs::create_dir_all(run).unwrap();
        let binary = guard_binary::install(run, run).unwrap();
        Self { pages: Pages::new(run, ledger::boot_id().unwrap()).unwrap(), binary, _folder: None }
    }

    /// For an instance whose lease has no deadline.
    pub fn spec(&self, key: &InstanceKey) -> GuardSpec {
        self.spec_until(key, Deadline::None)
    }

    pub fn spec_until(&self, key: &InstanceKey, deadline: Deadline) -> GuardSpec {
        let token = Token(key.token);
        self.pages.make(token).unwrap().store(deadline);
        let status = self.pages.make_status(token, key.attempt).unwrap();
        GuardSpec { binary: self.binary.clone(), page: self.pages.page(token), status, init: None, pre_start: None }
    }

    pub fn page(&self, key: &InstanceKey) -> PageWriter {
        PageWriter::open(&self.pages.page(Token(key.token)), &Owner::here(key.token).unwrap()).unwrap()
    }

    pub fn phase(&self, key: &InstanceKey) -> Phase {
        status::read(&self.pages.status(Token(key.token), key.attempt)).unwrap().expect("a phase")
    }
}

/// A hook that runs `script` in a shell.
pub fn hook(script: &str, timeout_ms: u64) -> Option<HookSpec> {
    Some(HookSpec { command: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(), timeout_ms })
}
