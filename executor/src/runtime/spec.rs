//! What a runtime is told to run and what it reports. Plain data; used by all of `runtime` and by the reconciler.
//! [`InstanceSpec`] and its parts are kept on disk by the process runtime: a field that comes later needs `#[serde(default)]`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Names one instance for ever: a container under one lease token, and which attempt (restarts under one lease count up from 1).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct InstanceKey {
    /// Name of the container in Berth.
    pub container: String,
    /// Fencing token of the lease it runs under.
    pub token: u64,
    /// 1 for the first start under this lease.
    pub attempt: u32,
}

impl InstanceKey {
    /// `berth-<container>-<token>-<attempt>`: the Docker container's name and the process runtime's folder and cgroup name.
    #[must_use]
    pub fn instance_name(&self) -> String {
        format!("berth-{}-{}-{}", self.container, self.token, self.attempt)
    }
}

/// Whom the instance belongs to; written as labels `berth.cluster`, `berth.host`, `berth.container`, `berth.lease`, `berth.token`, `berth.attempt`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceSpec {
    pub key: InstanceKey,
    /// Cluster id, 32 hex digits.
    pub cluster: String,
    /// Host name in Berth.
    pub host: String,
    /// Lease id (log index of the grant).
    pub lease: u64,
    /// Docker image; ignored by the process runtime.
    pub image: String,
    /// Empty: the image's own entry point and command. For the process runtime it must not be empty.
    pub command: Vec<String>,
    pub environment: BTreeMap<String, String>,
    pub mounts: Vec<MountSpec>,
    pub ports: Vec<PortSpec>,
    /// Thousandths of one CPU.
    pub cpu_millis: Option<u64>,
    pub memory_bytes: Option<u64>,
    /// `SIGTERM` style name; `None`: the image's own, else SIGTERM.
    pub stop_signal: Option<String>,
    /// Docker only: it can then undo what this host enforces, which the control plane has weighed.
    #[serde(default)]
    pub privileged: bool,
    /// Without it nothing is created: an instance from before guards were there is known, and killed, but never started.
    #[serde(default)]
    pub guard: GuardSpec,
}

/// The instance's first process, which ends it at the lease's deadline. Paths of the host, absolute.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuardSpec {
    pub binary: PathBuf,
    /// The lease's deadline page.
    pub page: PathBuf,
    /// Where this attempt's guard says how far it is.
    pub status: PathBuf,
    /// Must succeed before the command, in this order.
    pub init: Option<HookSpec>,
    pub pre_start: Option<HookSpec>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookSpec {
    pub command: Vec<String>,
    pub timeout_ms: u64,
}

/// A directory of the host that the instance sees. Docker: bind mount. Process: visible at `source`; the environment variable
/// `BERTH_VOLUME_<NAME>` carries `source` there and `target` in Docker (set by the reconciler, not by the runtime).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountSpec {
    pub source: PathBuf,
    pub target: PathBuf,
    pub read_only: bool,
}

/// A published port. The process runtime publishes nothing (the command binds it itself).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortSpec {
    /// Empty: all addresses of the host.
    pub host_address: String,
    pub host_port: u16,
    pub container_port: u16,
    /// `tcp` or `udp`.
    pub protocol: String,
}

/// An instance as the runtime sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    pub key: InstanceKey,
    pub cluster: String,
    pub lease: u64,
    pub state: InstanceState,
}

/// Where an instance is in its one life: Created → Running → Exited, never back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InstanceState {
    Created,
    Running,
    /// `code`: exit code, or 128 + signal number. `reason`: for people (out of memory, killed by signal 9, …).
    Exited {
        code: i32,
        reason: String,
    },
}

/// Enough to kill an instance with system calls alone: no executor task, no dockerd. Made at start, used by the deadline thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KillHandle {
    /// cgroup v2 folder whose `cgroup.kill` empties the instance; `None` when there is none (an ordinary user).
    pub cgroup: Option<PathBuf>,
    /// The instance's first process as the host sees it (init of its pid namespace where it has one), with its start time in
    /// clock ticks (/proc/PID/stat field 22), so that a reused pid is never hit.
    pub pid: u32,
    pub start_ticks: u64,
    /// Without a pid namespace the process group is killed instead of only `pid`.
    pub process_group: bool,
}

/// How an instance that is created, and not started yet, will be killed without help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KillAhead {
    /// Its cgroup v2 folder, there or not.
    Group(PathBuf),
    /// Every cgroup v2 folder with this in its name: the engine's id of the container.
    GroupNamed(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecOutput {
    pub code: i32,
    /// Standard output and error together, at most 4 KiB, lossy UTF-8.
    pub output: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogOptions {
    pub follow: bool,
    /// Only the last so many lines; `None`: all.
    pub tail_lines: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogChunk {
    pub stderr: bool,
    pub data: Vec<u8>,
}
