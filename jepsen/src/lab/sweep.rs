//! Removes a lab knowing nothing but its number, and scans for what is left. Called at teardown and, for runs that crashed, before
//! the next lab is made; must never touch a lab whose owner lives.

use crate::lab::cage::{Cage, cgroup_dirs, remove_cgroups};
use crate::lab::identity::LabId;
use crate::lab::network;
use crate::lab::poll::wait_until;
use crate::lab::shell::run;
use anyhow::{Context, Result, ensure};
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

const LOCK_BOUND: Duration = Duration::from_secs(120);
const REMOVE_BOUND: Duration = Duration::from_secs(30);

/// Who a lab belongs to, as its owner file says.
pub(super) enum Owner {
    /// A process by pid and start time: a pid alone may have been given to another since.
    Process { pid: u32, started: u64, name: String },
    /// Left running on purpose; only [`remove_kept`] ends it.
    Kept { name: String },
}

impl Owner {
    pub(super) fn this_process(name: &str) -> Result<Self> {
        let pid = std::process::id();
        let started = start_time(pid).context("cannot read this process's start time")?;
        Ok(Self::Process { pid, started, name: name.to_string() })
    }

    pub(super) fn write(&self, lab: LabId) -> Result<()> {
        let text = match self {
            Self::Process { pid, started, name } => format!("process {pid} {started} {name}\n"),
            Self::Kept { name } => format!("kept {name}\n"),
        };
        fs::write(lab.owner_file(), text).with_context(|| format!("cannot write {}", lab.owner_file().display()))
    }

    /// `None` when the file is not there or makes no sense: the lab was given up half made or half removed.
    fn read(lab: LabId) -> Option<Self> {
        let text = fs::read_to_string(lab.owner_file()).ok()?;
        let words: Vec<&str> = text.split_whitespace().collect();
        match words.as_slice() {
            ["process", pid, started, name] => {
                Some(Self::Process { pid: pid.parse().ok()?, started: started.parse().ok()?, name: (*name).to_string() })
            }
            ["kept", name] => Some(Self::Kept { name: (*name).to_string() }),
            _ => None,
        }
    }

    fn is_dead(&self) -> bool {
        match self {
            Self::Process { pid, started, name: _ } => start_time(*pid) != Some(*started),
            Self::Kept { name: _ } => false,
        }
    }
}

/// Clock ticks since boot at which the process started; `None` when there is no such process.
fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the name in brackets and may hold anything, blanks and brackets included.
    stat.rsplit_once(") ")?.1.split(' ').nth(19)?.parse().ok()
}

/// Held while a lab number is claimed or given back, so that two runs on one machine do not meet.
pub(super) fn claim_lock() -> Result<File> {
    let base = LabId::base_dir();
    fs::create_dir_all(&base).with_context(|| format!("cannot make {}", base.display()))?;
    let file = File::create(base.join("lock"))?;
    wait_until("another lab's set-up or teardown", LOCK_BOUND, || match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(e)) => Err(e.into()),
    })?;
    Ok(file)
}

/// Removes every lab whose owner is dead; says which.
pub fn sweep_dead() -> Result<Vec<LabId>> {
    let _claim = claim_lock()?;
    sweep_dead_locked()
}

pub(super) fn sweep_dead_locked() -> Result<Vec<LabId>> {
    remove_where(|owner| owner.is_none_or(|o| o.is_dead()))
}

/// Removes the labs that were kept under `name`; says which.
pub fn remove_kept(name: &str) -> Result<Vec<LabId>> {
    let _claim = claim_lock()?;
    remove_where(|owner| match owner {
        Some(Owner::Kept { name: kept }) => kept == name,
        Some(Owner::Process { .. }) | None => false,
    })
}

fn remove_where(condemned: impl Fn(Option<Owner>) -> bool) -> Result<Vec<LabId>> {
    let ids: Vec<LabId> = on_disk().into_iter().filter(|id| condemned(Owner::read(*id))).collect();
    for id in &ids {
        remove_everything(*id).with_context(|| format!("removing lab {id}"))?;
    }
    Ok(ids)
}

/// The labs on this machine, each with the process that owns it (`None`: kept on purpose, or given up).
pub fn labs() -> Vec<(LabId, Option<u32>)> {
    let owner = |id| match Owner::read(id) {
        Some(Owner::Process { pid, .. }) => Some(pid),
        Some(Owner::Kept { .. }) | None => None,
    };
    on_disk().into_iter().map(|id| (id, owner(id))).collect()
}

/// Labs that have a folder. It is made first and removed last, so whatever exists of a lab, its folder does.
fn on_disk() -> Vec<LabId> {
    let Ok(entries) = fs::read_dir(LabId::base_dir()) else { return Vec::new() };
    let numbers = entries.flatten().filter_map(|e| e.file_name().to_str().and_then(|n| n.parse::<u8>().ok()));
    let mut ids: Vec<LabId> = numbers.map(LabId).collect();
    ids.sort();
    ids
}

