//! Sends one snapshot to one follower: the file, then the events the follower lacks. Called by the peer client for openraft. Nothing is
//! held in memory but the chunk on its way; a transfer that does not move is given up, and openraft begins again.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinError;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Response, Status};
use tracing::{error, info};

use crate::peer::convert::{self, BadMessage};
use crate::peer::identity::{Doorman, Refusal};
use crate::peer::pb;
use crate::peer::pb::peer_client::PeerClient;
use crate::peer::pb::snapshot_part::Part;
use crate::store::StoreError;
use crate::store::events::{EventHead, EventLog};
use crate::types::{Snapshot, Vote};

/// Of the file and of event payloads, in one message.
const CHUNK_BYTES: usize = 512 << 10;
/// Messages read ahead of the network.
const AHEAD: usize = 2;
/// The follower verifies, syncs and installs what it received before it answers.
const INSTALL_DEADLINE: Duration = Duration::from_secs(600);

/// Why a snapshot did not arrive. openraft tries again after its back-off.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    #[error("node {target} did not take the snapshot")]
    Call {
        target: u64,
        #[source]
        source: Status,
    },
    #[error("the snapshot for node {target} did not move for {idle:?}: is the node or its network overloaded?")]
    Stalled { target: u64, idle: Duration },
    #[error("node {target} closed the transfer of a snapshot early")]
    Closed { target: u64 },
    #[error("a snapshot of this node could not be read")]
    Read(#[source] io::Error),
    #[error("events for node {target} could not be sent")]
    Events {
        target: u64,
        #[source]
        source: StoreError,
    },
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    BadAnswer(#[from] BadMessage),
    #[error("reading a snapshot was broken off")]
    BrokenOff(#[from] JoinError),
}

/// What is to be sent, and to whom.
pub struct SnapshotJob<'a> {
    pub doorman: &'a Doorman,
    pub events: &'a EventLog,
    pub target: u64,
    pub vote: Vote,
    pub snapshot: Snapshot,
    /// Longest time without any progress.
    pub idle: Duration,
}

/// Returns the follower's vote after it installed the snapshot, or after it refused it for a higher one.
///
/// # Errors
/// [`SendError`].
pub async fn send(job: SnapshotJob<'_>, mut stub: PeerClient<Channel>) -> Result<Vote, SendError> {
    let have = ask_last_event(&job, &mut stub).await?;
    let bytes = job.snapshot.snapshot.len_bytes();
    info!(target = job.target, meta = %job.snapshot.meta, bytes, follower_event = ?have.map(|h| h.position()), "sending a snapshot");
    let (parts, taken) = mpsc::channel(AHEAD);
    let call = stub.install_snapshot(ReceiverStream::new(taken));
    tokio::pin!(call);
    let fed = tokio::select! {
        fed = feed(&job, have, parts) => fed,
        // Before all was sent: a refusal, and it says why.
        answer = &mut call => return finished(&job, answer),
    };
    let deadline = match fed {
        Ok(()) => INSTALL_DEADLINE,
        // The answer to the call says why it was closed.
        Err(SendError::Closed { .. }) => job.idle,
        Err(other) => return Err(other),
    };
    match tokio::time::timeout(deadline, call).await {
        Ok(answer) => finished(&job, answer),
        Err(_elapsed) => Err(SendError::Stalled { target: job.target, idle: deadline }),
    }
}

fn finished(job: &SnapshotJob<'_>, answer: Result<Response<pb::InstallSnapshotResponse>, Status>) -> Result<Vote, SendError> {
    let answer = answer.map_err(|source| SendError::Call { target: job.target, source })?.into_inner();
    job.doorman.recognise(job.target, &answer.store)?;
    let vote = convert::vote_from_pb(answer.vote)?;
    info!(target = job.target, %vote, "the snapshot was answered");
    Ok(vote)
}

async fn ask_last_event(job: &SnapshotJob<'_>, stub: &mut PeerClient<Channel>) -> Result<Option<EventHead>, SendError> {
    let question = pb::LastEventRequest { envelope: Some(job.doorman.envelope(job.target)) };
    let answer = match tokio::time::timeout(job.idle, stub.last_event(question)).await {
        Ok(answer) => answer.map_err(|source| SendError::Call { target: job.target, source })?.into_inner(),
        Err(_elapsed) => return Err(SendError::Stalled { target: job.target, idle: job.idle }),
    };
    job.doorman.recognise(job.target, &answer.store)?;
    Ok(answer.head.as_ref().map(convert::head_from_pb).transpose()?)
}

async fn feed(job: &SnapshotJob<'_>, have: Option<EventHead>, parts: mpsc::Sender<pb::SnapshotPart>) -> Result<(), SendError> {
    let header = pb::SnapshotHeader {
        envelope: Some(job.doorman.envelope(job.target)),
        vote: Some(convert::vote_to_pb(&job.vote)),
        after: have.as_ref().map(convert::head_to_pb),
    };
    push(job, &parts, Part::Header(header)).await?;
    feed_file(job, &parts).await?;
    let events = feed_events(job, have, &parts).await?;
    push(job, &parts, Part::End(pb::SnapshotEnd { events })).await
}

async fn feed_file(job: &SnapshotJob<'_>, parts: &mpsc::Sender<pb::SnapshotPart>) -> Result<(), SendError> {
    let mut offset = 0;
    loop {
        let handle = job.snapshot.snapshot.clone();
        let data: Bytes = tokio::task::spawn_blocking(move || handle.read_chunk(offset, CHUNK_BYTES)).await?.map_err(SendError::Read)?;
        if data.is_empty() {
            return Ok(());
        }
        let length = data.len() as u64;
        push(job, parts, Part::Bytes(pb::SnapshotBytes { offset, data })).await?;
        offset += length;
    }
}

/// Returns how many were sent.
async fn feed_events(job: &SnapshotJob<'_>, mut have: Option<EventHead>, parts: &mpsc::Sender<pb::SnapshotPart>) -> Result<u64, SendError> {
    let Some(up_to) = job.snapshot.snapshot.manifest().head.map(|head| head.position()) else { return Ok(0) };
    let mut sent = 0;
    loop {
        let events = job.events.clone();
        let batch = tokio::task::spawn_blocking(move || events.events_after(have.as_ref(), up_to, CHUNK_BYTES))
            .await?
            .map_err(|source| events_error(job.target, source))?;
        let Some(last) = batch.last() else { return Ok(sent) };
        have = Some(last.head());
        sent += batch.len() as u64;
        push(job, parts, Part::Events(pb::EventBatch { events: batch.into_iter().map(convert::event_to_pb).collect() })).await?;
    }
}

fn events_error(target: u64, source: StoreError) -> SendError {
    if matches!(source, StoreError::Diverged { .. }) {
        // Nothing is sent: neither history may be written over the other.
        error!(target, error = %source, "the history of a follower differs from this leader's");
    }
    SendError::Events { target, source }
}

/// Waits for room, which the follower makes by taking what came before.
async fn push(job: &SnapshotJob<'_>, parts: &mpsc::Sender<pb::SnapshotPart>, part: Part) -> Result<(), SendError> {
    match tokio::time::timeout(job.idle, parts.send(pb::SnapshotPart { part: Some(part) })).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_closed)) => Err(SendError::Closed { target: job.target }),
        Err(_elapsed) => Err(SendError::Stalled { target: job.target, idle: job.idle }),
    }
}
