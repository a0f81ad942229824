//! Messages of the link's streams, between protobuf and the executor's own types. Called by `link` only.

use berth_state::codec::{CodecError, Wire};
use berth_state::ids::{Incarnation, Revision, Token};
use berth_state::noun::host::FencedHolder;
use berth_state::noun::lease::Lease;
use berth_state::pb::api;

use crate::assignments::{AssignmentUpdate, Position};
use crate::control::{LogDelivery, LogOrder};

pub(crate) fn assignments(pb: api::AssignmentsResponse) -> Result<AssignmentUpdate, CodecError> {
    let leases: Result<Vec<Lease>, CodecError> = pb.leases.into_iter().map(Lease::from_pb).collect();
    let fenced: Result<Vec<FencedHolder>, CodecError> = pb.fenced.into_iter().map(FencedHolder::from_pb).collect();
    Ok(AssignmentUpdate {
        position: Position { incarnation: Incarnation(pb.incarnation), revision: Revision(pb.revision) },
        full: pb.full,
        leases: leases?,
        gone: pb.gone_tokens.into_iter().map(Token).collect(),
        fenced: fenced?,
    })
}

pub(crate) fn delivery(delivery: LogDelivery) -> api::LogDelivery {
    let LogDelivery { order, stderr, data, end, error } = delivery;
    api::LogDelivery { session: 0, order, stderr, data, end, error }
}

pub(crate) fn log_order(pb: api::LogOrder) -> LogOrder {
    LogOrder { order: pb.order, token: Token(pb.token), follow: pb.follow, tail_lines: pb.tail_lines, cancel: pb.cancel }
}
