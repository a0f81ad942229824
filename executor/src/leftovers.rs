//! Leftovers of an earlier life: what the ledger tells of, judged at start (L9), and instances that no record covers. Nothing of a runtime is started before
//! every unknown instance there is dead.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use berth_state::ids::{BootId, Token};
use berth_state::noun::container::RuntimeKind;
use rustix::fs::{FlockOperation, flock};
use tokio::sync::mpsc;
use tracing::warn;

use crate::clock::HolderTime;
use crate::context::Context;
use crate::deadline::{Lost, Right};
use crate::enforcer::Enforcer;
use crate::event::Event;
use crate::judged::{Judged, judge};
use crate::ledger::LedgerState;
use crate::pages::Pages;
use crate::runtime::{InstanceKey, InstanceState, Observed, RuntimeError};
use crate::volumes::sweep;
use crate::workload::Workload;
use crate::world::Workloads;

const RETRY: Duration = Duration::from_millis(500);
/// Between tries to take away a mount that is held by somebody.
const SWEEP: Duration = Duration::from_secs(5);

/// Takes over what the ledger tells of: rights into the book, kill handles to the enforcer, workloads to the manager.
#[must_use]
pub fn adopt(state: &LedgerState, boot: BootId, now: HolderTime, enforcer: &Enforcer, pages: &Pages) -> Workloads {
    let mut workloads = Workloads::default();
    for record in state.records.values() {
        let token = record.token;
        let (judged, page) = pages.take_over(token, judge(record, boot, state.incarnation, now), record.attempt > 0, now);
        enforcer.book(|book| match judged {
            Judged::GoesOn(Right::Open) => book.adopt_open(token),
            Judged::GoesOn(Right::Until(deadline)) => book.adopt(token, deadline),
            Judged::GoesOn(Right::Never | Right::Over(_)) => book.lose(token, Lost::Stale),
            Judged::Over(why) => book.lose(token, why),
        });
        if let Some(page) = page {
            enforcer.follow(token, page);
        }
        // Process ids and control groups of another boot mean somebody else by now.
        if let Some(handle) = record.handle.clone().filter(|_| record.boot == boot) {
            enforcer.register(token, record.key(record.attempt), handle);
        }
        workloads.insert(Workload::from_record(record));
    }
    pages.sweep(&state.records.keys().copied().collect());
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

/// Takes away mounts of tokens that the ledger does not know, until none is left. Never ends, unless the executor does.
pub async fn sweep_mounts(context: Arc<Context>, mounts: PathBuf) {
    // Held as long as this process looks after the folder. Whoever else uses it knows tokens that we do not.
    let lock = match tokio::fs::try_exists(&mounts).await {
        Ok(true) => lock(&mounts),
        // Nothing was ever mounted here.
        Ok(false) | Err(_) => Ok(None),
    };
    let lock = lock.unwrap_or_else(|error| {
        warn!(mounts = %mounts.display(), %error, "another executor uses this folder of mounts: nothing in it is swept");
        None
    });
    while lock.is_some() {
        let (folder, held) = (mounts.clone(), Arc::clone(&context));
        let held = move || held.ledger.read(|state| state.records.keys().copied().collect::<BTreeSet<Token>>());
        let swept = tokio::task::spawn_blocking(move || sweep::sweep(&folder, held)).await;
        match swept {
            Ok(Ok(0)) => break,
            Ok(Ok(_)) => {}
            Ok(Err(error)) => warn!(%error, "cannot look for mounts that nobody holds any more"),
            Err(join) => warn!(error = %join, "cannot look for mounts that nobody holds any more"),
        }
        tokio::time::sleep(SWEEP).await;
    }
    std::future::pending::<()>().await;
}

fn lock(mounts: &Path) -> io::Result<Option<File>> {
    let file = File::options().create(true).truncate(false).write(true).open(mounts.with_extension("lock"))?;
    flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    Ok(Some(file))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test")]
mod tests {
    use super::*;

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
