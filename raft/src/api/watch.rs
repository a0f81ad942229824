//! Watch and the event history: from a revision on, without a gap and without a duplicate. Any node serves them from its own event log, which
//! is the same on all nodes.

use std::sync::Arc;
use std::time::Duration;

use berth_state::codec::Wire;
use berth_state::ids::Revision;
use berth_state::pb::api;
use tokio::sync::mpsc;
use tonic::Status;

use crate::api::errors::ApiError;
use crate::api::read;
use crate::core::Core;
use crate::store::events::StoredEvent;

/// Batches that wait for a slow watcher; then its task waits and reads on from the log, so nobody else is held up and nothing is lost.
pub const BUFFER: usize = 16;
/// Events per batch; a revision is never split.
const BATCH: usize = 256;
/// A silent watch says so often where it is, so that its reader can resume from there and notices a dead connection.
const PROGRESS: Duration = Duration::from_secs(5);

type Out<T> = mpsc::Sender<Result<T, Status>>;

/// What a batch carries: decoded events, or the bytes that the rolling hash is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Decoded,
    Raw,
}

/// First the full set unless `after` names a revision, then events for ever.
pub async fn watch(core: Arc<Core>, after: Revision, out: Out<api::WatchResponse>) {
    use api::watch_response::Item;
    let message = |item| Ok(api::WatchResponse { item: Some(item) });
    let mut changes = core.event_head();
    let mut at = after;
    if after == Revision(0) {
        let full = core.view(|view| read::full(&core, &view));
        at = Revision(full.revision);
        if out.send(message(Item::Full(full))).await.is_err() {
            return;
        }
    }
    loop {
        changes.borrow_and_update();
        loop {
            match batch(&core, at, BATCH, Form::Decoded) {
                Ok(None) => break,
                Ok(Some((last, events))) => {
                    at = last;
                    if out.send(message(Item::Events(events))).await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    let _ = out.send(Err(error.into())).await;
                    return;
                }
            }
        }
        tokio::select! {
            () = out.closed() => return,
            () = core.stopping() => return,
            changed = changes.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(PROGRESS) => {
                if out.send(message(Item::ProgressRevision(at.0))).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// The history after a revision, oldest first, at most `limit` events (whole revisions), up to what is applied now.
pub async fn history(core: Arc<Core>, after: Revision, limit: u64, form: Form, out: Out<api::EventBatch>) {
    let mut at = after;
    let mut left = if limit == 0 { u64::MAX } else { limit };
    while left > 0 {
        let size = usize::try_from(left).unwrap_or(usize::MAX).min(BATCH);
        match batch(&core, at, size, form) {
            Ok(None) => return,
            Ok(Some((last, events))) => {
                at = last;
                left = left.saturating_sub((events.events.len() + events.records.len()) as u64);
                if out.send(Ok(events)).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                let _ = out.send(Err(error.into())).await;
                return;
            }
        }
    }
}

/// The next events after `at`, and the revision they reach; `None`: there are none yet. Their hashes were checked by the read, so a batch is what
/// was once applied, or an error.
fn batch(core: &Core, at: Revision, limit: usize, form: Form) -> Result<Option<(Revision, api::EventBatch)>, ApiError> {
    let read = core.history_after(at, limit)?;
    let Some(last) = read.events.last() else { return Ok(None) };
    let reached = Revision(last.position.index);
    let mut batch = api::EventBatch { hash_before: read.before.to_vec(), hash_after: last.hash.to_vec(), ..Default::default() };
    for event in &read.events {
        match form {
            Form::Decoded => batch.events.push(core.decoded(event)?.to_pb()),
            Form::Raw => batch.records.push(record(event)),
        }
    }
    Ok(Some((reached, batch)))
}

fn record(event: &StoredEvent) -> api::EventRecord {
    let StoredEvent { position, hash, payload } = event;
    api::EventRecord { revision: position.index, seq: position.seq, event: payload.to_vec(), hash: hash.to_vec() }
}
