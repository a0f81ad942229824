//! The fence actions of a leading node, as tasks beside the driver's loop. Owned by the driver; must never act without an applied entry, and kills
//! what runs when the node leads no more or stops (L21): an attempt left open is closed by the next leader when its time is over.

use std::sync::Arc;

use berth_state::ClusterState;
use berth_state::ids::{HostId, NodeId, Revision, VolumeId};
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::clock::RawTime;
use crate::fencing::run::{Finished, carry_out};
use crate::fencing::storage::{Cut, StorageFence};
use crate::leader::fencing::{self, Asker, Memory};
use crate::leader::notes::Notes;
use crate::leader::timers::Due;

/// A lift that failed is tried again after this.
const LIFT_AGAIN_MS: u64 = 10_000;

/// What a task came to.
pub enum Action {
    Fenced(Finished),
    Lifted { cut: Cut, result: Result<String, String> },
}

pub struct Fencer {
    node: NodeId,
    storage: Arc<dyn StorageFence>,
    memory: Memory,
    /// The term that this node leads, and when it became ready to.
    ready: Option<(u64, RawTime)>,
    /// Each kills its program's whole process group when it is dropped.
    tasks: JoinSet<Action>,
}

impl Fencer {
    #[must_use]
    pub fn new(node: NodeId, storage: Arc<dyn StorageFence>) -> Self {
        Self { node, storage, memory: Memory::default(), ready: None, tasks: JoinSet::new() }
    }

    #[must_use]
    pub fn due(&self, state: &ClusterState, notes: &Notes, now: RawTime) -> Due {
        let ready = self.ready.map_or(now, |(_, at)| at);
        fencing::due(state, notes, &self.memory, Asker { node: self.node, ready, now })
    }

    /// Before the first look of each turn of a leader that is ready, with its term.
    pub fn turn(&mut self, state: &ClusterState, term: u64, now: RawTime) {
        if self.ready.is_none_or(|(known, _)| known != term) {
            self.ready = Some((term, now));
        }
        fencing::forget(state, &mut self.memory);
        for cut in fencing::lifts_to_do(state, &self.memory, now) {
            self.memory.lifting.insert((cut.volume.clone(), cut.host.clone()), None);
            let storage = self.storage.clone();
            self.tasks.spawn(async move {
                let result = storage.lift(&cut).await;
                Action::Lifted { cut, result }
            });
        }
    }

    /// The entry of an attempt that this node proposed is applied.
    pub fn begun(&mut self, state: &ClusterState, host: &HostId, attempt: Revision) {
        let Some(work) = fencing::work(state, host, attempt) else { return };
        info!(%host, %attempt, method = ?work.method, "fencing");
        self.memory.running.insert(attempt);
        self.tasks.spawn({
            let storage = self.storage.clone();
            async move { Action::Fenced(carry_out(work, storage).await) }
        });
    }

    /// The next action that ended; waits for ever while none runs.
    pub async fn next(&mut self) -> Option<Action> {
        match self.tasks.join_next().await {
            Some(Ok(action)) => Some(action),
            Some(Err(error)) => {
                warn!(%error, "a fence action was lost; its attempt is given up when its time is over");
                None
            }
            None => std::future::pending().await,
        }
    }

    pub fn ended(&mut self, action: Action, now: RawTime) {
        match action {
            Action::Fenced(done) => {
                info!(host = %done.host, attempt = %done.attempt, ok = done.ok, output = %done.output, "fence action ended");
                self.memory.running.remove(&done.attempt);
                self.memory.finished.insert(done.attempt, done);
            }
            Action::Lifted { cut, result } => {
                let key: (VolumeId, HostId) = (cut.volume.clone(), cut.host.clone());
                match result {
                    Ok(_) => {
                        self.memory.lifting.remove(&key);
                        self.memory.lifted.insert(key, cut.token);
                    }
                    Err(why) => {
                        warn!(volume = %cut.volume, host = %cut.host, token = %cut.token, %why, "the storage still keeps the host out");
                        self.memory.lifting.insert(key, Some(now.plus_ms(LIFT_AGAIN_MS)));
                    }
                }
            }
        }
    }

    /// This node leads no more: what runs is killed, and what it knew is the next leader's to find out.
    pub fn stop(&mut self) {
        self.tasks.abort_all();
        self.tasks = JoinSet::new();
        self.memory = Memory::default();
        self.ready = None;
    }
}
