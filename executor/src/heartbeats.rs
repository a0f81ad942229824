//! Heartbeats: one task for each volume that is mounted here advances `.berth/heartbeat` with each renewal, and sees whether somebody else does. Followed by the
//! manager. Each beat runs on a thread that may block: a hung storage holds up its own beat and nothing else, the deadline least of all. A holder that
//! sees another one stops at once; that is recorded before its lease is given back.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use berth_state::command::{Order, SuspectSplitBrain};
use berth_state::ids::{LeaseId, Token, VolumeId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tracing::{debug, error, warn};

use crate::context::Context;
use crate::control::{LinkError, ProposeRequest};
use crate::deadline::Lost;
use crate::volumes::heartbeat::{self, Beat, SplitBrain};
use crate::workload::Workload;

/// Without a session nobody renews; what lives on the volume is looked at all the same.
const PERIOD: Duration = Duration::from_secs(3);
/// A ttl of some seconds must not make the storage busy.
const LEAST: Duration = Duration::from_millis(300);
const RETRY: Duration = Duration::from_millis(500);
/// Beats that may hang at one time. Beyond it other volumes go without one: a dead storage must not take the threads that unmounts and the ledger need.
const AT_ONCE: usize = 64;

/// The running tasks.
pub struct Heartbeats {
    tasks: BTreeMap<(Token, VolumeId), JoinHandle<()>>,
    threads: Arc<Semaphore>,
}

impl Default for Heartbeats {
    fn default() -> Self {
        Self { tasks: BTreeMap::new(), threads: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

impl Heartbeats {
    /// One task for every volume that is mounted under a right; none for the others.
    pub fn follow(&mut self, context: &Arc<Context>, workloads: &BTreeMap<Token, Workload>) {
        let beats = |w: &Workload| w.prepared && w.mounted && !w.lost && !w.busy.stop;
        self.tasks.retain(|(token, _), task| {
            let wanted = workloads.get(token).is_some_and(beats);
            if !wanted {
                task.abort();
            }
            wanted
        });
        for workload in workloads.values().filter(|w| beats(w)) {
            if workload.volumes.iter().all(|volume| self.tasks.contains_key(&(workload.token, volume.clone()))) {
                continue;
            }
            let recorded = context.ledger.read(|state| state.records.get(&workload.token).map(|r| r.volumes.clone()).unwrap_or_default());
            for (volume, source) in recorded.into_iter().filter_map(|v| v.source.map(|source| (v.volume, source))) {
                let holder = Holder { token: workload.token, lease: workload.lease, volume: volume.clone(), source };
                self.tasks
                    .entry((workload.token, volume))
                    .or_insert_with(|| tokio::spawn(watch(Arc::clone(context), holder, Arc::clone(&self.threads))));
            }
        }
    }
}

impl Drop for Heartbeats {
    fn drop(&mut self) {
        self.tasks.values().for_each(JoinHandle::abort);
    }
}

/// One mounted volume of ours.
#[derive(Clone, Debug)]
struct Holder {
    token: Token,
    lease: LeaseId,
    volume: VolumeId,
    source: PathBuf,
}

async fn watch(context: Arc<Context>, holder: Holder, threads: Arc<Semaphore>) {
    let (volume, token) = (&holder.volume, holder.token);
    let mut told = String::new();
    loop {
        tokio::time::sleep(period(&context)).await;
        // Never closed.
        let Ok(permit) = Arc::clone(&threads).acquire_owned().await else { return };
        match beat_once(&context, &holder, permit).await {
            Ok(Beat::Advanced(_)) => told.clear(),
            // It ends, or is being taken away: the manager will end this task.
            Ok(Beat::NoRight) => {}
            Ok(Beat::Other(seen)) => {
                stop(&context, &holder, &seen).await;
                return;
            }
            Err(failed) if read_only(&failed) => return,
            Err(failed) => {
                let text = failed.to_string();
                if told != text {
                    warn!(%token, %volume, error = %text, "no heartbeat on the volume");
                    told = text;
                }
            }
        }
    }
}

fn period(context: &Context) -> Duration {
    let ttl = context.session.borrow().as_ref().map(|current| Duration::from_millis(current.ttl_ms / 3));
    ttl.unwrap_or(PERIOD).max(LEAST)
}

fn read_only(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::ReadOnlyFilesystem
}

async fn beat_once(context: &Arc<Context>, holder: &Holder, permit: OwnedSemaphorePermit) -> io::Result<Beat> {
    let (context, holder) = (Arc::clone(context), holder.clone());
    let beat = move || {
        // Given back by the thread, however long it hangs.
        let _permit = permit;
        let still = || context.enforcer.may_act(holder.token);
        if !still() {
            return Ok(Beat::NoRight);
        }
        let source: &Path = &holder.source;
        heartbeat::beat(source, &holder.volume, &context.host, holder.token, still)
    };
    tokio::task::spawn_blocking(beat).await.unwrap_or_else(|join| Err(io::Error::other(join)))
}

/// Stops the holder and records why. In this order: the instance may be writing over somebody else's data.
async fn stop(context: &Arc<Context>, holder: &Holder, seen: &SplitBrain) {
    let (token, volume, other) = (holder.token, &holder.volume, seen.other);
    error!(%token, %volume, %other, "split brain suspected: another holder's heartbeat advanced; stopping");
    context.suspicions.pending(token, true);
    context.enforcer.book(|book| book.lose(token, Lost::SplitBrain));
    // A task of its own: this one ends with the workload's right.
    let (context, holder) = (Arc::clone(context), holder.clone());
    tokio::spawn(async move {
        record(&context, &holder, other).await;
        context.suspicions.pending(holder.token, false);
    });
}

/// Until it is answered; a refusal is an answer.
async fn record(context: &Context, holder: &Holder, other: Token) {
    let (token, lease, volume) = (holder.token, holder.lease, holder.volume.clone());
    loop {
        let current = context.session.borrow().clone();
        if let Some(current) = current {
            let order = SuspectSplitBrain { session: current.session, lease, token, volume: volume.clone(), other };
            let (cluster, request, session) = (current.cluster, context.random.request_id(), current.session);
            match context.control.propose(ProposeRequest { cluster, request, session, order: Order::SuspectSplitBrain(order) }).await {
                Ok(_) => return,
                Err(LinkError::Rejected(why)) => {
                    warn!(%token, %volume, %why, "the suspected split brain was not recorded");
                    return;
                }
                Err(error) => debug!(%token, %volume, %error, "suspected split brain is not recorded yet"),
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test")]
mod tests {
    use berth_state::ids::Token;

    use super::*;
    use crate::testing::control::Mode;
    use crate::testing::rig::{Rig, eventually, never};

    fn newest(rig: &Rig) -> heartbeat::Heartbeat {
        heartbeat::read(&rig.data.path().join("v1")).unwrap().unwrap()
    }

    /// As another host's executor would write it.
    fn foreign_beat(rig: &Rig, token: u64) {
        let text = format!(r#"{{"token":{token},"beat":77,"host":"h9"}}"#);
        std::fs::write(rig.data.path().join("v1/.berth/heartbeat"), text).unwrap();
    }

    #[tokio::test]
    async fn a_running_holder_advances_its_heartbeat_and_a_released_one_does_not() {
        let rig = Rig::with_ttl(3_000);
        rig.container_with_volume("db", "v1");
        let executor = rig.started().await;
        let token = rig.run("db").await;
        eventually("some beats", || newest(&rig).beat > 2).await;
        assert_eq!((newest(&rig).token, newest(&rig).host.as_str()), (token.0, "h1"));
        rig.control.revoke(token);
        eventually("released", || rig.control.lease(token).is_none()).await;
        let last = newest(&rig);
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        assert_eq!(newest(&rig), last, "a beat without a lease");
        executor.stop().await.unwrap();
    }

    #[tokio::test]
    async fn another_holders_heartbeat_stops_this_one_and_is_recorded_before_the_lease_is_given_back() {
        let rig = Rig::with_ttl(3_000);
        rig.container_with_volume("db", "v1");
        let executor = rig.started().await;
        let token = rig.run("db").await;
        // The control plane hears nothing: the holder must stop all the same, and must not lose what it saw.
        rig.control.set(Mode::Silent);
        foreign_beat(&rig, 3);
        eventually("it is stopped", || rig.machine.running().is_empty()).await;
        never("released unseen", || rig.control.lease(token).is_none()).await;
        rig.control.set(Mode::Answer);
        eventually("recorded", || {
            let suspicion = rig.control.state(|s| s.volume(&VolumeId::new("v1").unwrap()).and_then(|v| v.suspicion));
            suspicion.is_some_and(|seen| (seen.token, seen.other) == (token, Token(3)))
        })
        .await;
        rig.ended(token).await;
        executor.stop().await.unwrap();
    }

    #[tokio::test]
    async fn the_heartbeat_of_a_former_holder_alone_raises_no_alarm() {
        let rig = Rig::with_ttl(3_000);
        rig.container_with_volume("db", "v1");
        std::fs::create_dir(rig.data.path().join("v1/.berth")).unwrap();
        foreign_beat(&rig, 3);
        let executor = rig.started().await;
        let token = rig.run("db").await;
        eventually("its own beats", || newest(&rig).token == token.0 && newest(&rig).beat > 79).await;
        assert!(!rig.machine.running().is_empty());
        executor.stop().await.unwrap();
    }
}
