//! Errors of the API that are no outcome of a command, as gRPC status with machine-readable metadata (api.proto lists them). Made here and
//! nowhere else, so that every service says them alike.

use berth_state::ids::{ClusterId, Revision};
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

/// Metadata key that names the kind of error.
pub const ERROR: &str = "berth-error";
/// Metadata key with `<node id>=<address>` of the leader.
pub const LEADER: &str = "berth-leader";
/// Metadata key with this cluster's id.
pub const CLUSTER: &str = "berth-cluster";

/// Why a call could not be carried out by this node now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    #[error("this node does not lead{}", leader.as_ref().map(|(id, address)| format!("; node {id} at {address} does")).unwrap_or_default())]
    NotLeader { leader: Option<(u64, String)> },
    #[error("no quorum: {why}; nothing was written")]
    NoQuorum { why: String },
    #[error("the outcome is unknown: {why}; repeat it with the same request id")]
    Unknown { why: String },
    #[error("this is cluster {actual}, not {expected}")]
    WrongCluster { expected: ClusterId, actual: ClusterId },
    #[error("too much is in flight; nothing was written, repeat later")]
    Busy,
    #[error("{field}: {reason}")]
    BadRequest { field: &'static str, reason: String },
    #[error("corrupt history at revision {revision} on node {node}: {why}; another node's may be whole: ask it with --endpoints")]
    CorruptHistory { node: u64, revision: Revision, why: String },
    #[error("{0}")]
    NotFound(String),
    #[error("{0}")]
    Failed(String),
}

impl ApiError {
    fn kind(&self) -> (&'static str, Code) {
        match self {
            Self::NotLeader { .. } => ("not-leader", Code::Unavailable),
            Self::NoQuorum { .. } => ("no-quorum", Code::Unavailable),
            Self::Unknown { .. } => ("unknown", Code::DeadlineExceeded),
            Self::WrongCluster { .. } => ("wrong-cluster", Code::FailedPrecondition),
            Self::Busy => ("busy", Code::ResourceExhausted),
            Self::BadRequest { .. } => ("bad-request", Code::InvalidArgument),
            Self::CorruptHistory { .. } => ("corrupt-history", Code::DataLoss),
            Self::NotFound(_) => ("not-found", Code::NotFound),
            Self::Failed(_) => ("failed", Code::Internal),
        }
    }
}

impl From<ApiError> for Status {
    fn from(error: ApiError) -> Self {
        let (kind, code) = error.kind();
        let mut status = Status::new(code, error.to_string());
        let metadata = status.metadata_mut();
        metadata.insert(ERROR, MetadataValue::from_static(kind));
        match &error {
            ApiError::NotLeader { leader: Some((id, address)) } => {
                if let Ok(value) = format!("{id}={address}").parse() {
                    metadata.insert(LEADER, value);
                }
            }
            ApiError::WrongCluster { actual, .. } => {
                if let Ok(value) = actual.to_string().parse() {
                    metadata.insert(CLUSTER, value);
                }
            }
            ApiError::NotLeader { leader: None }
            | ApiError::NoQuorum { .. }
            | ApiError::Unknown { .. }
            | ApiError::Busy
            | ApiError::BadRequest { .. }
            | ApiError::CorruptHistory { .. }
            | ApiError::NotFound(_)
            | ApiError::Failed(_) => {}
        }
        status
    }
}
