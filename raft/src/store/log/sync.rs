//! The one thread that syncs the log, and completes what waited for it. Group commit: while one sync runs, writers queue; the next sync covers
//! all of them. It must never complete anything before the sync that covers it has returned, nor anything after one has failed.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use openraft::storage::IOFlushed;
use tokio::sync::{mpsc, oneshot};

use crate::engine::Engine;
use crate::fatal::{Fatal, FatalKind};
use crate::store::error::StoreError;
use crate::store::probe::{Point, Probe};
use crate::types::TypeConfig;

/// Appends that may wait for one sync. openraft has fewer in flight; beyond this, writers wait instead of memory growing.
const QUEUE: usize = 1024;

/// What waits for a sync.
pub enum Waiter {
    Append(IOFlushed<TypeConfig>),
    Vote(oneshot::Sender<()>),
}

/// The way to the thread. Dropping it ends the thread, and waits for that: the engine must be free when the store is gone.
pub struct SyncQueue {
    waiters: Option<mpsc::Sender<Waiter>>,
    thread: Option<JoinHandle<()>>,
}

impl SyncQueue {
    pub fn start(engine: Arc<dyn Engine>, fatal: Fatal, probe: Probe) -> io::Result<Self> {
        let (waiters, queue) = mpsc::channel(QUEUE);
        let thread = thread::Builder::new().name("log-sync".to_owned()).spawn(move || run(&*engine, queue, &fatal, &probe))?;
        Ok(Self { waiters: Some(waiters), thread: Some(thread) })
    }

    /// Queues a waiter for the next sync. What it waits for must already be written.
    pub async fn push(&self, waiter: Waiter) -> Result<(), StoreError> {
        let Some(waiters) = &self.waiters else { return Err(StoreError::Stopped) };
        waiters.send(waiter).await.map_err(|_| StoreError::Stopped)
    }
}

impl Drop for SyncQueue {
    fn drop(&mut self) {
        self.waiters = None;
        if let Some(thread) = self.thread.take() {
            // A panic of that thread has already been reported by the panic itself.
            let _ = thread.join();
        }
    }
}

fn run(engine: &dyn Engine, mut queue: mpsc::Receiver<Waiter>, fatal: &Fatal, probe: &Probe) {
    let mut waiting = Vec::with_capacity(QUEUE);
    while let Some(first) = queue.blocking_recv() {
        waiting.push(first);
        // No lingering for more: under load they queue up while the disk works.
        while waiting.len() < QUEUE
            && let Ok(next) = queue.try_recv()
        {
            waiting.push(next);
        }
        probe.at(Point::LogBeforeSync);
        if let Err(error) = engine.sync() {
            fatal.raise(FatalKind::DurableWrite, "syncing the raft log", &error);
            // Waiters are dropped, not answered: nobody may learn anything from a failed sync. Nor is it tried again.
            return;
        }
        probe.at(Point::LogAfterSync);
        // Durable before reply.
        for waiter in waiting.drain(..) {
            match waiter {
                Waiter::Append(flushed) => flushed.io_completed(Ok(())),
                // The voter may have been cancelled; its vote is durable all the same.
                Waiter::Vote(done) => drop(done.send(())),
            }
        }
    }
}
