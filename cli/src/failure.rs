//! Why a client command did not succeed: one type, from which both the text for the person and the exit code follow. Made everywhere in
//! the client, handled in `cli::main` only.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use berth_state::codec::CodecError;
use berth_state::ids::{ClusterId, RequestId};
use berth_state::rejection::{Class, Rejection};

use crate::exit::Exit;

#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("{0}")]
    Usage(String),
    #[error("configuration file {}: {why}", path.display())]
    Config { path: PathBuf, why: String },
    #[error("cannot read {}", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{0}")]
    NotFound(String),
    #[error("refused: {0}")]
    Rejected(Rejection),
    /// The same kind of no as a rejection, said before anything was sent.
    #[error("refused: {0}")]
    Alive(String),
    #[error("{endpoint} belongs to cluster {actual}, not to {expected}: check --cluster-id (BERTH_CLUSTER_ID) and --endpoints")]
    WrongCluster { endpoint: String, expected: String, actual: String },
    #[error("no quorum: {why}\nnothing was written; `berth status` shows which nodes answer, `--stale` reads without a quorum")]
    NoQuorum { why: String },
    #[error(
        "no server is reachable, so there is no quorum to ask ({tried})\nis `berth server` running? --endpoints (BERTH_ENDPOINTS) says where"
    )]
    Unreachable { tried: String },
    #[error(
        "outcome unknown: {why}\nrequest id {request}: the write may have happened or may still happen. To learn its outcome, or to do it if it was not done:\n  {retry}"
    )]
    Unknown { request: RequestId, why: String, retry: String },
    #[error("{endpoint} has too much in flight; nothing was written, repeat later")]
    Busy { endpoint: String },
    #[error("{endpoint}: {message}")]
    Server { endpoint: String, message: String },
    #[error("{endpoint} sent what this version cannot read; use the same version on both sides")]
    Undecodable {
        endpoint: String,
        #[source]
        source: CodecError,
    },
    #[error("{endpoint} answered without {what}; use the same version on both sides")]
    Incomplete { endpoint: String, what: &'static str },
    #[error("{endpoint}: {message}")]
    CorruptHistory { endpoint: String, message: String },
    #[error("not proved: {0}")]
    Unproven(String),
    #[error("no answer within {}: {why}", crate::parse::duration::text(*.after))]
    TimedOut { after: Duration, why: String },
    #[error("waited {} for {goal}; now: {now}\nthe request itself was accepted; look again with `berth ps` or `berth why`", crate::parse::duration::text(*.after))]
    WaitTimedOut { after: Duration, goal: String, now: String },
    #[error("{0}")]
    Ended(String),
    #[error("cannot write the output")]
    Output(#[source] io::Error),
    #[error("no random number for a request id: {0}")]
    Random(String),
}

impl Failure {
    #[must_use]
    pub fn wrong_cluster(endpoint: &str, expected: Option<ClusterId>, actual: &str) -> Self {
        let expected = expected.map_or_else(|| "the one asked for".to_owned(), |id| id.to_string());
        Self::WrongCluster { endpoint: endpoint.to_owned(), expected, actual: actual.to_owned() }
    }

    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) | Self::Config { .. } | Self::File { .. } => Exit::Usage,
            Self::NotFound(_) => Exit::NotFound,
            Self::Rejected(rejection) => match rejection.class() {
                Class::NotFound => Exit::NotFound,
                Class::Held => Exit::Held,
                Class::Other => Exit::Error,
            },
            Self::Alive(_) => Exit::Held,
            Self::NoQuorum { .. } | Self::Unreachable { .. } => Exit::NoQuorum,
            Self::Unknown { .. } => Exit::Unknown,
            Self::WaitTimedOut { .. } => Exit::WaitTimedOut,
            Self::Unproven(_) => Exit::Differences,
            // A reader that left has what it wanted.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Ok,
            Self::WrongCluster { .. }
            | Self::Busy { .. }
            | Self::Server { .. }
            | Self::Undecodable { .. }
            | Self::Incomplete { .. }
            | Self::CorruptHistory { .. }
            | Self::TimedOut { .. }
            | Self::Ended(_)
            | Self::Output(_)
            | Self::Random(_) => Exit::Error,
        }
    }

    /// Whether asking again in a moment may help: what `--wait` rides out.
    #[must_use]
    pub fn passes(&self) -> bool {
        match self {
            Self::NoQuorum { .. } | Self::Unreachable { .. } | Self::Busy { .. } | Self::TimedOut { .. } => true,
            Self::Usage(_)
            | Self::Config { .. }
            | Self::File { .. }
            | Self::NotFound(_)
            | Self::Rejected(_)
            | Self::Alive(_)
            | Self::WrongCluster { .. }
            | Self::Unknown { .. }
            | Self::Server { .. }
            | Self::Undecodable { .. }
            | Self::Incomplete { .. }
            | Self::CorruptHistory { .. }
            | Self::Unproven(_)
            | Self::WaitTimedOut { .. }
            | Self::Ended(_)
            | Self::Output(_)
            | Self::Random(_) => false,
        }
    }
}
