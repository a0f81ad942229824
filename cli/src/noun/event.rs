//! `berth event …` and `berth events`: the event log, whole and readable back to the first entry.

use std::ops::ControlFlow;

use berth_state::Event;
use berth_state::codec::decode_event;
use berth_state::ids::Revision;
use clap::{Args, Subcommand};
use serde_json::Value;

use crate::context::Context;
use crate::failure::Failure;
use crate::output::say;
use crate::output::table::printable;
use crate::output::time::utc;
use crate::proof::chain::{Chain, Hash, Record};

#[derive(Debug, Subcommand)]
pub enum EventCommand {
    /// The history, oldest first
    Ls(RangeArgs),
    /// All events of one revision, with every field
    Show { revision: Revision },
}

#[derive(Debug, Args)]
pub struct RangeArgs {
    /// Only events after this revision
    #[arg(long, value_name = "REV")]
    since: Option<Revision>,
    /// Stop after this many; a revision is never split, so it may be a few more
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
}

#[derive(Debug, Args)]
pub struct EventsArgs {
    /// Go on with new events as they happen; without --since, only those
    #[arg(short, long)]
    follow: bool,
    /// Compute the rolling hash again from the events' own bytes; exit code 7 when it differs
    #[arg(long, conflicts_with = "follow")]
    verify: bool,
    #[command(flatten)]
    range: RangeArgs,
}

impl EventCommand {
    /// # Errors
    /// Any [`Failure`].
    pub async fn run(self, cx: &mut Context) -> Result<(), Failure> {
        match self {
            Self::Ls(range) => list(cx, &range).await,
            Self::Show { revision } => show(cx, revision).await,
        }
    }
}

impl EventsArgs {
    /// # Errors
    /// Any [`Failure`].
    pub async fn run(self, cx: &mut Context) -> Result<(), Failure> {
        match (self.follow, self.verify) {
            (true, _) => follow(cx, &self.range).await,
            (false, true) => verify(cx, &self.range).await,
            (false, false) => list(cx, &self.range).await,
        }
    }
}

/// The history, each event hashed again here. With --since, what comes before it is taken at the node's word.
async fn verify(cx: &mut Context, range: &RangeArgs) -> Result<(), Failure> {
    let after = range.since.unwrap_or_default();
    let head = cx.client.read().await?.history;
    let mut records = Vec::new();
    let mut take = |record: &Record| {
        records.push(record.clone());
        Ok(())
    };
    let unproven = |what: String| Failure::Unproven(what);
    let before = match cx.client.raw_history(after, range.limit.unwrap_or_default(), &mut take).await {
        Ok(before) => before.unwrap_or_default(),
        Err(Failure::CorruptHistory { endpoint, message }) => return Err(unproven(format!("{endpoint}: {message}"))),
        Err(failure) => return Err(failure),
    };
    if after == Revision(0) && before != Hash::default() {
        return Err(unproven("the history does not begin with its first event".to_owned()));
    }
    let mut chain = Chain::from(before);
    let mut events = Vec::with_capacity(records.len());
    for record in &records {
        chain.follow(record).map_err(unproven)?;
        events.push(decode_event(&record.event).map_err(|e| unproven(format!("event {}.{}: {e}", record.revision, record.seq)))?);
    }
    let known = head.filter(|head| range.limit.is_none() && head.revision > after.0);
    if let Some(head) = known
        && !records.iter().any(|record| record.head() == head)
    {
        return Err(unproven(format!("the registry stands at event {head}, which this history does not have")));
    }
    cx.out.show(&events, || events.iter().map(line).collect())?;
    let reached = chain.head().map_or_else(|| "no event".to_owned(), |head| format!("event {head}"));
    say(&format!("verified: {} events, hash chain whole up to {reached}", records.len()));
    Ok(())
}

async fn list(cx: &mut Context, range: &RangeArgs) -> Result<(), Failure> {
    let events = gather(cx, range.since.unwrap_or_default(), range.limit).await?;
    cx.out.show(&events, || events.iter().map(line).collect())
}

async fn gather(cx: &mut Context, after: Revision, limit: Option<u64>) -> Result<Vec<Event>, Failure> {
    let mut events: Vec<Event> = Vec::new();
    if limit == Some(0) {
        return Ok(events);
    }
    let mut take = |more: Vec<Event>| {
        events.extend(more);
        Ok(enough(events.len() as u64, limit))
    };
    let _ = cx.client.history(after, limit.unwrap_or_default(), &mut take).await?;
    Ok(events)
}

async fn follow(cx: &mut Context, range: &RangeArgs) -> Result<(), Failure> {
    if range.limit == Some(0) {
        return Ok(());
    }
    let out = cx.out;
    let mut count = 0;
    let mut take = |events: Vec<Event>| {
        for event in &events {
            out.one(event, || line(event))?;
        }
        count += events.len() as u64;
        Ok(enough(count, range.limit))
    };
    cx.client.follow(range.since, &mut take).await
}

fn enough(count: u64, limit: Option<u64>) -> ControlFlow<()> {
    if limit.is_some_and(|limit| count >= limit) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}

async fn show(cx: &mut Context, revision: Revision) -> Result<(), Failure> {
    let before = Revision(revision.0.saturating_sub(1));
    let events = gather(cx, before, Some(1)).await?;
    let events: Vec<Event> = events.into_iter().filter(|e| e.revision == revision).collect();
    if events.is_empty() {
        return Err(Failure::NotFound(format!(
            "no event at revision {revision}: a refused or empty command leaves none; see `berth events`"
        )));
    }
    cx.out.record(&events)
}

/// Revision, time, kind, what it is about, who asked.
pub(crate) fn line(event: &Event) -> String {
    let subject = subject(event);
    let actor = if event.actor.is_empty() { String::new() } else { format!("  by {}", printable(&event.actor)) };
    format!("{:>8}  {}  {:<28}  {subject}{actor}\n", event.revision, utc(event.time.0), event.fact.kind())
}

/// The plain fields of a fact, as `field=value`; nested ones are for `event show`.
fn subject(event: &Event) -> String {
    let Ok(Value::Object(fields)) = serde_json::to_value(&event.fact) else { return String::new() };
    let mut words = Vec::new();
    for (key, value) in &fields {
        let text = match value {
            Value::String(text) => printable(text),
            Value::Number(number) => number.to_string(),
            Value::Bool(flag) => flag.to_string(),
            Value::Object(inner) => match inner.get("kind").or_else(|| inner.get("state")).or_else(|| inner.get("host")) {
                Some(Value::String(kind)) => kind.clone(),
                Some(_) | None => continue,
            },
            Value::Null | Value::Array(_) => continue,
        };
        if key != "kind" {
            words.push(format!("{key}={text}"));
        }
    }
    words.join(" ")
}
