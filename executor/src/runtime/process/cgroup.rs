//! Control groups: where they are, an instance's own, its limits. Called by `ProcessRuntime` (everything) and by the shim (joins,
//! asks for out-of-memory kills). Must never touch a group outside of `berth/` and never guess a path: mountinfo says it.
//!
//! `<cgroup2 mount>/berth/<cluster>-<host>/shims` holds the shims, `…/<instance name>` one instance. Limits come from v2
//! controllers where v2 has them, else from a folder of the same name in the v1 hierarchy, else not at all (and `Enforcement` says so).

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Access, access};

use super::record::Plan;
use crate::runtime::kill::cgroup_is_empty;

/// The period that CPU shares are counted in: the kernel's default.
const CPU_PERIOD_US: u64 = 100_000;
/// Less the kernel does not take.
const LEAST_QUOTA_US: u64 = 1000;

/// How often and how far apart a group with dying processes is tried to be removed: 2 s together.
const BUSY_TRIES: u32 = 400;
const BUSY_WAIT: Duration = Duration::from_millis(5);

/// What enforces one kind of limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Limiter {
    V2,
    /// Mount point of the v1 hierarchy.
    V1(PathBuf),
    Missing,
}

/// The control groups of this machine that this process may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hierarchies {
    /// Folder in the v2 hierarchy below which groups can be made.
    pub unified: Option<PathBuf>,
    pub cpu: Limiter,
    pub memory: Limiter,
}

impl Hierarchies {
    /// Looks at the mounts of this process; finds nothing rather than fails.
    pub fn detect() -> Self {
        let mountinfo = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let mounts = cgroup_mounts(&mountinfo);
        let unified = mounts.iter().find(|mount| mount.v2).and_then(|mount| usable_v2(&mount.at, &own));
        let controllers = unified.as_deref().and_then(|at| std::fs::read_to_string(at.join("cgroup.controllers")).ok()).unwrap_or_default();
        let limiter = |name: &str| {
            if controllers.split_whitespace().any(|controller| controller == name) {
                return Limiter::V2;
            }
            let v1 = mounts.iter().find(|mount| !mount.v2 && mount.options.iter().any(|option| option == name));
            v1.filter(|mount| access(&mount.at, Access::WRITE_OK).is_ok()).map_or(Limiter::Missing, |mount| Limiter::V1(mount.at.clone()))
        };
        Self { cpu: limiter("cpu"), memory: limiter("memory"), unified }
    }

    pub fn none() -> Self {
        Self { unified: None, cpu: Limiter::Missing, memory: Limiter::Missing }
    }
}

/// What one instance wants.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub cpu_millis: Option<u64>,
    pub memory_bytes: Option<u64>,
}

/// The groups made for one instance, as they go into its plan.
#[derive(Debug, Default)]
pub(super) struct Groups {
    pub cgroup: Option<PathBuf>,
    pub shim_cgroup: Option<PathBuf>,
    pub limits_v1: Vec<PathBuf>,
}

/// The name of the folder that holds an executor's groups.
pub(super) fn scope(cluster: &str, host: &str) -> String {
    format!("{cluster}-{host}")
}

/// Where [`create`] makes the group of `instance`; `None`: nowhere on this machine.
pub(super) fn of_instance(hierarchies: &Hierarchies, scope: &str, instance: &str) -> Option<PathBuf> {
    hierarchies.unified.as_ref().map(|unified| unified.join("berth").join(plain(scope)).join(instance))
}

