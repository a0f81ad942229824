//! The codec: domain types ↔ protobuf, for disk and wire. The domain types are the truth; protobuf is their form. Called by whoever stores or
//! sends; decides nothing, and never panics on bytes, whatever they are.
//!
//! - here: whole commands, events and outcomes as bytes. [`Wire`]: a type and its message, for those who speak gRPC.
//! - `key`, `store`: stored objects: [`crate::state::ObjectKey::encode`], [`crate::ClusterState::objects`] and `load`.
//! - [`error`]; `wire`: the macros; `ids`, `registry`, `container`, `lease`, `session`, `command`, `event`, `answer`: one line for a type.

mod answer;
mod command;
mod container;
pub mod error;
mod event;
mod ids;
mod key;
mod lease;
mod registry;
mod session;
mod store;
mod wire;

use prost::Message;

use crate::command::{Command, Order};
use crate::event::Event;
use crate::outcome::Outcome;
use crate::pb;
pub use error::{CodecError, Held};
pub use wire::Wire;

/// Longest command in bytes. A leader that gathers a batch must cut it before this.
pub const MAX_COMMAND_BYTES: usize = 1 << 20;

/// Most entries of a batch in one command: keepalives, observed instances, tokens of one keepalive.
pub const MAX_BATCH: usize = 4_096;

#[must_use]
pub fn encode_command(command: &Command) -> Vec<u8> {
    command.to_pb().encode_to_vec()
}

/// # Errors
/// [`CodecError`], also when it is longer than [`MAX_COMMAND_BYTES`] or a batch than [`MAX_BATCH`]. The text is the same on every node of
/// the same version.
pub fn decode_command(bytes: &[u8]) -> Result<Command, CodecError> {
    let message = "Command";
    if bytes.len() > MAX_COMMAND_BYTES {
        return Err(CodecError::TooLong { message, bytes: bytes.len(), limit: MAX_COMMAND_BYTES });
    }
    let command = Command::from_pb(parse::<pb::state::Command>(message, bytes)?)?;
    check_batches(&command.order)?;
    Ok(command)
}

/// Whether every batch in the order keeps its bound.
///
/// # Errors
/// [`CodecError::TooMany`].
pub fn check_batches(order: &Order) -> Result<(), CodecError> {
    match order {
        Order::RecordKeepalives(batch) => {
            bounded("RecordKeepalives", "keepalives", batch.keepalives.len())?;
            batch.keepalives.iter().try_for_each(|k| bounded("Keepalive", "tokens", k.tokens.len()))
        }
        Order::BeginFenceAttempt(attempt) => bounded("BeginFenceAttempt", "tokens", attempt.tokens.len()),
        Order::RecordObservation(batch) => bounded("RecordObservation", "instances", batch.instances.len()),
        Order::InitCluster(_)
        | Order::ChangeSettings(_)
        | Order::RaiseFormat(_)
        | Order::AddHost(_)
        | Order::UpdateHost(_)
        | Order::RemoveHost(_)
        | Order::SetScheduling(_)
        | Order::SetHealth(_)
        | Order::AddVolume(_)
        | Order::UpdateVolume(_)
        | Order::RemoveVolume(_)
        | Order::AddContainer(_)
        | Order::UpdateContainer(_)
        | Order::RemoveContainer(_)
        | Order::SetDesired(_)
        | Order::RestartContainer(_)
        | Order::MoveContainer(_)
        | Order::GrantLease(_)
        | Order::WithdrawLease(_)
        | Order::RevokeLease(_)
        | Order::CloseLease(_)
        | Order::ExpireLease(_)
        | Order::StartFence(_)
        | Order::FenceLease(_)
        | Order::ReleaseLease(_)
        | Order::ClaimLease(_)
        | Order::EndFenceAttempt(_)
        | Order::UnfenceHost(_)
        | Order::StartLift(_)
        | Order::FinishLift(_)
        | Order::SuspectSplitBrain(_)
        | Order::ClearSuspicion(_)
        | Order::OpenSession(_)
        | Order::CloseSession(_)
        | Order::ExpireSession(_) => Ok(()),
    }
}

fn bounded(message: &'static str, field: &'static str, count: usize) -> Result<(), CodecError> {
    if count > MAX_BATCH { Err(CodecError::TooMany { message, field, count, limit: MAX_BATCH }) } else { Ok(()) }
}

#[must_use]
pub fn encode_event(event: &Event) -> Vec<u8> {
    event.to_pb().encode_to_vec()
}

/// # Errors
/// [`CodecError`].
pub fn decode_event(bytes: &[u8]) -> Result<Event, CodecError> {
    Event::from_pb(parse("Event", bytes)?)
}

#[must_use]
pub fn encode_outcome(outcome: &Outcome) -> Vec<u8> {
    outcome.to_pb().encode_to_vec()
}

/// # Errors
/// [`CodecError`].
pub fn decode_outcome(bytes: &[u8]) -> Result<Outcome, CodecError> {
    Outcome::from_pb(parse("Outcome", bytes)?)
}

fn parse<M: Message + Default>(message: &'static str, bytes: &[u8]) -> Result<M, CodecError> {
    M::decode(bytes).map_err(|source| CodecError::Malformed { message, source })
}
