//! Observers: one task for each runtime lists its instances whenever something may have changed. What they see goes to the manager with the step
//! counter read before looking, so that it can tell news from what a step has overtaken.

use std::time::Duration;

use berth_state::ids::ClusterId;
use berth_state::noun::container::RuntimeKind;
use tokio::sync::{mpsc, watch};
use tracing::warn;

use crate::event::Event;
use crate::runtimes::Runtimes;

/// Hints of change may be lost; then this is how late it is noticed.
const AT_MOST: Duration = Duration::from_secs(1);
/// An engine that does not answer is asked again after this.
const RETRY: Duration = Duration::from_millis(500);

/// Never ends, unless the manager does.
pub async fn observe(
    runtimes: Runtimes,
    kind: RuntimeKind,
    cluster: ClusterId,
    counter: watch::Receiver<u64>,
    events: mpsc::Sender<Event>,
) {
    let mut told = String::new();
    loop {
        let Some(runtime) = runtimes.open(kind, cluster) else {
            tokio::time::sleep(RETRY).await;
            continue;
        };
        let at = *counter.borrow();
        match runtime.list().await {
            Ok(instances) => {
                told.clear();
                if events.send(Event::Observed { kind, at, instances }).await.is_err() {
                    return;
                }
                runtime.changed(AT_MOST).await;
            }
            Err(error) => {
                let text = error.to_string();
                if text != told {
                    warn!(?kind, %error, "cannot list instances");
                    told = text;
                }
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}
