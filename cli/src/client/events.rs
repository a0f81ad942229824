//! The event log: the history up to now, and what follows, resumed at another node when one goes away, without a gap and without a
//! duplicate.

use std::ops::ControlFlow;

use berth_state::Event;
use berth_state::codec::Wire;
use berth_state::ids::Revision;
use berth_state::pb::api;
use berth_state::pb::api::watch_response::Item;
use tonic::Streaming;

use super::Client;
use super::answer::{Refused, classify};
use crate::failure::Failure;
use crate::proof::chain::{Hash, Record};

/// Takes the events of one whole revision at a time; breaks when it has enough.
pub type Take<'a> = &'a mut dyn FnMut(Vec<Event>) -> Result<ControlFlow<()>, Failure>;

impl Client {
    /// All events after `after`, at most about `limit` (a revision is never split; 0: no bound). Returns the last revision seen and whether more
    /// are wanted.
    ///
    /// # Errors
    /// No node answers, or the stream breaks.
    pub async fn history(&mut self, after: Revision, limit: u64, take: Take<'_>) -> Result<(Revision, ControlFlow<()>), Failure> {
        let message = api::EventsRequest { cluster_id: self.cluster_bytes(), after_revision: after.0, limit, raw: false };
        let answered = self.ask(async |mut client| client.events(message.clone()).await).await.map_err(|gaveup| gaveup.failure)?;
        let (endpoint, mut stream) = (answered.endpoint, answered.value);
        let mut seen = after;
        while let Some(batch) = stream.message().await.map_err(|s| broken(&endpoint, &s))? {
            let (last, flow) = deliver(&endpoint, batch, take)?;
            seen = last.unwrap_or(seen);
            if flow.is_break() {
                return Ok((seen, flow));
            }
        }
        Ok((seen, ControlFlow::Continue(())))
    }

    /// The same as bytes with their hashes, one event at a time; returns the hash that the first one follows on. Checks nothing but that each batch
    /// joins the one before it.
    ///
    /// # Errors
    /// No node answers, or the stream breaks; [`Failure::CorruptHistory`].
    pub async fn raw_history(
        &mut self,
        after: Revision,
        limit: u64,
        take: &mut dyn FnMut(&Record) -> Result<(), Failure>,
    ) -> Result<Option<Hash>, Failure> {
        let message = api::EventsRequest { cluster_id: self.cluster_bytes(), after_revision: after.0, limit, raw: true };
        let answered = self.ask(async |mut client| client.events(message.clone()).await).await.map_err(|gaveup| gaveup.failure)?;
        let (endpoint, mut stream) = (answered.endpoint, answered.value);
        let incomplete = |what| Failure::Incomplete { endpoint: endpoint.clone(), what };
        let (mut first, mut reached) = (None, None);
        while let Some(batch) = stream.message().await.map_err(|s| broken(&endpoint, &s))? {
            let before = Hash::from_bytes(&batch.hash_before).ok_or_else(|| incomplete("the hashes of its history"))?;
            if reached.is_some_and(|reached| reached != before) {
                let message = "two parts of its history do not join".to_owned();
                return Err(Failure::CorruptHistory { endpoint, message });
            }
            first = first.or(Some(before));
            reached = Hash::from_bytes(&batch.hash_after);
            if batch.records.is_empty() {
                return Err(incomplete("the bytes of its events"));
            }
            for pb in batch.records {
                take(&crate::proof::command::record(pb).map_err(incomplete)?)?;
            }
        }
        Ok(first)
    }

