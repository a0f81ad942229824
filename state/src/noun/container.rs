//! Containers: registered workloads. What runs is an instance under a lease; this is the wish.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::ids::{ContainerId, HostId, LeaseId, Revision, Time, Token, Version, VolumeId};
use crate::noun::ending::{Ended, Exit};
use crate::noun::host::Capacity;

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Container {
    pub id: ContainerId,
    pub spec: ContainerSpec,
    pub version: Version,
    pub created: Revision,
    pub desired: Desired,
    /// Set when the instance ended for good under its restart policy; cleared by start, restart and update.
    pub finished: Option<Exit>,
    /// A restart or move that is asked for and not yet carried out.
    pub relocation: Option<Relocation>,
    /// The newest ended lease, for people and for placement.
    pub last_lease: Option<LastLease>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ContainerSpec {
    pub runtime: RuntimeKind,
    /// Empty for the process runtime.
    pub image: String,
    /// Empty: the image's own command.
    pub command: Vec<String>,
    pub environment: BTreeMap<String, String>,
    pub volumes: Vec<VolumeMount>,
    pub ports: Vec<Port>,
    /// Limits, and what placement reserves on the host.
    pub limits: Capacity,
    pub health_check: Option<HealthCheck>,
    pub restart: RestartPolicy,
    pub constraints: Vec<Constraint>,
    /// Containers that must not run on the same host.
    pub anti_affinity: Vec<ContainerId>,
    /// `SIGTERM` style; `None`: the image's own.
    pub stop_signal: Option<String>,
    /// After the stop signal, before the kill.
    pub stop_grace_ms: u64,
    /// Run inside the instance before the command, when a volume is new.
    pub init: Option<Hook>,
    /// Run inside the instance before the command, otherwise.
    pub pre_start: Option<Hook>,
    /// A privileged instance can undo every enforcement on its host.
    pub privileged: bool,
    /// The operator insists on that over after-expiry volumes.
    pub privileged_insisted: bool,
}

/// A command that must succeed before the container's own one is started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hook {
    pub command: Vec<String>,
    pub timeout_ms: u64,
}

impl ContainerSpec {
    pub const DEFAULT_STOP_GRACE_MS: u64 = 10_000;
    /// A soft stop may take the grace and this much for unmount and report, before the lease is closed (L14).
    pub const DRAIN_SLACK_MS: u64 = 10_000;

    /// How long a revoked lease may go on being renewed.
    #[must_use]
    pub fn drain_ms(&self) -> u64 {
        self.stop_grace_ms + Self::DRAIN_SLACK_MS
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RuntimeKind {
    Docker,
    Process,
    /// Started by somebody else (`docker run`, `berth lease run`) under a claimed lease.
    External,
}

/// A volume in a container. Read-only mounts hold the volume as well: one un-ended lease per volume, whoever only reads (L1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VolumeMount {
    pub volume: VolumeId,
    /// Absolute path inside the container.
    pub path: String,
    pub read_only: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Port {
    /// Empty: all addresses of the host.
    pub host_address: String,
    pub host_port: u16,
    pub container_port: u16,
    pub protocol: Protocol,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    Tcp,
    Udp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HealthCheck {
    /// Run inside the instance; exit code 0 is healthy.
    pub command: Vec<String>,
    pub interval_ms: u64,
    pub timeout_ms: u64,
    /// Failures in a row that make it unhealthy; an unhealthy instance is restarted by its restart policy.
    pub retries: u32,
    /// Failures do not count before this has passed since the start.
    pub start_period_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    Always,
    /// Restart only after a non-zero exit, at most so many times in a row; 0: without bound.
    OnFailure {
        max_attempts: u32,
    },
    Never,
}

/// `key` of the host's labels equals (or does not equal) `value`. The key `host` means the host's name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Constraint {
    pub key: String,
    pub equal: bool,
    pub value: String,
}

impl std::fmt::Display for Constraint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}{}", self.key, if self.equal { "==" } else { "!=" }, self.value)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Desired {
    Running,
    Stopped,
}

/// A restart or move on request: the running lease is revoked, then the container is placed again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Relocation {
    /// Same host if it still fits.
    Restart,
    /// To this host, or to any other than the present one.
    Move { to: Option<HostId> },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LastLease {
    pub lease: LeaseId,
    pub token: Token,
    pub host: HostId,
    pub ended: Ended,
    pub at: Revision,
    pub time: Time,
}
