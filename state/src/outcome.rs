//! What apply answers to a command: the same on every node, and the same again for a retried request.

use serde::Serialize;

use crate::ids::{LeaseId, Revision, Seq, SessionId, Token, Version};
use crate::rejection::Rejection;

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Outcome {
    Accepted(Accepted),
    Rejected(Rejection),
    /// Answers to a keepalive batch, in its order.
    Keepalives(Vec<KeepaliveAnswer>),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Accepted {
    /// Entry that did it; of the first attempt, when this answers a retry.
    pub revision: Revision,
    pub made: Made,
}

/// What the command made, where the caller needs to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Made {
    /// The command's effect says it all.
    Done,
    /// It was so already; no event was written.
    Unchanged,
    Version(Version),
    Lease {
        lease: LeaseId,
        token: Token,
    },
    Session(SessionId),
}

/// The apply result of one keepalive (L6, L7).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeepaliveAnswer {
    pub session: SessionId,
    pub seq: Seq,
    pub verdict: SessionVerdict,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum SessionVerdict {
    /// One verdict for each claimed token, in the order claimed.
    Heard { ttl_ms: u64, leases: Vec<(Token, LeaseVerdict)> },
    /// An older message came late: it changed nothing and means nothing.
    Stale,
    /// The session is not live, or of another incarnation: all its leases are gone for this holder.
    Gone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum LeaseVerdict {
    /// Renewed at this entry for `ttl_ms`.
    Live {
        ttl_ms: u64,
    },
    Gone(GoneReason),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum GoneReason {
    /// No un-ended lease has this token.
    Ended,
    Closing,
    Expired,
    /// Another session holds it.
    NotYours,
}
