//! Keepalive batching (L5-L7): gathers what waits into one log entry and hands each sender the apply result of its own keepalive. No memory of
//! earlier answers, no answer before apply, no retry: a keepalive whose proposal fails gets an error, and its executor sends a new one.

use std::sync::Arc;

use berth_state::Outcome;
use berth_state::command::{Keepalive, Order, RecordKeepalives};
use berth_state::outcome::KeepaliveAnswer;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::api::errors::ApiError;
use crate::clock::RawTime;
use crate::core::Core;

/// More wait than one host each in a cluster of the size we aim at; beyond it the answer is Busy.
const QUEUE: usize = 4_096;
/// Entries stay small enough that one does not hold up the log, and below the codec's bound: so many keepalives, and so many tokens in all
/// (one keepalive alone has at most 4,096).
const MAX_BATCH: usize = 512;
const MAX_TOKENS: usize = 16_384;
/// Batches on their way at once: while one is being flushed the next ones gather.
const IN_FLIGHT: usize = 4;

struct Waiting {
    keepalive: Keepalive,
    /// Not proposed after this: its sender has given up.
    until: RawTime,
    answer: oneshot::Sender<Result<KeepaliveAnswer, ApiError>>,
}

#[derive(Clone)]
pub struct Keepalives {
    queue: mpsc::Sender<Waiting>,
}

impl Keepalives {
    /// The handle, and the task that must be run for it to work.
    pub fn new(core: Arc<Core>) -> (Self, Batcher) {
        let (queue, waiting) = mpsc::channel(QUEUE);
        (Self { queue }, Batcher { core, waiting })
    }

    /// The apply result of this keepalive.
    ///
    /// # Errors
    /// Busy, or why the entry could not be proposed or its fate is unknown.
    pub async fn send(&self, keepalive: Keepalive, until: RawTime) -> Result<KeepaliveAnswer, ApiError> {
        let (answer, answered) = oneshot::channel();
        self.queue.try_send(Waiting { keepalive, until, answer }).map_err(|_| ApiError::Busy)?;
        answered.await.unwrap_or_else(|_| Err(ApiError::Unknown { why: "this node is stopping".to_owned() }))
    }
}

pub struct Batcher {
    core: Arc<Core>,
    waiting: mpsc::Receiver<Waiting>,
}

impl Batcher {
    pub async fn run(mut self, shutdown: CancellationToken) {
        let in_flight = Arc::new(Semaphore::new(IN_FLIGHT));
        loop {
            let Ok(permit) = in_flight.clone().acquire_owned().await else { return };
            let first = tokio::select! {
                () = shutdown.cancelled() => return,
                first = self.waiting.recv() => first,
            };
            let Some(first) = first else { return };
            let batch = self.gather(first);
            let core = self.core.clone();
            tokio::spawn(async move {
                propose(&core, batch).await;
                drop(permit);
            });
        }
    }
}

impl Batcher {
    /// The first one and all that wait behind it, as far as one entry may hold.
    fn gather(&mut self, first: Waiting) -> Vec<Waiting> {
        let mut tokens = first.keepalive.tokens.len();
        let mut batch = vec![first];
        while batch.len() < MAX_BATCH && tokens < MAX_TOKENS {
            let Ok(next) = self.waiting.try_recv() else { break };
            tokens += next.keepalive.tokens.len();
            batch.push(next);
        }
        batch
    }
}

async fn propose(core: &Core, batch: Vec<Waiting>) {
    let now = core.clock().raw_now();
    let (batch, late): (Vec<_>, Vec<_>) = batch.into_iter().partition(|w| now < w.until);
    for waiting in late {
        let _ = waiting.answer.send(Err(ApiError::Busy));
    }
    if batch.is_empty() {
        return;
    }
    let keepalives = batch.iter().map(|w| w.keepalive.clone()).collect();
    let order = Order::RecordKeepalives(RecordKeepalives { keepalives });
    match core.propose(order, None, String::new()).await {
        Ok(Outcome::Keepalives(answers)) if answers.len() == batch.len() => {
            for (waiting, answer) in batch.into_iter().zip(answers) {
                debug_assert_eq!(waiting.keepalive.seq, answer.seq, "answers come in the order of the batch");
                let _ = waiting.answer.send(Ok(answer));
            }
        }
        Ok(other) => {
            let why = format!("keepalives were answered by {other:?}");
            for waiting in batch {
                let _ = waiting.answer.send(Err(ApiError::Failed(why.clone())));
            }
        }
        Err(error) => {
            for waiting in batch {
                let _ = waiting.answer.send(Err(error.clone()));
            }
        }
    }
}
