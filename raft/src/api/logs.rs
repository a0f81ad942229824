//! Logs of containers: the executor of the host keeps a channel open to the leader; a reader's request goes out on it as an order, and what the
//! executor delivers goes to the reader. Nothing is kept here.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use berth_state::ids::{SessionId, Token};
use berth_state::pb::api;
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use crate::api::errors::ApiError;

/// Chunks that wait for a slow reader; then its order is cancelled rather than the whole channel held up.
const READER_BUFFER: usize = 256;
/// Orders that wait for an executor.
const ORDER_BUFFER: usize = 64;

/// Whom to send what arrives for an order.
type Reader = mpsc::Sender<Result<api::LogsResponse, Status>>;
type Orders = mpsc::Sender<Result<api::LogOrder, Status>>;

#[derive(Clone, Default)]
pub struct LogRelay {
    inner: Arc<Mutex<Channels>>,
    next_order: Arc<AtomicU64>,
}

#[derive(Default)]
struct Channels {
    executors: BTreeMap<SessionId, Orders>,
    readers: BTreeMap<u64, Reader>,
}

impl LogRelay {
    fn lock(&self) -> std::sync::MutexGuard<'_, Channels> {
        // A panic in a holder of this lock leaves the maps usable: every entry stands alone.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An executor's channel: orders go out on what is returned, deliveries are taken in until it ends.
    pub fn attach(&self, session: SessionId, deliveries: Streaming<api::LogDelivery>) -> mpsc::Receiver<Result<api::LogOrder, Status>> {
        let (orders, outgoing) = mpsc::channel(ORDER_BUFFER);
        self.lock().executors.insert(session, orders.clone());
        let relay = self.clone();
        tokio::spawn(async move {
            relay.pump(deliveries, &orders).await;
            let mut channels = relay.lock();
            // Only this channel: a reconnected executor has put a new one in its place.
            if channels.executors.get(&session).is_some_and(|current| current.same_channel(&orders)) {
                channels.executors.remove(&session);
            }
        });
        outgoing
    }

    async fn pump(&self, mut deliveries: Streaming<api::LogDelivery>, orders: &Orders) {
        while let Ok(Some(delivery)) = deliveries.message().await {
            let reader = self.lock().readers.get(&delivery.order).cloned();
            let Some(reader) = reader else { continue };
            let mut done = delivery.end;
            if !delivery.error.is_empty() {
                let _ = reader.try_send(Err(ApiError::Failed(delivery.error).into()));
            } else if !delivery.data.is_empty() {
                let chunk = api::LogsResponse { stderr: delivery.stderr, data: delivery.data };
                // A reader that is gone or far behind loses its order; the others on this channel go on.
                if reader.try_send(Ok(chunk)).is_err() {
                    let cancel = api::LogOrder { order: delivery.order, cancel: true, ..Default::default() };
                    let _ = orders.try_send(Ok(cancel));
                    done = true;
                }
            }
            if done {
                self.lock().readers.remove(&delivery.order);
            }
        }
    }

    /// Asks the session's executor for the logs of the instance under `token`.
    ///
    /// # Errors
    /// The executor has no channel to this node now.
    pub fn read(
        &self,
        session: SessionId,
        token: Token,
        request: &api::LogsRequest,
    ) -> Result<mpsc::Receiver<Result<api::LogsResponse, Status>>, ApiError> {
        let order = self.next_order.fetch_add(1, Ordering::Relaxed) + 1;
        let (reader, chunks) = mpsc::channel(READER_BUFFER);
        let mut channels = self.lock();
        let unreachable = || {
            ApiError::Failed(
                "the host's executor is not connected to this node for logs: is it running? Try again in a few seconds".to_owned(),
            )
        };
        let orders = channels.executors.get(&session).cloned().ok_or_else(unreachable)?;
        channels.readers.insert(order, reader);
        let message = api::LogOrder { order, token: token.0, follow: request.follow, tail_lines: request.tail_lines, cancel: false };
        if orders.try_send(Ok(message)).is_err() {
            channels.readers.remove(&order);
            return Err(unreachable());
        }
        Ok(chunks)
    }
}
