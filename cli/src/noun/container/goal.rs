//! What `--wait` waits for: a container that runs, or one that is gone from every host. Pure.

use berth_state::ids::{ContainerId, Token};
use berth_state::noun::lease::{InstanceHealth, InstanceState, Phase};

use super::row::Row;
use crate::client::registry::Registry;
use crate::failure::Failure;
use crate::wait::Progress;

/// Runs, and is healthy if it has a check, under a token above `above`.
///
/// # Errors
/// [`Failure::NotFound`]; [`Failure::Ended`] when it ended for good with an error.
pub fn running(registry: &Registry, id: &ContainerId, above: Token) -> Result<Progress, Failure> {
    let container = registry.container(id.as_str())?;
    let lease = registry.lease_of_container(id.as_str());
    if let (None, Some(exit)) = (lease, &container.finished) {
        let text = format!("container {id} has ended: exit code {}: {}; see `berth why {id}`", exit.code, exit.reason);
        return if exit.code == 0 { Ok(Progress::Reached) } else { Err(Failure::Ended(text)) };
    }
    let up = lease.filter(|l| l.phase == Phase::Active && l.revoked.is_none() && l.token > above).and_then(|l| l.instance.as_ref());
    let up = up.is_some_and(|i| {
        let healthy = match i.health {
            InstanceHealth::Unchecked | InstanceHealth::Healthy => true,
            InstanceHealth::Starting | InstanceHealth::Unhealthy => false,
        };
        i.state == InstanceState::Running && healthy
    });
    Ok(if up && container.relocation.is_none() { Progress::Reached } else { Progress::Not(now(&Row::of(container, lease))) })
}

/// Holds no lease: nothing of it runs anywhere.
///
/// # Errors
/// [`Failure::NotFound`].
pub fn stopped(registry: &Registry, id: &ContainerId) -> Result<Progress, Failure> {
    let container = registry.container(id.as_str())?;
    let lease = registry.lease_of_container(id.as_str());
    Ok(if lease.is_none() { Progress::Reached } else { Progress::Not(now(&Row::of(container, lease))) })
}

fn now(row: &Row) -> String {
    let place = row.host.as_ref().map(|h| format!(" on host {h}")).unwrap_or_default();
    let health = row.health.map(|h| format!(", {}", crate::noun::words::word(&h))).unwrap_or_default();
    let message = if row.message.is_empty() { String::new() } else { format!(" ({})", row.message) };
    format!("{}{place}{health}{message}", row.state)
}