/// Makes the groups of `instance` with its limits. `scope` is `<cluster>-<host>`. Limits that nothing here enforces are left out.
///
/// # Errors
/// When a group of that name has processes in it, or the kernel refuses a group or a limit.
pub(super) fn create(hierarchies: &Hierarchies, scope: &str, instance: &str, limits: Limits) -> io::Result<Groups> {
    let relative = PathBuf::from("berth").join(plain(scope));
    let mut groups = Groups::default();
    if let Some(unified) = &hierarchies.unified {
        groups.shim_cgroup = Some(make(unified, &relative.join("shims"))?);
        let cgroup = make(unified, &relative.join(instance))?;
        if !cgroup_is_empty(&cgroup)? {
            return Err(io::Error::new(ErrorKind::AlreadyExists, format!("{} has processes in it already", cgroup.display())));
        }
        groups.cgroup = Some(cgroup);
    }
    if let Some(millis) = limits.cpu_millis {
        let quota = (millis.saturating_mul(CPU_PERIOD_US) / 1000).max(LEAST_QUOTA_US);
        let v1 = [("cpu.cfs_period_us", CPU_PERIOD_US), ("cpu.cfs_quota_us", quota)];
        let limit = Limit { controller: "cpu", v2: ("cpu.max", format!("{quota} {CPU_PERIOD_US}")), v1: &v1 };
        limit.set(&hierarchies.cpu, hierarchies, &relative, instance, &mut groups)?;
    }
    if let Some(bytes) = limits.memory_bytes {
        let limit = Limit { controller: "memory", v2: ("memory.max", bytes.to_string()), v1: &[("memory.limit_in_bytes", bytes)] };
        limit.set(&hierarchies.memory, hierarchies, &relative, instance, &mut groups)?;
    }
    Ok(groups)
}

/// One limit in the words of both versions.
struct Limit<'a> {
    controller: &'a str,
    v2: (&'a str, String),
    v1: &'a [(&'a str, u64)],
}

impl Limit<'_> {
    fn set(&self, by: &Limiter, all: &Hierarchies, relative: &Path, instance: &str, groups: &mut Groups) -> io::Result<()> {
        match by {
            Limiter::Missing => Ok(()),
            Limiter::V2 => {
                let (Some(unified), Some(cgroup)) = (&all.unified, &groups.cgroup) else { return Ok(()) };
                enable(unified, relative, self.controller)?;
                set(&cgroup.join(self.v2.0), &self.v2.1)
            }
            Limiter::V1(mount) => {
                let cgroup = make(mount, &relative.join(instance))?;
                for (file, value) in self.v1 {
                    set(&cgroup.join(file), &value.to_string())?;
                }
                groups.limits_v1.push(cgroup);
                Ok(())
            }
        }
    }
}

/// Moves the calling process into every group of the plan. Called by the instance's first process before it does anything else.
pub(super) fn join_all(plan: &Plan) -> io::Result<()> {
    plan.instance_cgroups().try_for_each(|cgroup| join(cgroup))
}

/// Moves the calling process.
pub(super) fn join(cgroup: &Path) -> io::Result<()> {
    // 0 means the writer itself, whatever its number is in this pid namespace.
    set(&cgroup.join("cgroup.procs"), "0")
}

/// Whether the kernel killed a process of the instance because it ran out of its memory.
pub(super) fn ran_out_of_memory(plan: &Plan) -> bool {
    plan.instance_cgroups().any(|cgroup| {
        ["memory.events", "memory.oom_control"].iter().any(|file| {
            let counters = std::fs::read_to_string(cgroup.join(file)).unwrap_or_default();
            counters.lines().filter_map(|line| line.strip_prefix("oom_kill ")).any(|count| count.trim() != "0")
        })
    })
}

/// Removes the instance's groups, and those above where nothing else is in them.
pub(super) fn remove(plan: &Plan) -> io::Result<()> {
    plan.instance_cgroups().try_for_each(|cgroup| remove_group(cgroup))?;
    // Fails while another instance is there, which is as it should be.
    if let Some(shims) = &plan.shim_cgroup {
        let _ = std::fs::remove_dir(shims);
    }
    for scope in plan.instance_cgroups().filter_map(|cgroup| cgroup.parent()) {
        let _ = std::fs::remove_dir(scope);
        let _ = scope.parent().map(std::fs::remove_dir);
    }
    Ok(())
}

