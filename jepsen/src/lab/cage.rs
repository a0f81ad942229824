//! A machine's freezer cgroup (v1): the list of all that runs in it, and the handle to stop, resume and kill it at once.
//! Called by machines and by the sweep; must never signal a process outside its own cgroup.

use crate::lab::identity::LabId;
use crate::lab::poll::wait_until;
use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

const HIERARCHIES: &str = "/sys/fs/cgroup";
const FREEZE_BOUND: Duration = Duration::from_secs(10);
const KILL_BOUND: Duration = Duration::from_secs(20);
const REMOVE_BOUND: Duration = Duration::from_secs(10);

#[derive(Debug, Clone)]
pub(super) struct Cage {
    path: PathBuf,
}

impl Cage {
    /// The cage of one machine, made if it is not there.
    pub(super) fn create(lab: LabId, machine: &str) -> Result<Self> {
        let path = Path::new(HIERARCHIES).join("freezer").join(lab.cgroup()).join(machine);
        fs::create_dir_all(&path).with_context(|| format!("cannot make cgroup {}", path.display()))?;
        Ok(Self { path })
    }

    /// The cage around all cages of a lab, whether it exists or not.
    pub(super) fn of_lab(lab: LabId) -> Self {
        Self { path: Path::new(HIERARCHIES).join("freezer").join(lab.cgroup()) }
    }

    pub(super) fn procs_file(&self) -> PathBuf {
        self.path.join("cgroup.procs")
    }

    /// All processes in this cgroup and below it (containers have cgroups of their own in there). Zombies do not count.
    pub(super) fn pids(&self) -> Vec<i32> {
        let mut pids = Vec::new();
        for dir in tree(&self.path) {
            // A container's cgroup may vanish while we read; then nothing runs in it.
            let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
            pids.extend(text.lines().filter_map(|l| l.trim().parse::<i32>().ok()).filter(|pid| *pid > 1));
        }
        pids
    }

    /// Stops everything in the cage at its next instruction. On return nothing in it runs any more.
    pub(super) fn freeze(&self) -> Result<()> {
        let state = self.path.join("freezer.state");
        wait_until("the freezer cgroup to be FROZEN", FREEZE_BOUND, || {
            // Written again each time: a task that could not be stopped at first is only tried again by a new write.
            fs::write(&state, "FROZEN").with_context(|| format!("cannot freeze {}", state.display()))?;
            Ok(fs::read_to_string(&state)?.trim() == "FROZEN" || self.stands_still())
        })?;
        Ok(())
    }

    /// Whether every thread waits in the kernel, where it cannot be frozen yet: one whose file system is served by a process that is frozen already (FUSE) stays
    /// there, and no thread of a freezing cgroup gets back to its program.
    fn stands_still(&self) -> bool {
        let waits = |stat: PathBuf| {
            let text = fs::read_to_string(stat).unwrap_or_default();
            // Frozen ones are shown as waiting too. A thread that has gone is no thread.
            text.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['D', 'Z', 'X']))
        };
        let threads = |pid: i32| fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        self.pids().into_iter().all(|pid| threads(pid).all(|thread| waits(thread.path().join("stat"))))
    }

    pub(super) fn thaw(&self) -> Result<()> {
        let state = self.path.join("freezer.state");
        fs::write(&state, "THAWED").with_context(|| format!("cannot thaw {}", state.display()))
    }

    pub(super) fn is_frozen(&self) -> bool {
        fs::read_to_string(self.path.join("freezer.state")).is_ok_and(|s| s.trim() != "THAWED")
    }

    /// Kills everything at one moment: frozen first, so that nothing can react to the death of something else. Returns when
    /// nothing is left.
    pub(super) fn kill_everything(&self) -> Result<()> {
        if self.path.exists() && self.freeze().is_err() {
            // Freezing makes the kill one moment; without it the kill still works, only not all at once.
            eprintln!("lab: could not freeze {} before the kill; killing anyway", self.path.display());
        }
        wait_until("every process of the cgroup to be gone", KILL_BOUND, || {
            let pids = self.pids();
            for pid in &pids {
                if let Some(pid) = Pid::from_raw(*pid) {
                    let _ = kill_process(pid, Signal::KILL);
                }
            }
            // Frozen tasks die only when thawed, and a paused container is frozen by a cgroup of its own.
            for dir in tree(&self.path) {
                let _ = fs::write(dir.join("freezer.state"), "THAWED");
            }
            Ok(pids.is_empty())
        })
        .with_context(|| format!("these live on in {}: {:?}", self.path.display(), self.pids()))?;
        Ok(())
    }
}

/// A cgroup's directory and all below, parents first.
fn tree(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![root.to_path_buf()];
    while let Some(dir) = open.pop() {
        if let Ok(entries) = fs::read_dir(&dir) {
            open.extend(entries.flatten().filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()));
            found.push(dir);
        }
    }
    found
}

/// The lab's cgroup directories in all hierarchies (runc makes one in each controller for every container).
pub(super) fn cgroup_dirs(lab: LabId) -> Vec<PathBuf> {
    let Ok(hierarchies) = fs::read_dir(HIERARCHIES) else { return Vec::new() };
    hierarchies.flatten().map(|h| h.path().join(lab.cgroup())).filter(|p| p.is_dir()).collect()
}

/// Removes the lab's empty cgroups in every hierarchy, deepest first.
pub(super) fn remove_cgroups(lab: LabId) -> Result<()> {
    for root in cgroup_dirs(lab) {
        wait_until(&format!("cgroup {} to be removable", root.display()), REMOVE_BOUND, || {
            for dir in tree(&root).into_iter().rev() {
                match fs::remove_dir(&dir) {
                    Ok(()) => {}
                    Err(e) if e.kind() == ErrorKind::NotFound => {}
                    // The kernel lets go of a dead task's cgroup a moment after the task.
                    Err(_) => return Ok(false),
                }
            }
            Ok(!root.exists())
        })?;
    }
    Ok(())
}
