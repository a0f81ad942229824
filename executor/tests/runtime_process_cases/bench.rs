//! Benches for the process runtime. Called for every test; must never leave a folder or a process behind.

use std::future::Future;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use berth_executor::runtime::Runtime;
use berth_executor::runtime::process::{ProcessConfig, ProcessRuntime};
use futures::FutureExt;
use tempfile::TempDir;

use crate::guard_support::Guards;
use crate::runtime_conformance::Bench;

/// Uid and gid of `nobody` on every Linux.
const ORDINARY: u32 = 65534;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// What `ProcessRuntime::new` finds.
    Strongest,
    ProcessGroups,
}

pub fn config(root: &Path) -> ProcessConfig {
    ProcessConfig {
        root: root.to_path_buf(),
        cluster: "cafe0123".to_owned(),
        host: format!("test-{}", std::process::id()),
        berth_binary: std::env::current_exe().unwrap(),
    }
}

pub fn open(mode: Mode, config: ProcessConfig) -> ProcessRuntime {
    match mode {
        Mode::Strongest => ProcessRuntime::new(config).unwrap(),
        Mode::ProcessGroups => ProcessRuntime::with_process_groups_only(config).unwrap(),
    }
}

/// A bench in a folder of its own; the folder goes with the second value.
pub fn bench(mode: Mode) -> (Bench, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let (cluster, host) = (config.cluster.clone(), config.host.clone());
    let read_only_enforced = open(mode, config.clone()).enforcement().read_only_mounts;
    let again = move || {
        let config = config.clone();
        async move { Box::new(open(mode, config)) as Box<dyn Runtime> }.boxed()
    };
    let guards = Guards::at(&folder.path().join("run"));
    (
        Bench {
            open: Box::new(again),
            image: folder_as_image(&folder),
            cluster,
            host,
            guards,
            mounts_at_target: false,
            read_only_enforced,
        },
        folder,
    )
}

/// The process runtime has no use for an image: these tests keep the runtime's folder there, where the cases find it.
fn folder_as_image(folder: &TempDir) -> String {
    folder.path().to_str().unwrap().to_owned()
}

pub fn block_on(future: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(future);
}

/// This whole program again without root's rights, from a place where everybody can read it.
pub fn run_again_as_ordinary_user() {
    let folder = tempfile::tempdir().unwrap();
    let open_to_all = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.path(), open_to_all).unwrap();
    let program = folder.path().join("runtime_process");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let filter = std::env::var("ORDINARY_FILTER").unwrap_or_default();
    let status = Command::new(program).arg(filter).uid(ORDINARY).gid(ORDINARY).current_dir("/").status().unwrap();
    assert!(status.success(), "see the tests above; ORDINARY_FILTER=name runs only some of them");
}
