//! How well an instance is held together here, and what to tell the user about it. The executor calls [`probe`] once; the shim
//! calls [`Isolation::enter`]. Must never claim more than was tried: the probe does for real what the shim will do.

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::thread::{CapabilitySet, UnshareFlags};
use serde::{Deserialize, Serialize};

use super::cgroup::{Hierarchies, Limiter};

/// What makes the end of an instance the end of all its processes. From strong to weak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// A pid namespace: the kernel kills all when the first process ends.
    PidNamespace,
    /// The same inside a user namespace, for who is not root.
    UserPidNamespace,
    /// Only a process group, and a shim that hunts down what left it.
    ProcessGroup,
}

impl Isolation {
    pub(super) fn has_pid_namespace(self) -> bool {
        match self {
            Self::PidNamespace | Self::UserPidNamespace => true,
            Self::ProcessGroup => false,
        }
    }

    /// Prepares the calling (single-threaded) process so that its next child is the first process of the instance.
    ///
    /// # Errors
    /// When the kernel refuses: then this process is good for nothing but to say so and exit.
    pub(super) fn enter(self) -> io::Result<()> {
        match self {
            Self::PidNamespace => unshare(UnshareFlags::NEWPID),
            Self::UserPidNamespace => {
                let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
                unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWPID)?;
                // The user keeps its own number: a command that refuses to run as root must not think that it is.
                std::fs::write("/proc/self/setgroups", "deny")?;
                std::fs::write("/proc/self/gid_map", format!("{group} {group} 1"))?;
                std::fs::write("/proc/self/uid_map", format!("{user} {user} 1"))?;
                // The child needs one capability to mount its /proc, and gives it up before the command.
                let mut sets = rustix::thread::capabilities(None)?;
                sets.inheritable |= CapabilitySet::SYS_ADMIN;
                rustix::thread::set_capabilities(None, sets)?;
                Ok(rustix::thread::configure_capability_in_ambient_set(CapabilitySet::SYS_ADMIN, true)?)
            }
            Self::ProcessGroup => Ok(rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?),
        }
    }

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::PidNamespace => "pid-namespace",
            Self::UserPidNamespace => "user-pid-namespace",
            Self::ProcessGroup => "process-group",
        }
    }

    pub(super) fn from_word(word: &str) -> Option<Self> {
        [Self::PidNamespace, Self::UserPidNamespace, Self::ProcessGroup].into_iter().find(|isolation| isolation.word() == word)
    }
}

/// Exit codes of `shim probe`.
pub(super) const PROBE_FULL: u8 = 0;
pub(super) const PROBE_NO_PROC: u8 = 3;

/// What holds instances of the process runtime on this host, and what only root would get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enforcement {
    pub isolation: Isolation,
    /// The instance has a /proc of its own.
    pub own_proc: bool,
    /// One write kills the whole instance (cgroup v2).
    pub cgroup_kill: bool,
    pub cpu_limit: bool,
    pub memory_limit: bool,
    pub read_only_mounts: bool,
}

/// One line of [`Enforcement::lines`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnforcementLine {
    /// Short name, such as `pid namespace`.
    pub what: &'static str,
    pub on: bool,
    /// What it means as it is here; for what is off, what would turn it on.
    pub text: &'static str,
}

impl Enforcement {
    pub(super) fn new(isolation: Isolation, own_proc: bool, hierarchies: &Hierarchies) -> Self {
        Self {
            isolation,
            own_proc,
            cgroup_kill: hierarchies.unified.is_some(),
            cpu_limit: hierarchies.cpu != Limiter::Missing,
            memory_limit: hierarchies.memory != Limiter::Missing,
            read_only_mounts: isolation == Isolation::PidNamespace && own_proc,
        }
    }

    /// All there is to say, for people.
    #[must_use]
    pub fn lines(&self) -> Vec<EnforcementLine> {
        let line = |what, on, yes, no| EnforcementLine { what, on, text: if on { yes } else { no } };
        let namespace = match self.isolation {
            Isolation::PidNamespace => "the kernel kills every process of an instance with its first",
            Isolation::UserPidNamespace => "the kernel kills every process of an instance with its first (through a user namespace)",
            Isolation::ProcessGroup => {
                "off: processes that leave their group are hunted down by the shim only; needs root or user namespaces \
                 (user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns)"
            }
        };
        let no_proc = "off: commands see the host's /proc, with foreign process numbers; needs root";
        let no_kill = "off: instances are killed by process number alone; needs root, or a delegated cgroup v2 folder";
        let no_cpu = "off: cpu limits are not enforced; needs root and a cpu controller";
        let no_memory = "off: memory limits are not enforced; needs root and a memory controller";
        let no_read_only = "off: a read-only volume can be written by the command; needs root";
        vec![
            EnforcementLine { what: "pid namespace", on: self.isolation.has_pid_namespace(), text: namespace },
            line("own /proc", self.own_proc, "commands see only their own processes", no_proc),
            line("cgroup kill", self.cgroup_kill, "one write kills a whole instance", no_kill),
            line("cpu limit", self.cpu_limit, "enforced by the kernel", no_cpu),
            line("memory limit", self.memory_limit, "enforced by the kernel", no_memory),
            line("read-only volumes", self.read_only_mounts, "remounted read-only for the instance", no_read_only),
        ]
    }
}

/// The strongest isolation that works here, and whether /proc can be mounted in it. Runs `shim probe` for each candidate.
///
/// # Errors
/// When the berth binary cannot be run at all.
pub(super) fn probe(berth_binary: &Path) -> io::Result<(Isolation, bool)> {
    let root = rustix::process::geteuid().is_root();
    let candidates = [Isolation::PidNamespace, Isolation::UserPidNamespace];
    for isolation in candidates.into_iter().filter(|isolation| root || *isolation == Isolation::UserPidNamespace) {
        let status = Command::new(berth_binary)
            .args(["shim", "probe", isolation.word()])
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        match status.code() {
            Some(code) if code == i32::from(PROBE_FULL) => return Ok((isolation, true)),
            Some(code) if code == i32::from(PROBE_NO_PROC) => return Ok((isolation, false)),
            Some(_) | None => {}
        }
    }
    Ok((Isolation::ProcessGroup, false))
}

/// rustix marks its safe `unshare` as deprecated because of one flag, the file table, that is never given here; the alternative
/// is an `unsafe` block.
#[allow(deprecated, reason = "the flag that makes it unsound is never given")]
pub(super) fn unshare(flags: UnshareFlags) -> io::Result<()> {
    assert!(!flags.contains(UnshareFlags::FILES), "the file table is never unshared");
    Ok(rustix::thread::unshare(flags)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_off_says_what_it_needs() {
        let weakest = Enforcement::new(Isolation::ProcessGroup, false, &Hierarchies::none());
        assert!(weakest.lines().iter().all(|line| !line.on && line.text.starts_with("off: ") && line.text.contains("needs root")));
        let hierarchies = Hierarchies { unified: Some("/x".into()), cpu: Limiter::V2, memory: Limiter::V2 };
        let strongest = Enforcement::new(Isolation::PidNamespace, true, &hierarchies);
        assert!(strongest.lines().iter().all(|line| line.on && !line.text.starts_with("off")));
    }
}
