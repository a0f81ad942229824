//! A scratch folder with mount points in it, taken apart afterwards also when a test fails; and what tests of drivers share.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use berth_executor::volumes::{DriverContext, Still, VolumeRequest, mountinfo};
use berth_state::ids::{ContainerId, HostId, LeaseId, Token, VolumeId};
use rustix::mount::UnmountFlags;
use rustix::process::{Pid, Signal, kill_process_group};

pub struct Scratch {
    pub folder: tempfile::TempDir,
    pub context: DriverContext,
}

impl Scratch {
    /// `None`, with the reason printed, where this machine cannot run the test.
    pub fn new(test: &str, needs: &[&str]) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: {test}, because this is not root");
            return None;
        }
        if let Some(missing) = needs.iter().find(|path| !Path::new(path).exists()) {
            println!("skipped: {test}, because {missing} is not there");
            return None;
        }
        if std::env::var_os(INSIDE).is_none() {
            run_in_own_mounts();
            return None;
        }
        let folder = tempfile::Builder::new().prefix("berth-volumes-").tempdir().unwrap();
        let context = DriverContext::below(&folder.path().join("run"), host("h1"));
        Some(Self { folder, context })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    pub fn of_host(&self, name: &str) -> DriverContext {
        DriverContext::below(&self.folder.path().join(format!("run-{name}")), host(name))
    }
}

/// Set in the process that has mounts of its own.
const INSIDE: &str = "BERTH_TEST_OWN_MOUNTS";

/// Runs the test of this thread again, in a mount namespace of its own: other programs of this machine that copy the tree of mounts would otherwise keep the
/// test's file systems alive, and a test that is killed takes its mounts with it.
fn run_in_own_mounts() {
    let thread = std::thread::current();
    let name = thread.name().unwrap();
    let program = std::env::current_exe().unwrap();
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "--"]).arg(program).args(["--exact", name, "--nocapture"]);
    let output = command.env(INSIDE, "1").output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && text.contains("1 passed"), "{name}, in its own mounts:\n{text}");
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let folder = self.folder.path().canonicalize().unwrap_or_else(|_| self.folder.path().to_owned());
        let mounts = mountinfo::all().unwrap_or_default();
        for mount in mounts.iter().rev().filter(|mount| mount.point.starts_with(&folder)) {
            let _ = rustix::mount::unmount(&mount.point, UnmountFlags::DETACH);
        }
    }
}

pub fn host(name: &str) -> HostId {
    HostId::new(name).unwrap()
}

pub fn request(options: &[(&str, &str)], token: u64) -> VolumeRequest {
    let options: BTreeMap<String, String> = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    VolumeRequest {
        volume: VolumeId::new("pg").unwrap(),
        options,
        host: host("h1"),
        container: ContainerId::new("db").unwrap(),
        lease: LeaseId(token),
        token: Token(token),
        read_only: false,
        still: Still::always(),
    }
}

/// A program with its children, killed when it is dropped.
pub struct Running(pub Child);

impl Running {
    pub fn shell(script: &str) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(Stdio::null());
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        Self(command.spawn().unwrap())
    }

    pub fn kill(&mut self) {
        let group = Pid::from_raw(i32::try_from(self.0.id()).unwrap()).unwrap();
        let _ = kill_process_group(group, Signal::KILL);
        let _ = self.0.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Polls, with a bound that no healthy machine reaches.
#[allow(clippy::disallowed_methods, reason = "test: it bounds its own waiting")]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..2_000 {
        if holds() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("not within 20 s: {what}");
}
