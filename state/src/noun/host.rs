//! Hosts: machines that run an executor.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::ids::{HostId, Revision, SessionId, Version};

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Host {
    pub id: HostId,
    pub spec: HostSpec,
    pub version: Version,
    pub scheduling: Scheduling,
    pub health: Health,
    /// The live session, if any (I13).
    pub session: Option<SessionId>,
    pub created: Revision,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HostSpec {
    /// Where clients reach the published ports of this host's containers; shown to people.
    pub address: String,
    pub labels: BTreeMap<String, String>,
    pub capacity: Capacity,
}

/// What a host has to give, or a container asks for. `None`: unlimited, or not limited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Capacity {
    /// Thousandths of one CPU.
    pub cpu_millis: Option<u64>,
    pub memory_bytes: Option<u64>,
}

/// Whether new leases may go to the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scheduling {
    #[default]
    Open,
    /// No new leases; those it has stay.
    Cordoned,
    /// No new leases; those it has are moved away.
    Draining,
}

/// Whether the host's session was heard of lately, as the leader proposed it by compare-and-set on the session's last renewal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Health {
    Live,
    Suspect,
    /// Silent for at least wait(T), or without a session.
    #[default]
    Down,
}
