//! Reads the whole log when a store is opened. Any doubt is a refusal: a log with a hole, or one that forgot a vote, must never vote again.

use std::ops::ControlFlow;
use std::path::Path;

use prost::Message;

use super::core::{COMMITTED, PURGED, Standing, VOTE};
use crate::engine::{Direction, Engine, Family, Span};
use crate::store::codec::{decode_entry, log_id_from_pb, unseal, vote_from_pb};
use crate::store::error::StoreError;
use crate::store::pb;
use crate::types::{Entry, LogId};

/// Where the log stands.
///
/// # Errors
/// [`StoreError::DamagedLog`] when it has a hole, an entry out of place, or entries newer than its vote.
pub fn load(engine: &dyn Engine, path: &Path) -> Result<Standing, StoreError> {
    let damaged = |detail: String| StoreError::DamagedLog { path: path.to_owned(), detail };
    let purged = mark::<pb::LogId>(engine, PURGED).map_err(|e| damaged(e.to_string()))?.as_ref().map(log_id_from_pb);
    let committed = mark::<pb::LogId>(engine, COMMITTED).map_err(|e| damaged(e.to_string()))?.as_ref().map(log_id_from_pb);
    let vote = mark::<pb::Vote>(engine, VOTE).map_err(|e| damaged(e.to_string()))?.as_ref().map(vote_from_pb);
    let mut standing = Standing { vote, committed, purged, last: purged, ..Standing::default() };
    let mut wrong = None;
    engine.scan(Family::Log, &Span::all(), Direction::Forward, &mut |key, value| match decode_entry(key, value)
        .map_err(|e| e.to_string())
        .and_then(|entry| follows(standing.last, purged, entry))
    {
        Ok(entry) => {
            standing.first.get_or_insert(entry.log_id.index);
            standing.last = Some(entry.log_id);
            standing.recent.push(entry);
            ControlFlow::Continue(())
        }
        Err(detail) => {
            wrong = Some(detail);
            ControlFlow::Break(())
        }
    })?;
    if let Some(detail) = wrong {
        return Err(damaged(detail));
    }
    let (log_term, vote_term) = (standing.last.map_or(0, |id| id.leader_id.term), vote.map_or(0, |vote| vote.leader_id.term));
    if log_term > vote_term {
        return Err(damaged(format!("it holds an entry of term {log_term}, but the vote is of term {vote_term}: a vote was lost")));
    }
    Ok(standing)
}

fn mark<M: Message + Default>(engine: &dyn Engine, key: &[u8]) -> Result<Option<M>, StoreError> {
    engine.get(Family::Meta, key)?.map(|bytes| unseal(&bytes)).transpose()
}

fn follows(last: Option<LogId>, purged: Option<LogId>, entry: Entry) -> Result<Entry, String> {
    let id = entry.log_id;
    let expected = last.map_or(0, |last| last.index + 1);
    if id.index != expected {
        return Err(match purged {
            Some(purged) if last == Some(purged) => {
                format!("it was purged up to entry {}, but goes on with entry {}", purged.index, id.index)
            }
            Some(_) | None => format!("entry {expected} is missing, the next one there is {}", id.index),
        });
    }
    if let Some(last) = last
        && id.leader_id < last.leader_id
    {
        return Err(format!("entry {id} is of an older term than entry {last} before it"));
    }
    Ok(entry)
}
