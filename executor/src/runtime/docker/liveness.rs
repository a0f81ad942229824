//! Waiting for an instance's end, asked of the kernel. Called before anyone reports "stopped". The handle's process is init of
//! the container's pid namespace: the kernel lets it end only after every other process in there has ended, `docker exec`
//! ones included (pid_namespaces(7)).

use std::time::Duration;

use crate::runtime::KillHandle;
use crate::runtime::kill::is_gone;

/// How often to look while waiting: far below any grace, far above what a look costs.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Unreadable counts as alive: the careful side.
pub(super) fn is_alive(handle: &KillHandle) -> bool {
    match is_gone(handle) {
        Ok(gone) => !gone,
        Err(error) => {
            tracing::warn!(pid = handle.pid, %error, "cannot tell whether it lives, taken as alive");
            true
        }
    }
}

/// Waits for the end. `false`: it still lives after `limit`. A limit of zero still looks once.
pub(super) async fn gone_within(handle: &KillHandle, limit: Duration) -> bool {
    let wait = async {
        while is_alive(handle) {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::time::timeout(limit, wait).await.is_ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "test")]

    use super::*;
    use crate::runtime::kill::start_ticks;

    #[tokio::test]
    async fn this_process_lives_and_its_pid_with_another_start_does_not() {
        let pid = std::process::id();
        let start_ticks = start_ticks(pid).unwrap().unwrap();
        let own = KillHandle { cgroup: None, pid, start_ticks, process_group: false };
        assert!(!gone_within(&own, Duration::from_millis(30)).await);
        let reused = KillHandle { start_ticks: start_ticks + 1, ..own };
        assert!(gone_within(&reused, Duration::ZERO).await);
    }
}
