//! Hosts: machines that run an executor.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::ids::{BootId, HostId, LeaseId, LedgerId, NodeId, Revision, SessionId, Time, Token, Version};
use crate::noun::fence::FenceMethod;
use crate::noun::secrets::Secrets;

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
    /// Holders fenced here that are not yet known to be gone, by token: while there are any, the host gets no lease.
    pub fenced: Vec<FencedHolder>,
    /// The fence action under way: one at a time for each host.
    pub attempt: Option<FenceAttempt>,
}

/// A holder that lost its lease to a fence. It is gone when its executor says so, or when its host has booted since.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct FencedHolder {
    pub token: Token,
    pub lease: LeaseId,
    pub boot: BootId,
    pub ledger: LedgerId,
    pub at: Revision,
}

/// One try to fence, committed before the action (L15, L21).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FenceAttempt {
    /// Log index of the entry that began it.
    pub id: Revision,
    pub method: FenceMethod,
    /// Name of the agent or command.
    pub agent: String,
    /// Who does it. Another node begins the next one only when the time of this one is over.
    pub node: NodeId,
    /// The leases it is to end.
    pub tokens: Vec<Token>,
    /// After this long the action is killed.
    pub timeout_ms: u64,
    pub time: Time,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HostSpec {
    /// Where clients reach the published ports of this host's containers; shown to people.
    pub address: String,
    pub labels: BTreeMap<String, String>,
    pub capacity: Capacity,
    /// The address by which storage servers know the host; empty: `address`.
    pub storage_address: String,
    /// Power fencing, in the order to be tried.
    pub fence_agents: Vec<FenceAgent>,
}

impl HostSpec {
    /// Where storage servers see the host's connections come from; empty: not known.
    #[must_use]
    pub fn seen_by_storage(&self) -> &str {
        if self.storage_address.is_empty() { &self.address } else { &self.storage_address }
    }

    /// As it may be shown, written into the event log and exported: secrets by name only.
    #[must_use]
    pub fn shown(&self) -> Self {
        let agents = self.fence_agents.iter().map(|agent| FenceAgent { secrets: agent.secrets.hidden(), ..agent.clone() });
        Self { fence_agents: agents.collect(), ..self.clone() }
    }

    /// Whoever changes a host was not shown its secrets: those that are still hidden are as they were, by agent and place.
    #[must_use]
    pub fn with_secrets_of(&self, former: &Self) -> Self {
        let mut spec = self.clone();
        for (place, agent) in spec.fence_agents.iter_mut().enumerate() {
            let known = former.fence_agents.get(place).filter(|known| known.agent == agent.agent);
            let known = known.or_else(|| former.fence_agents.iter().find(|known| known.agent == agent.agent));
            if let Some(known) = known {
                agent.secrets = agent.secrets.filled(&known.secrets);
            }
        }
        spec
    }
}

/// A program of the ClusterLabs fence-agent interface (`key=value` on standard input), run by the control nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FenceAgent {
    /// Name of the program, such as `fence_ipmilan`; or an absolute path.
    pub agent: String,
    pub options: BTreeMap<String, String>,
    /// Options that are never shown.
    pub secrets: Secrets,
    /// How long one action may take.
    pub timeout_ms: u64,
}

impl FenceAgent {
    pub const DEFAULT_TIMEOUT_MS: u64 = 20_000;
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
