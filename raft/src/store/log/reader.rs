//! What openraft reads from the log: replication, apply, and start-up. Many readers may run beside the one writer.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use futures::stream::{self, Stream};
use openraft::storage::{LeaderBoundedStreamError, LeaderBoundedStreamResult, RaftLogReader};
use openraft::{OptionalSend, errors::LeaderChanged};

use super::core::LogCore;
use crate::types::{Entry, LeaderId, TypeConfig, Vote};

/// How much one read or one append message carries, roughly: large enough to fill a link, small enough to keep a heartbeat from waiting.
const CHUNK_BYTES: usize = 1 << 20;

/// A reader of the log. Cheap to clone.
#[derive(Clone)]
pub struct LogReader {
    pub(super) core: Arc<LogCore>,
}

/// The half-open range of indices that a range means.
fn limits(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let from = match range.start_bound() {
        Bound::Included(index) => *index,
        Bound::Excluded(index) => index.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let to = match range.end_bound() {
        Bound::Included(index) => index.saturating_add(1),
        Bound::Excluded(index) => *index,
        Bound::Unbounded => u64::MAX,
    };
    (from, to)
}

/// A read that goes on in chunks. Later chunks must follow the first without a hole.
struct Cursor {
    core: Arc<LogCore>,
    next: u64,
    to: u64,
    started: bool,
}

impl Cursor {
    fn new(core: &Arc<LogCore>, range: &impl RangeBounds<u64>) -> Self {
        let (next, to) = limits(range);
        Self { core: core.clone(), next, to, started: false }
    }

    /// The next chunk; empty at the end.
    fn chunk(&mut self) -> io::Result<Vec<Entry>> {
        let entries = self.core.read(self.next, self.to, CHUNK_BYTES)?;
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
            return Ok(entries);
        };
        if self.started && first.log_id.index != self.next {
            let detail = format!("entry {} went away during a read", self.next);
            return Err(self.core.damaged(detail).to_io());
        }
        self.started = true;
        self.next = last.log_id.index + 1;
        Ok(entries)
    }

    /// The next chunk, if `leader` still leads, before and after the read: a truncation between the two would mix two logs.
    fn chunk_of(&mut self, leader: LeaderId) -> Result<Vec<Entry>, LeaderBoundedStreamError<TypeConfig>> {
        let leads = |core: &LogCore| -> Result<(), LeaderBoundedStreamError<TypeConfig>> {
            let vote = core.standing().vote;
            let same = vote.is_some_and(|vote| vote.committed && vote.leader_id == leader);
            if same { Ok(()) } else { Err(LeaderChanged::new(leader, vote).into()) }
        };
        leads(&self.core)?;
        let entries = self.chunk()?;
        leads(&self.core)?;
        Ok(entries)
    }
}

/// A stream of entries out of chunks; ends after the first error.
fn stream_of<E, F>(cursor: Cursor, chunk: F) -> impl Stream<Item = Result<Entry, E>> + Send
where
    E: Send,
    F: Fn(&mut Cursor) -> Result<Vec<Entry>, E> + Send,
{
    let start = (cursor, Vec::new().into_iter(), chunk, false);
    stream::unfold(start, |(mut cursor, mut ready, chunk, ended): (Cursor, std::vec::IntoIter<Entry>, F, bool)| async move {
        if ended {
            return None;
        }
        if let Some(entry) = ready.next() {
            return Some((Ok(entry), (cursor, ready, chunk, false)));
        }
        match chunk(&mut cursor) {
            Ok(entries) => {
                ready = entries.into_iter();
                let entry = ready.next()?;
                Some((Ok(entry), (cursor, ready, chunk, false)))
            }
            Err(e) => Some((Err(e), (cursor, ready, chunk, true))),
        }
    })
}

impl RaftLogReader<TypeConfig> for LogReader {
    async fn leader_bounded_stream<RB>(
        &mut self,
        leader: LeaderId,
        range: RB,
    ) -> impl Stream<Item = LeaderBoundedStreamResult<TypeConfig>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        Box::pin(stream_of(Cursor::new(&self.core, &range), move |cursor| cursor.chunk_of(leader)))
    }

    async fn entries_stream<RB>(&mut self, range: RB) -> impl Stream<Item = Result<Entry, io::Error>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        Box::pin(stream_of(Cursor::new(&self.core, &range), Cursor::chunk))
    }

    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        let (from, to) = limits(&range);
        Ok(self.core.read(from, to, usize::MAX)?)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.core.standing().vote)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, io::Error> {
        Ok(self.core.read(start, end, CHUNK_BYTES)?)
    }
}
