//! A container with its lease: one line of `berth ps`. Pure; a promise to scripts, so fields are added and never renamed.

use berth_state::ids::{LeaseId, Time, Token};
use berth_state::noun::container::{Container, Desired};
use berth_state::noun::lease::{InstanceHealth, Lease, Phase};
use serde::Serialize;

use crate::client::registry::Registry;
use crate::noun::words::word;
use crate::output::table::Table;
use crate::output::time::utc;

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    pub container: String,
    pub desired: Desired,
    /// Without a lease: `pending` (waits for a host), `stopped`, `finished`. With one: `granted`, `closing`, `expired`, `stopping` (revoked), or
    /// the instance's own: `preparing`, `running`, `back-off`, `stopped`.
    pub state: String,
    pub health: Option<InstanceHealth>,
    pub host: Option<String>,
    pub lease: Option<LeaseId>,
    pub token: Option<Token>,
    pub phase: Option<Phase>,
    /// When the lease was granted; without a lease, when the last one ended.
    pub since: Option<Time>,
    pub attempt: Option<u32>,
    pub message: String,
}

impl Row {
    #[must_use]
    pub fn of(container: &Container, lease: Option<&Lease>) -> Self {
        let instance = lease.and_then(|l| l.instance.as_ref());
        let ended = container.last_lease.as_ref().map(|l| l.time);
        let exit = container.finished.as_ref().map(|e| format!("exit code {}: {}", e.code, e.reason));
        Self {
            container: container.id.to_string(),
            desired: container.desired,
            state: state(container, lease),
            health: instance.map(|i| i.health),
            host: lease.map(|l| l.host.to_string()),
            lease: lease.map(|l| l.id),
            token: lease.map(|l| l.token),
            phase: lease.map(|l| l.phase),
            since: lease.map(|l| l.granted_time).or(ended),
            attempt: instance.map(|i| i.attempt),
            message: instance.map(|i| i.message.clone()).or(exit).unwrap_or_default(),
        }
    }

    #[must_use]
    pub fn all(registry: &Registry) -> Vec<Self> {
        registry.containers.iter().map(|c| Self::of(c, registry.lease_of_container(c.id.as_str()))).collect()
    }
}

fn state(container: &Container, lease: Option<&Lease>) -> String {
    let Some(lease) = lease else {
        let word = match (container.desired, &container.finished) {
            (Desired::Stopped, _) => "stopped",
            (Desired::Running, Some(_)) => "finished",
            (Desired::Running, None) => "pending",
        };
        return word.to_owned();
    };
    match lease.phase {
        Phase::Granted | Phase::Closing | Phase::Expired => word(&lease.phase),
        Phase::Active if lease.revoked.is_some() => "stopping".to_owned(),
        Phase::Active => lease.instance.as_ref().map_or_else(|| "preparing".to_owned(), |i| word(&i.state)),
    }
}

#[must_use]
pub fn table(rows: &[Row]) -> String {
    let mut table = Table::new(&["CONTAINER", "STATE", "HEALTH", "HOST", "LEASE", "TOKEN", "SINCE", "MESSAGE"]);
    for row in rows {
        table.row([
            row.container.clone(),
            row.state.clone(),
            row.health.map(|h| word(&h)).unwrap_or_default(),
            row.host.clone().unwrap_or_default(),
            row.lease.map(|l| l.to_string()).unwrap_or_default(),
            row.token.map(|t| t.to_string()).unwrap_or_default(),
            row.since.map(|t| utc(t.0)).unwrap_or_default(),
            row.message.clone(),
        ]);
    }
    table.text()
}
