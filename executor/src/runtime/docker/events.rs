//! The engine's events as a hint to look again. Called by the reconciler's loop through `changed`. It must never be taken for the
//! truth: events are lost when the engine restarts, which is why every wait has a bound.
//!
//! The stream stays open between calls, so that an event that comes while nobody waits ends the next wait at once. No task
//! runs in the background: the engine keeps what is not read.

use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptionsBuilder;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use tokio::sync::Mutex;
use tokio::time::Sleep;

use super::engine::{CALL_LIMIT, Engine};
use super::engine_time::unix_time;
use super::labels::Owner;

/// Not `exec_*` and `health_status`: our own health checks would wake the reconciler all the time.
const ACTIONS: [&str; 7] = ["create", "start", "die", "oom", "destroy", "pause", "unpause"];
/// After an event it is looked again so much later, and so much later again: the engine (seen with 20.10) tells of a death before its listing shows it.
const LOOK_AGAIN: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(300)];
const FIRST_BACK_OFF: Duration = Duration::from_millis(100);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(5);

type EventStream = BoxStream<'static, Result<EventMessage, bollard::errors::Error>>;

#[derive(Default)]
pub(super) struct Events {
    /// Held while waiting: a second waiter then falls back to its time bound.
    feed: Mutex<Feed>,
}

#[derive(Default)]
struct Feed {
    stream: Option<EventStream>,
    /// How many looks of `LOOK_AGAIN` the last event has had, and when the next one is due.
    again: Option<(usize, Pin<Box<Sleep>>)>,
    back_off: Option<Duration>,
    /// Kept across calls, so that short waits add up to the whole pause.
    pause: Option<Pin<Box<Sleep>>>,
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}

impl Events {
    pub(super) async fn changed(&self, engine: &Engine, owner: &Owner, at_most: Duration) {
        let wait = async { self.feed.lock().await.wait(engine, owner).await };
        // Passing the bound is the normal case of nothing having happened.
        let _nothing_happened = tokio::time::timeout(at_most, wait).await;
    }
}

impl Feed {
    /// Returns when something may have changed. May be dropped at any await: what was read is still accounted for.
    async fn wait(&mut self, engine: &Engine, owner: &Owner) {
        loop {
            let Some(stream) = self.stream.as_mut() else {
                if let Some(pause) = self.pause.as_mut() {
                    pause.await;
                }
                // Set before the attempt, so that a dropped attempt counts too.
                self.fell_back();
                self.stream = open(engine, owner).await;
                if self.stream.is_some() {
                    // What happened while we did not listen is unknown: that is a hint in itself.
                    return;
                }
                continue;
            };
            let next = match self.again.as_mut() {
                None => stream.next().await,
                Some((looks, due)) => tokio::select! {
                    next = stream.next() => next,
                    () = due => {
                        let looks = *looks + 1;
                        self.again = look_again(looks);
                        return;
                    }
                },
            };
            match next {
                Some(Ok(_event)) => {
                    (self.back_off, self.pause, self.again) = (None, None, look_again(0));
                    // One hint for all that is there already.
                    while let Some(Some(Ok(_))) = stream.next().now_or_never() {}
                    return;
                }
                Some(Err(error)) => {
                    tracing::warn!(error = %engine.failed(&error), "docker event stream broke: opened again");
                    self.stream = None;
                }
                None => self.stream = None,
            }
        }
    }

    fn fell_back(&mut self) {
        let back_off = self.back_off.map_or(FIRST_BACK_OFF, |last| (last * 2).min(LONGEST_BACK_OFF));
        self.back_off = Some(back_off);
        self.pause = Some(Box::pin(tokio::time::sleep(back_off)));
    }
}

fn look_again(looks: usize) -> Option<(usize, Pin<Box<Sleep>>)> {
    LOOK_AGAIN.get(looks).map(|wait| (looks, Box::pin(tokio::time::sleep(*wait))))
}

/// A stream that starts at the engine's own present, so that nothing falls between asking and listening.
async fn open(engine: &Engine, owner: &Owner) -> Option<EventStream> {
    let info = match engine.call(CALL_LIMIT, |docker| async move { docker.info().await }).await {
        Ok(info) => info,
        Err(error) => {
            tracing::warn!(%error, "docker event stream cannot be opened");
            return None;
        }
    };
    let docker = engine.client_within(CALL_LIMIT).await.ok()?;
    let mut filters: HashMap<String, Vec<String>> = owner.filters();
    filters.insert("type".to_owned(), vec!["container".to_owned()]);
    filters.insert("event".to_owned(), ACTIONS.map(str::to_owned).to_vec());
    let mut options = EventsOptionsBuilder::default().filters(&filters);
    if let Some(present) = info.system_time.as_deref().and_then(unix_time) {
        options = options.since(&present);
    }
    let mut stream = docker.events(Some(options.build())).boxed();
    // The request is only sent when the stream is polled.
    match stream.next().now_or_never() {
        Some(None | Some(Err(_))) => None,
        Some(Some(Ok(_))) | None => Some(stream),
    }
}
