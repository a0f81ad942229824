//! How leases and instances end: the cause, the evidence, the exit. Apart from `lease`, because containers remember it too.

use serde::Serialize;

use crate::ids::Revision;

/// How a lease ended (I5).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Ended {
    Withdrawn { why: WithdrawReason },
    Released { exit: Option<Exit> },
    Fenced { evidence: Evidence },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum WithdrawReason {
    NotActivated,
    NoLongerWanted,
    HostUnfit,
}

/// What proves that the holder writes no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Evidence {
    /// Expired at this entry, lock delay over, guard declared at the grant (L12).
    RanOut { expired_at: Revision },
    /// The storage acknowledged that it cut the token's identity off (L15).
    StorageCut,
    /// The host's power was confirmed off (L15).
    PoweredOff,
    /// A person's word.
    OperatorConfirmed { name: String, reason: String },
}

impl Evidence {
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::RanOut { .. } => "RanOut",
            Self::StorageCut => "StorageCut",
            Self::PoweredOff => "PoweredOff",
            Self::OperatorConfirmed { .. } => "OperatorConfirmed",
        }
    }
}

/// How an instance ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Exit {
    /// The command's code, or 128 + signal number; negative: it could not be started.
    pub code: i32,
    pub reason: String,
}
