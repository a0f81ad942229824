//! Leftovers of an earlier life: what the ledger tells of, judged at start (L9), and instances that no record covers. Nothing of a runtime is started before
//! every unknown instance there is dead.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use berth_state::ids::{BootId, Incarnation};
use berth_state::noun::container::RuntimeKind;
use tokio::sync::mpsc;
use tracing::warn;

use crate::clock::HolderTime;
use crate::context::Context;
use crate::deadline::Lost;
use crate::enforcer::Enforcer;
use crate::event::Event;
use crate::ledger::{LedgerState, Record};
use crate::runtime::{InstanceKey, InstanceState, Observed, RuntimeError};
use crate::workload::Workload;
use crate::world::Workloads;

const RETRY: Duration = Duration::from_millis(500);

/// What a record of an earlier process is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged {
    /// Same boot, same life of the control plane, deadline ahead: it goes on, unchanged.
    GoesOn(HolderTime),
    /// Kill, cut, unmount, release.
    Over(Lost),
}

/// L9.
#[must_use]
pub fn judge(record: &Record, boot: BootId, incarnation: Incarnation, now: HolderTime) -> Judged {
    if record.boot != boot || record.incarnation != incarnation || record.over {
        Judged::Over(Lost::Stale)
    } else if now >= record.deadline {
        Judged::Over(Lost::DeadlinePassed)
    } else {
        Judged::GoesOn(record.deadline)
    }
}

/// Takes over what the ledger tells of: rights into the book, kill handles to the enforcer, workloads to the manager.
#[must_use]
pub fn adopt(state: &LedgerState, boot: BootId, now: HolderTime, enforcer: &Enforcer) -> Workloads {
    let mut workloads = Workloads::default();
    for record in state.records.values() {
        let token = record.token;
        let judged = judge(record, boot, state.incarnation, now);
        enforcer.book(|book| match judged {
            Judged::GoesOn(deadline) => book.adopt(token, deadline),
            Judged::Over(why) => book.lose(token, why),
        });
        // Process ids and control groups of another boot mean somebody else by now.
        if let Some(handle) = record.handle.clone().filter(|_| record.boot == boot) {
            enforcer.register(token, record.key(record.attempt), handle);
        }
        workloads.insert(Workload::from_record(record));
    }
    workloads
}

/// Unknown instances, and how far they are: at most one task for each.
#[derive(Debug, Default)]
pub struct Leftovers {
    pending: BTreeMap<InstanceKey, (RuntimeKind, bool)>,
}

impl Leftovers {
    /// Takes in what was found of one runtime; returns those that nobody deals with yet.
    pub fn found<'o>(&mut self, kind: RuntimeKind, unknown: impl Iterator<Item = &'o Observed>) -> Vec<InstanceKey> {
        let mut new = Vec::new();
        for seen in unknown {
            // A created one could be started by nobody but us.
            let alive = match seen.state {
                InstanceState::Running => true,
                InstanceState::Created | InstanceState::Exited { .. } => false,
            };
            if self.pending.insert(seen.key.clone(), (kind, alive)).is_none() {
                new.push(seen.key.clone());
            }
        }
        new
    }

    pub fn gone(&mut self, key: &InstanceKey) {
        self.pending.remove(key);
    }

    #[must_use]
    pub fn none_alive(&self, kind: RuntimeKind) -> bool {
        !self.pending.values().any(|(of, alive)| *of == kind && *alive)
    }
}

/// Kills and removes one, until that has worked.
pub async fn finish(context: Arc<Context>, kind: RuntimeKind, key: InstanceKey, events: mpsc::Sender<Event>) {
    while let Err(error) = try_finish(&context, kind, &key).await {
        warn!(instance = %key.instance_name(), %error, "cannot remove a leftover yet");
        tokio::time::sleep(RETRY).await;
    }
    let _ = events.send(Event::LeftoverGone(key)).await;
}

async fn try_finish(context: &Context, kind: RuntimeKind, key: &InstanceKey) -> Result<(), RuntimeError> {
    let Some(runtime) = context.runtimes.get(kind) else { return Ok(()) };
    runtime.kill(key).await?;
    runtime.remove(key).await
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test")]
mod tests {
    use super::*;
    use crate::testing::record;

    const BOOT: BootId = BootId([1; 16]);
    const LIFE: Incarnation = Incarnation(1);

    fn at(ms: u64) -> HolderTime {
        HolderTime(0).plus_ms(ms)
    }

    #[test]
    fn a_record_goes_on_only_within_its_boot_its_incarnation_and_its_deadline() {
        let good = record(11, BOOT, at(1_000));
        assert_eq!(judge(&good, BOOT, LIFE, at(999)), Judged::GoesOn(at(1_000)));
        assert_eq!(judge(&good, BOOT, LIFE, at(1_000)), Judged::Over(Lost::DeadlinePassed));
        assert_eq!(judge(&good, BootId([2; 16]), LIFE, at(0)), Judged::Over(Lost::Stale));
        assert_eq!(judge(&good, BOOT, Incarnation(2), at(0)), Judged::Over(Lost::Stale));
        let over = Record { over: true, ..good };
        assert_eq!(judge(&over, BOOT, LIFE, at(0)), Judged::Over(Lost::Stale));
    }

    #[test]
    fn a_runtime_is_not_swept_while_an_unknown_instance_lives() {
        let seen = |state| Observed {
            key: InstanceKey { container: "c1".to_owned(), token: 3, attempt: 1 },
            cluster: String::new(),
            lease: 3,
            state,
        };
        let mut leftovers = Leftovers::default();
        let running = seen(InstanceState::Running);
        assert_eq!(leftovers.found(RuntimeKind::Process, [&running].into_iter()), vec![running.key.clone()]);
        assert_eq!(leftovers.found(RuntimeKind::Process, [&running].into_iter()), vec![], "dealt with twice");
        assert!(!leftovers.none_alive(RuntimeKind::Process));
        assert!(leftovers.none_alive(RuntimeKind::Docker));
        leftovers.gone(&running.key);
        assert!(leftovers.none_alive(RuntimeKind::Process));
    }
}
