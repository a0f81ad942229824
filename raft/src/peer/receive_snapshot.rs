//! Receives one snapshot: the file, then the events this node lacks. Called by the peer service. It changes nothing of this node's
//! state; that is done by the install that follows, and only with a transfer that is whole.

use std::time::Duration;

use tonic::{Status, Streaming};
use tracing::info;

use crate::peer::convert;
use crate::peer::identity::Doorman;
use crate::peer::pb;
use crate::peer::pb::snapshot_part::Part;
use crate::store::snapshot::{SnapshotError, SnapshotHandle, SnapshotReceiver, Snapshots};
use crate::types::{Snapshot, Vote};

/// A leader that sends nothing for so long is gone.
const IDLE: Duration = Duration::from_secs(30);

/// Why a transfer came to nothing.
#[derive(Debug, thiserror::Error)]
enum ReceiveError {
    #[error("a snapshot begins with its header")]
    NoHeader,
    #[error("{part} came where a snapshot cannot have it")]
    Misplaced { part: &'static str },
    #[error("the transfer was cut off: it came to its end without saying so")]
    CutOff,
    #[error("nothing came for {IDLE:?}")]
    Silent,
    #[error("{received} events came, {announced} were sent")]
    EventsLost { received: u64, announced: u64 },
    #[error(transparent)]
    Store(#[from] SnapshotError),
}

impl From<ReceiveError> for Status {
    fn from(error: ReceiveError) -> Self {
        match &error {
            ReceiveError::NoHeader | ReceiveError::Misplaced { .. } => Self::invalid_argument(error.to_string()),
            ReceiveError::CutOff | ReceiveError::EventsLost { .. } => Self::data_loss(error.to_string()),
            ReceiveError::Silent => Self::deadline_exceeded(error.to_string()),
            ReceiveError::Store(_) => Self::internal(error.to_string()),
        }
    }
}

/// Returns the sender's vote and the snapshot, ready to be installed.
///
/// # Errors
/// The sender was refused, the transfer was not whole, or the disk failed.
pub(super) async fn receive(
    doorman: &Doorman,
    snapshots: &Snapshots,
    mut stream: Streaming<pb::SnapshotPart>,
) -> Result<(Vote, Snapshot), Status> {
    let Some(Part::Header(header)) = next(&mut stream).await? else { return Err(ReceiveError::NoHeader.into()) };
    let sender = doorman.admit(header.envelope.as_ref())?;
    let vote = convert::vote_from_pb(header.vote)?;
    let snapshots = snapshots.clone();
    let receiver = blocking(move || snapshots.receive()).await?;
    let handle = receive_body(receiver, &mut stream).await?;
    let meta = handle.manifest().meta();
    info!(sender, %meta, bytes = handle.len_bytes(), "a snapshot has arrived");
    Ok((vote, Snapshot { meta, snapshot: handle }))
}

async fn receive_body(mut receiver: SnapshotReceiver, stream: &mut Streaming<pb::SnapshotPart>) -> Result<SnapshotHandle, Status> {
    let mut received: u64 = 0;
    loop {
        match next(stream).await? {
            Some(Part::Header(_)) => return Err(ReceiveError::Misplaced { part: "a second header" }.into()),
            Some(Part::Bytes(_)) if received > 0 => return Err(ReceiveError::Misplaced { part: "a piece of the file after events" }.into()),
            Some(Part::Bytes(piece)) => {
                receiver = blocking(move || receiver.write_chunk(piece.offset, &piece.data).map(|()| receiver)).await?;
            }
            Some(Part::Events(batch)) => {
                received += batch.events.len() as u64;
                let events = batch.events.into_iter().map(convert::event_from_pb).collect::<Result<Vec<_>, _>>()?;
                receiver = blocking(move || receiver.write_events(&events).map(|()| receiver)).await?;
            }
            Some(Part::End(pb::SnapshotEnd { events: announced })) => {
                if announced != received {
                    return Err(ReceiveError::EventsLost { received, announced }.into());
                }
                return blocking(move || receiver.finish()).await;
            }
            None => return Err(ReceiveError::CutOff.into()),
        }
    }
}

/// The next part; `None` at the end of the stream.
async fn next(stream: &mut Streaming<pb::SnapshotPart>) -> Result<Option<Part>, Status> {
    match tokio::time::timeout(IDLE, stream.message()).await {
        Ok(Ok(Some(message))) => match message.part {
            Some(part) => Ok(Some(part)),
            None => Err(ReceiveError::Misplaced { part: "an unknown part" }.into()),
        },
        Ok(Ok(None)) => Ok(None),
        Ok(Err(status)) => Err(status),
        Err(_elapsed) => Err(ReceiveError::Silent.into()),
    }
}

/// Disk work, off the runtime's threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, SnapshotError> + Send + 'static) -> Result<T, Status> {
    let done =
        tokio::task::spawn_blocking(work).await.map_err(|e| Status::internal(format!("receiving a snapshot was broken off: {e}")))?;
    done.map_err(|e| ReceiveError::Store(e).into())
}
