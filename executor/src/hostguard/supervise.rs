//! Looks after the host guard as long as the executor lives. Called by `executor`; without a host guard it does nothing.

use std::sync::Arc;
use std::time::Duration;

use tracing::{error, info, warn};

use super::client::{Health, HostGuardClient};
use super::hands::chain;
use super::status::Status;

/// How often it is looked after, apart from each keepalive.
const WATCH: Duration = Duration::from_millis(250);

/// At the start of an executor: there is a guard then, or the reason is in the log.
pub async fn begin(client: Option<Arc<HostGuardClient>>) {
    let Some(client) = client else { return };
    let watchdog = client.config.watchdog.clone();
    match ensure(client).await {
        Ok(status) => {
            info!(pid = status.pid, watchdog = status.watchdog.is_some(), "under a host guard");
            if let Some(wanted) = watchdog.filter(|_| status.watchdog.is_none()) {
                error!(device = %wanted.device.display(), "the watchdog is not armed: see the host guard's log in the run folder");
            }
        }
        Err(text) => error!(error = text, "no host guard"),
    }
}

/// Looks after the guard for ever: one that has gone or hangs is replaced at once.
pub async fn supervise(client: Option<Arc<HostGuardClient>>) {
    let Some(client) = client else { return std::future::pending().await };
    let mut told = String::new();
    loop {
        tokio::time::sleep(WATCH).await;
        let Health::Unwell(why) = client.health() else { continue };
        let failed = match ensure(Arc::clone(&client)).await {
            Ok(status) => {
                warn!(%why, pid = status.pid, "the host guard was not there: another one is");
                String::new()
            }
            Err(text) => text,
        };
        // Once for each reason: it is tried four times a second.
        if !failed.is_empty() && failed != told {
            error!(%why, error = failed, "no host guard: leases granted under it are not renewed");
        }
        told = failed;
    }
}

async fn ensure(client: Arc<HostGuardClient>) -> Result<Status, String> {
    match tokio::task::spawn_blocking(move || client.ensure()).await {
        Ok(ended) => ended.map_err(|error| chain(&error)),
        Err(join) => Err(join.to_string()),
    }
}
