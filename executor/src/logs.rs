//! Logs: serves the leader's orders from the runtimes' logs. Everything is bounded: a slow channel makes the readers here wait, and a cancel ends them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tracing::debug;

use crate::context::Context;
use crate::context::Current;
use crate::control::{LogDelivery, LogOrder};
use crate::event::LogSources;
use crate::runtime::LogOptions;

/// Deliveries on their way to the leader.
const DELIVERIES: usize = 64;
/// Readers at once; more are refused.
const MAX_ORDERS: usize = 64;
const RETRY: Duration = Duration::from_secs(1);

/// Keeps a channel to the leader while there is a session. Never ends, unless the manager does.
pub async fn serve(context: Arc<Context>, sources: watch::Receiver<LogSources>) {
    let mut session = context.session.clone();
    let mut leader = context.control.leader_changes();
    loop {
        leader.borrow_and_update();
        let current = session.borrow_and_update().clone();
        let Some(current) = current else {
            if session.changed().await.is_err() {
                return;
            }
            continue;
        };
        tokio::select! {
            () = channel(&context, &current, &sources) => tokio::time::sleep(RETRY).await,
            changed = session.changed() => if changed.is_err() { return },
            // The former leader asks for nothing any more.
            changed = leader.changed() => if changed.is_err() { return },
        }
    }
}

async fn channel(context: &Arc<Context>, current: &Current, sources: &watch::Receiver<LogSources>) {
    let (deliveries, outgoing) = mpsc::channel(DELIVERIES);
    let mut orders = match context.control.log_channel(current.session, outgoing).await {
        Ok(orders) => orders,
        Err(error) => {
            debug!(%error, "no log channel");
            return;
        }
    };
    let mut readers = Readers::default();
    while let Some(Ok(order)) = orders.next().await {
        readers.0.retain(|_, task| !task.is_finished());
        if order.cancel {
            readers.cancel(order.order);
        } else if readers.0.len() >= MAX_ORDERS {
            let error = format!("more than {MAX_ORDERS} readers of logs on this host: try again later");
            // Refusing must not wait behind those that are served.
            let _ = deliveries.try_send(LogDelivery { order: order.order, end: true, error, ..LogDelivery::default() });
        } else {
            let number = order.order;
            let task = tokio::spawn(read(Arc::clone(context), order, sources.clone(), deliveries.clone()));
            readers.0.insert(number, task);
        }
    }
}

/// Readers end with their channel.
#[derive(Default)]
struct Readers(BTreeMap<u64, JoinHandle<()>>);

impl Readers {
    fn cancel(&mut self, order: u64) {
        if let Some(task) = self.0.remove(&order) {
            task.abort();
        }
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.0.values().for_each(JoinHandle::abort);
    }
}

async fn read(context: Arc<Context>, order: LogOrder, sources: watch::Receiver<LogSources>, deliveries: mpsc::Sender<LogDelivery>) {
    let error = deliver(&context, &order, &sources, &deliveries).await.err().unwrap_or_default();
    let _ = deliveries.send(LogDelivery { order: order.order, end: true, error, ..LogDelivery::default() }).await;
}

async fn deliver(
    context: &Context,
    order: &LogOrder,
    sources: &watch::Receiver<LogSources>,
    deliveries: &mpsc::Sender<LogDelivery>,
) -> Result<(), String> {
    let source = sources.borrow().get(&order.token).cloned();
    let (kind, key) = source.ok_or("nothing was started under this lease yet")?;
    let runtime = context.runtimes.get(kind).ok_or("the runtime is not available on this host now")?;
    let options = LogOptions { follow: order.follow, tail_lines: order.tail_lines };
    let mut chunks = runtime.logs(&key, options).await.map_err(|error| error.to_string())?;
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| error.to_string())?;
        let delivery = LogDelivery { order: order.order, stderr: chunk.stderr, data: chunk.data, ..LogDelivery::default() };
        if deliveries.send(delivery).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}
