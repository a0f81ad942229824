//! Reports what instances do (RecordObservation): changes only, a burst as one, repeated until answered. For people and placement; no lease decision hangs on it.

use std::sync::Arc;
use std::time::Duration;

use berth_state::command::ObservedInstance;
use berth_state::ids::SessionId;
use tokio::sync::watch;
use tracing::debug;

use crate::context::Context;
use crate::context::Current;
use crate::control::{LinkError, ReportRequest};
use crate::event::Statuses;

/// A start goes through several states in a moment; only where it rests is news.
const DEBOUNCE: Duration = Duration::from_millis(100);
const RETRY: Duration = Duration::from_secs(1);
/// In one command; the rest goes in the next.
const MAX_BATCH: usize = 256;

/// Never ends, unless the manager does.
pub async fn report(context: Arc<Context>, mut statuses: watch::Receiver<Statuses>) {
    let mut session = context.session.clone();
    let mut reported: (Option<SessionId>, Statuses) = (None, Statuses::new());
    loop {
        let now = statuses.borrow_and_update().clone();
        let current = session.borrow_and_update().clone();
        if let Some(current) = current {
            // A new session knows nothing of what the former was told.
            if reported.0 != Some(current.session) {
                reported = (Some(current.session), Statuses::new());
            }
            let news: Statuses = now
                .iter()
                .filter(|(key, status)| reported.1.get(*key) != Some(*status))
                .take(MAX_BATCH)
                .map(|(k, s)| (*k, s.clone()))
                .collect();
            if !news.is_empty() {
                if send(&context, &current, &news).await {
                    reported.1.extend(news);
                    reported.1.retain(|key, _| now.contains_key(key));
                }
                tokio::time::sleep(DEBOUNCE).await;
                continue;
            }
        }
        tokio::select! {
            changed = statuses.changed() => if changed.is_err() { return },
            changed = session.changed() => if changed.is_err() { return },
        }
        tokio::time::sleep(DEBOUNCE).await;
    }
}

/// Repeats one request until its fate is known. `false`: it must be made anew.
async fn send(context: &Context, current: &Current, news: &Statuses) -> bool {
    let instance =
        |((lease, token), status): (&(_, _), &_)| ObservedInstance { lease: *lease, token: *token, status: Clone::clone(status) };
    let request = ReportRequest {
        cluster: current.cluster,
        request: context.random.request_id(),
        session: current.session,
        instances: news.iter().map(instance).collect(),
    };
    loop {
        let error = match context.control.report(request.clone()).await {
            Ok(()) => return true,
            Err(error) => error,
        };
        debug!(%error, "report not answered");
        tokio::time::sleep(RETRY).await;
        let replaced = context.session.borrow().as_ref().is_none_or(|now| now.session != current.session);
        if replaced || matches!(error, LinkError::Rejected(_)) {
            return false;
        }
    }
}