    /// Follows for ever: events after `after`, or from now on when it is `None`.
    ///
    /// # Errors
    /// No node answers any more within the timeout.
    pub async fn follow(&mut self, after: Option<Revision>, take: Take<'_>) -> Result<(), Failure> {
        let mut place = Place { at: after, hash: None };
        loop {
            // Revision 0 would begin with the full set: the history from the first event on is another call.
            if place.at == Some(Revision(0)) {
                let (seen, flow) = self.history(Revision(0), 0, take).await?;
                if flow.is_break() {
                    return Ok(());
                }
                place.at = if seen == Revision(0) { None } else { Some(seen) };
            }
            let message = api::WatchRequest { cluster_id: self.cluster_bytes(), after_revision: place.at.map_or(0, |r| r.0) };
            let answered = self.ask(async |mut client| client.watch(message.clone()).await).await.map_err(|gaveup| gaveup.failure)?;
            if Self::watch(&answered.endpoint, answered.value, &mut place, take).await?.is_break() {
                return Ok(());
            }
            crate::output::say(&format!("berth: {} ended the stream; going on elsewhere", answered.endpoint));
            self.channels.remove(&answered.endpoint);
            self.leader = None;
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    }

    /// Until the stream ends; `place` is where to resume.
    async fn watch(
        endpoint: &str,
        mut stream: Streaming<api::WatchResponse>,
        place: &mut Place,
        take: Take<'_>,
    ) -> Result<ControlFlow<()>, Failure> {
        loop {
            let item = match stream.message().await {
                Ok(Some(response)) => response.item,
                Err(status) if matches!(classify(&status), Refused::CorruptHistory(_)) => return Err(broken(endpoint, &status)),
                Ok(None) | Err(_) => return Ok(ControlFlow::Continue(())),
            };
            match item {
                Some(Item::Full(full)) => {
                    *place = Place { at: Some(Revision(full.revision)), hash: full.history.and_then(|head| Hash::from_bytes(&head.hash)) };
                }
                Some(Item::ProgressRevision(revision)) => place.at = place.at.max(Some(Revision(revision))),
                Some(Item::Events(batch)) => {
                    place.join(endpoint, &batch)?;
                    let (last, flow) = deliver(endpoint, batch, take)?;
                    place.at = last.or(place.at);
                    if flow.is_break() {
                        return Ok(flow);
                    }
                }
                // An item of a newer version: nothing that this one could show.
                None => {}
            }
        }
    }
}

/// How far the history was followed, over all streams.
struct Place {
    at: Option<Revision>,
    /// The rolling hash there, where it is known.
    hash: Option<Hash>,
}

impl Place {
    /// The batch must go on where the last one ended, also when another node sends it: two nodes of one group have one history.
    fn join(&mut self, endpoint: &str, batch: &api::EventBatch) -> Result<(), Failure> {
        let before = Hash::from_bytes(&batch.hash_before);
        if let (Some(reached), Some(before)) = (self.hash, before)
            && reached != before
        {
            let message = "its history does not go on where the one before it ended".to_owned();
            return Err(Failure::CorruptHistory { endpoint: endpoint.to_owned(), message });
        }
        self.hash = Hash::from_bytes(&batch.hash_after);
        Ok(())
    }
}

/// Hands on a batch, one revision after the other.
fn deliver(endpoint: &str, batch: api::EventBatch, take: Take<'_>) -> Result<(Option<Revision>, ControlFlow<()>), Failure> {
    let undecodable = |source| Failure::Undecodable { endpoint: endpoint.to_owned(), source };
    let events: Vec<Event> = batch.events.into_iter().map(Event::from_pb).collect::<Result<_, _>>().map_err(undecodable)?;
    let mut last = None;
    for revision in events.chunk_by(|a, b| a.revision == b.revision) {
        last = revision.first().map(|e| e.revision);
        if take(revision.to_vec())?.is_break() {
            return Ok((last, ControlFlow::Break(())));
        }
    }
    Ok((last, ControlFlow::Continue(())))
}

fn broken(endpoint: &str, status: &tonic::Status) -> Failure {
    if let Refused::CorruptHistory(message) = classify(status) {
        return Failure::CorruptHistory { endpoint: endpoint.to_owned(), message };
    }
    Failure::Server { endpoint: endpoint.to_owned(), message: format!("the stream ended: {}", status.message()) }
}
