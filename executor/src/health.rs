//! Health checks: a command inside the instance, again and again. One task for each checked instance; it reports changes to the manager and does nothing
//! about them: the plan does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use berth_state::ids::Token;
use berth_state::noun::container::HealthCheck;
use berth_state::noun::lease::InstanceHealth;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::event::Event;
use crate::runtime::{InstanceKey, Runtime};
use crate::runtimes::Runtimes;
use crate::workload::Workload;

/// The running checks.
pub struct Checks {
    events: mpsc::Sender<Event>,
    tasks: BTreeMap<InstanceKey, JoinHandle<()>>,
}

impl Checks {
    #[must_use]
    pub fn new(events: mpsc::Sender<Event>) -> Self {
        Self { events, tasks: BTreeMap::new() }
    }

    /// One check for every running instance that has one; none for the others.
    pub fn follow(&mut self, runtimes: &Runtimes, workloads: &BTreeMap<Token, Workload>) {
        let key_of = |w: &Workload| w.running().then(|| w.key(w.attempt));
        self.tasks.retain(|key, task| {
            let wanted = workloads.get(&Token(key.token)).is_some_and(|w| key_of(w).as_ref() == Some(key));
            if !wanted {
                task.abort();
            }
            wanted
        });
        for workload in workloads.values() {
            let (Some(key), Some(lease)) = (key_of(workload), &workload.granted) else { continue };
            let Some(check) = lease.spec.health_check.clone() else { continue };
            if self.tasks.contains_key(&key) {
                continue;
            }
            let Some(runtime) = runtimes.get(workload.runtime) else { continue };
            let task = tokio::spawn(watch(runtime, key.clone(), check, self.events.clone()));
            self.tasks.insert(key, task);
        }
    }
}

impl Drop for Checks {
    fn drop(&mut self) {
        self.tasks.values().for_each(JoinHandle::abort);
    }
}

async fn watch(runtime: Arc<dyn Runtime>, key: InstanceKey, check: HealthCheck, events: mpsc::Sender<Event>) {
    let (interval, timeout) = (Duration::from_millis(check.interval_ms.max(1)), Duration::from_millis(check.timeout_ms.max(1)));
    let mut verdict = Verdict::new(&check);
    loop {
        tokio::time::sleep(interval).await;
        let healthy = runtime.exec(&key, &check.command, timeout).await.is_ok_and(|output| output.code == 0);
        if let Some(health) = verdict.checked(healthy, check.interval_ms)
            && events.send(Event::Health { key: key.clone(), health }).await.is_err()
        {
            return;
        }
    }
}

/// What a row of checks amounts to.
struct Verdict {
    health: InstanceHealth,
    failures: u32,
    retries: u32,
    start_period_left_ms: u64,
}

impl Verdict {
    fn new(check: &HealthCheck) -> Self {
        Self { health: InstanceHealth::Starting, failures: 0, retries: check.retries.max(1), start_period_left_ms: check.start_period_ms }
    }

    /// `Some`: a change. Within the start period failures do not count, until the first success.
    fn checked(&mut self, healthy: bool, interval_ms: u64) -> Option<InstanceHealth> {
        let starting = self.health == InstanceHealth::Starting && self.start_period_left_ms > 0;
        self.start_period_left_ms = self.start_period_left_ms.saturating_sub(interval_ms);
        self.failures = if healthy || starting { 0 } else { self.failures.saturating_add(1) };
        let health = if healthy {
            InstanceHealth::Healthy
        } else if self.failures >= self.retries {
            InstanceHealth::Unhealthy
        } else {
            self.health
        };
        let changed = health != self.health;
        self.health = health;
        changed.then_some(health)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(retries: u32, start_period_ms: u64) -> Verdict {
        Verdict::new(&HealthCheck { command: vec![], interval_ms: 10, timeout_ms: 10, retries, start_period_ms })
    }

    #[test]
    fn only_failures_in_a_row_make_it_unhealthy() {
        let mut verdict = verdict(2, 0);
        assert_eq!(verdict.checked(true, 10), Some(InstanceHealth::Healthy));
        assert_eq!(verdict.checked(false, 10), None);
        assert_eq!(verdict.checked(true, 10), None);
        assert_eq!(verdict.checked(false, 10), None);
        assert_eq!(verdict.checked(false, 10), Some(InstanceHealth::Unhealthy));
        assert_eq!(verdict.checked(true, 10), Some(InstanceHealth::Healthy));
    }

    #[test]
    fn failures_do_not_count_in_the_start_period() {
        let mut verdict = verdict(1, 30);
        for _ in 0..3 {
            assert_eq!(verdict.checked(false, 10), None);
        }
        assert_eq!(verdict.checked(false, 10), Some(InstanceHealth::Unhealthy));
    }

    #[test]
    fn the_start_period_ends_with_the_first_success() {
        let mut verdict = verdict(1, 1_000);
        verdict.checked(true, 10);
        assert_eq!(verdict.checked(false, 10), Some(InstanceHealth::Unhealthy));
    }
}