/// Ends a lab: silence on the wire, processes, namespaces, bridge, cgroups, and last the folder.
pub(super) fn remove_everything(lab: LabId) -> Result<()> {
    for veth in network::interfaces().iter().filter(|i| i.starts_with(&lab.veth_prefix())) {
        run("ip", &["link", "delete", veth])?;
    }
    Cage::of_lab(lab).kill_everything()?;
    for netns in network::namespaces().iter().filter(|n| n.starts_with(&lab.netns_prefix())) {
        run("ip", &["netns", "delete", netns])?;
    }
    network::remove_bridge(lab)?;
    remove_cgroups(lab)?;
    remove_folder(lab)
}

fn remove_folder(lab: LabId) -> Result<()> {
    let dir = lab.dir();
    // Deleting through a mount would delete what is mounted. None is expected: all are in namespaces that are gone by now.
    let mounts = mounts_under(Path::new("/proc/self/mountinfo"), &dir);
    ensure!(mounts.is_empty(), "these are mounted in the lab's folder, unmount them: {mounts:?}");
    let mut last = None;
    let removed = wait_until("the lab's folder to be removable", REMOVE_BOUND, || {
        // A dying mount namespace lets go of its overlays a moment after its last process.
        last = fs::remove_dir_all(&dir).err();
        Ok(!dir.exists())
    });
    removed.with_context(|| format!("cannot remove {}: {last:?}", dir.display()))?;
    Ok(())
}

/// Everything on this machine that bears the lab's name: processes, mounts, namespaces, interfaces, firewall rules, cgroups,
/// files. Empty after a teardown.
pub fn leftovers(lab: LabId) -> Vec<String> {
    let mut left = Vec::new();
    let dir = lab.dir();
    let cgroup = format!("/{}", lab.cgroup());
    for pid in all_pids() {
        let proc = PathBuf::from(format!("/proc/{pid}"));
        let in_cgroup = fs::read_to_string(proc.join("cgroup")).is_ok_and(|t| t.lines().any(|l| names_cgroup(l, &cgroup)));
        if in_cgroup && !is_zombie(pid) {
            left.push(format!("process {pid}: {}", command_line(&proc)));
        }
        left.extend(mounts_under(&proc.join("mountinfo"), &dir).into_iter().map(|m| format!("mount seen by process {pid}: {m}")));
    }
    let ours = |name: &String| *name == lab.bridge() || name.starts_with(&lab.veth_prefix());
    left.extend(network::interfaces().into_iter().filter(ours).map(|i| format!("interface {i}")));
    let named = |name: &String| name.starts_with(&lab.netns_prefix());
    left.extend(network::namespaces().into_iter().filter(named).map(|n| format!("network namespace {n}")));
    left.extend(network::firewall_leftovers(lab).into_iter().map(|r| format!("firewall rule {r}")));
    left.extend(cgroup_dirs(lab).into_iter().map(|c| format!("cgroup {}", c.display())));
    if dir.exists() {
        left.push(format!("folder {}", dir.display()));
    }
    left
}

/// `line` is `number:controllers:path`.
fn names_cgroup(line: &str, cgroup: &str) -> bool {
    let path = line.splitn(3, ':').nth(2).unwrap_or_default();
    path.strip_prefix(cgroup).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Lines of a mountinfo file that mention the folder, as mount point or as source of a bind mount.
fn mounts_under(mountinfo: &Path, dir: &Path) -> Vec<String> {
    let text = fs::read_to_string(mountinfo).unwrap_or_default();
    let prefix = format!("{}/", dir.display());
    text.lines().filter(|l| l.split(' ').skip(3).take(2).any(|w| w.starts_with(&prefix))).map(str::to_string).collect()
}

fn all_pids() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|e| e.file_name().to_str().and_then(|n| n.parse().ok())).collect()
}

/// A zombie is only an exit status that its parent has not fetched; it holds nothing.
fn is_zombie(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z') || rest.starts_with('X'))
}

fn command_line(proc: &Path) -> String {
    let bytes = fs::read(proc.join("cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ").trim().to_string()
}

#[cfg(test)]
mod tests {
    use super::{names_cgroup, start_time};

    #[test]
    fn a_process_belongs_to_a_lab_by_the_whole_cgroup_name() {
        assert!(names_cgroup("6:freezer:/berth-lab-7/h1/abc", "/berth-lab-7"));
        assert!(names_cgroup("0::/berth-lab-7", "/berth-lab-7"));
        assert!(!names_cgroup("6:freezer:/berth-lab-77/h1", "/berth-lab-7"), "lab 77 is not lab 7");
        assert!(!names_cgroup("6:freezer:/", "/berth-lab-7"));
    }

    #[test]
    fn a_living_process_has_one_start_time_and_no_process_has_none() {
        let me = std::process::id();
        assert!(start_time(me).is_some());
        assert_eq!(start_time(me), start_time(me));
        assert_eq!(start_time(u32::MAX), None);
    }
}
