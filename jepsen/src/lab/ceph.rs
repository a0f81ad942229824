//! A Ceph cluster of one node on this machine's loopback, from Debian's packages: monitor, manager, one object store on a file, metadata server, one file
//! system. Called by the test of driver cephfs (`make test-ceph`); ends what it started on drop, also by a panic.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::lab::shell::run_command;

const SCRIPT: &str = include_str!("images/ceph.sh");
const START_BOUND: Duration = Duration::from_secs(180);
const ORDER_BOUND: Duration = Duration::from_secs(60);

/// A running cluster.
#[derive(Debug)]
pub struct Ceph {
    folder: PathBuf,
}

impl Ceph {
    /// Starts one below `folder`, with its monitor on `address`, port 6789.
    pub fn start(folder: &Path, address: &str) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        // Made first, so that a start that fails half way is ended too.
        let ceph = Self { folder: folder.to_owned() };
        ceph.script(&["start"], &[address], START_BOUND).context("starting Ceph: are ceph-mon, ceph-mgr, ceph-osd, ceph-mds installed?")?;
        Ok(ceph)
    }

    pub fn conf(&self) -> PathBuf {
        self.folder.join("ceph.conf")
    }

    /// Of client.admin.
    pub fn keyring(&self) -> PathBuf {
        self.folder.join("keyring")
    }

    /// An order by the `ceph` program; returns what it printed.
    pub fn order(&self, words: &[&str]) -> Result<String> {
        let mut command = Command::new("ceph");
        command.arg("-c").arg(self.conf()).arg("-k").arg(self.keyring()).args(words);
        run_command(ORDER_BOUND, command, "")
    }

    fn script(&self, before: &[&str], after: &[&str], bound: Duration) -> Result<String> {
        let mut command = Command::new("bash");
        command.args(["-c", SCRIPT, "ceph.sh"]).args(before).arg(&self.folder).args(after);
        run_command(bound, command, "")
    }
}

impl Drop for Ceph {
    fn drop(&mut self) {
        if let Err(error) = self.script(&["stop"], &[], ORDER_BOUND) {
            eprintln!("Ceph below {} may still run: {error:#}", self.folder.display());
        }
    }
}