/// Waits a moment for the kernel to let the dead go.
#[allow(clippy::disallowed_methods, reason = "called on a thread for blocking work; the kernel offers nothing to wait for")]
fn remove_group(cgroup: &Path) -> io::Result<()> {
    let mut tries = 0;
    loop {
        match std::fs::remove_dir(cgroup) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == ErrorKind::ResourceBusy && tries < BUSY_TRIES => {
                tries += 1;
                std::thread::sleep(BUSY_WAIT);
            }
            Err(error) => return Err(error),
        }
    }
}

/// Makes `relative` below `base` step by step; another instance's removal may take an empty step away meanwhile.
fn make(base: &Path, relative: &Path) -> io::Result<PathBuf> {
    let path = base.join(relative);
    let mut tries = 0;
    loop {
        match std::fs::create_dir_all(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == ErrorKind::NotFound && tries < 3 => tries += 1,
            Err(error) => return Err(error),
        }
    }
}

/// Hands a v2 controller down to the children of `relative`.
fn enable(base: &Path, relative: &Path, controller: &str) -> io::Result<()> {
    let mut at = base.to_path_buf();
    let steps = relative.components().map(Some).chain([None]);
    for step in steps {
        set(&at.join("cgroup.subtree_control"), &format!("+{controller}"))?;
        if let Some(step) = step {
            at.push(step);
        }
    }
    Ok(())
}

/// Writes a control file and names it when the kernel refuses.
fn set(file: &Path, value: &str) -> io::Result<()> {
    let written = std::fs::OpenOptions::new().write(true).open(file).and_then(|mut file| io::Write::write_all(&mut file, value.as_bytes()));
    written.map_err(|error| io::Error::new(error.kind(), format!("{} := {value}: {error}", file.display())))
}

/// The folder of the v2 hierarchy to work in: its top, or for an ordinary user its own group where that was delegated.
fn usable_v2(mount: &Path, own: &str) -> Option<PathBuf> {
    let own = own.lines().find_map(|line| line.strip_prefix("0::/")).map(|path| mount.join(path));
    let writable = |path: &PathBuf| access(path, Access::WRITE_OK).is_ok() && access(path.join("cgroup.procs"), Access::WRITE_OK).is_ok();
    [Some(mount.to_path_buf()), own].into_iter().flatten().find(writable)
}

/// Cluster and host names as a folder's name.
fn plain(name: &str) -> String {
    let keep = |letter: char| if letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_') { letter } else { '_' };
    name.chars().map(keep).collect()
}

struct Mount {
    at: PathBuf,
    v2: bool,
    options: Vec<String>,
}

/// Control group mounts in mountinfo's order. A line: id, parent, device, root, mount point, options, optional fields, `-`, type,
/// source, super options.
fn cgroup_mounts(mountinfo: &str) -> Vec<Mount> {
    let parse = |line: &str| {
        let (before, after) = line.split_once(" - ")?;
        let at = before.split(' ').nth(4)?.replace("\\040", " ");
        let mut after = after.split(' ');
        let kind = after.next()?;
        let options = after.nth(1).unwrap_or_default().split(',').map(str::to_owned).collect();
        matches!(kind, "cgroup" | "cgroup2").then(|| Mount { at: PathBuf::from(at), v2: kind == "cgroup2", options })
    };
    mountinfo.lines().filter_map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_found_wherever_they_are() {
        let mountinfo = "22 27 0:21 / /proc rw,relatime - proc proc rw\n\
                         35 31 0:32 / /odd\\040place/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n\
                         41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
        let mounts = cgroup_mounts(mountinfo);
        let seen: Vec<_> = mounts.iter().map(|mount| (mount.at.as_path(), mount.v2)).collect();
        assert_eq!(seen, [(Path::new("/odd place/memory"), false), (Path::new("/sys/fs/cgroup/unified"), true)]);
        assert!(mounts[0].options.contains(&"memory".to_owned()));
    }

    #[test]
    fn a_name_cannot_leave_its_folder() {
        assert_eq!(plain("../a/b c.d-e_f"), "___a_b_c_d-e_f");
    }
}
