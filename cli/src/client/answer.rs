//! What a call that was not carried out means, by the metadata that api.proto describes. Pure.

use tonic::{Code, Status};

const ERROR: &str = "berth-error";
const LEADER: &str = "berth-leader";
const CLUSTER: &str = "berth-cluster";

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Not this node; the leader's address when it is known.
    NotLeader {
        leader: Option<String>,
    },
    NoQuorum(String),
    /// The node does not know whether it was done.
    Unknown(String),
    WrongCluster {
        actual: String,
    },
    Busy,
    NotFound(String),
    /// An event of the node's log is not what its rolling hash says.
    CorruptHistory(String),
    /// The node says no, and no other will say yes.
    Failed(String),
    /// No word from the node: the connection broke, or something between us and it answered.
    Lost(String),
}

#[must_use]
pub fn classify(status: &Status) -> Refused {
    let meta = |key: &str| status.metadata().get(key).and_then(|value| value.to_str().ok());
    let message = status.message().to_owned();
    match meta(ERROR) {
        Some("not-leader") => {
            let leader = meta(LEADER).and_then(|hint| hint.split_once('=')).map(|(_, address)| address.to_owned());
            Refused::NotLeader { leader: leader.filter(|address| !address.is_empty()) }
        }
        Some("no-quorum") => Refused::NoQuorum(message),
        Some("unknown") => Refused::Unknown(message),
        Some("wrong-cluster") => Refused::WrongCluster { actual: meta(CLUSTER).unwrap_or("another one").to_owned() },
        Some("busy") => Refused::Busy,
        Some("corrupt-history") => Refused::CorruptHistory(message),
        Some("not-found") => Refused::NotFound(message),
        // A kind that a newer server may have: it did answer, so it is an error, with its text.
        Some(_) => Refused::Failed(message),
        None => without_word(status.code(), message),
    }
}

/// A status that no control node made by itself.
fn without_word(code: Code, message: String) -> Refused {
    match code {
        Code::Unimplemented => Refused::Failed(format!("this is no Berth control node, or one of another version ({message})")),
        Code::InvalidArgument | Code::OutOfRange | Code::Unauthenticated | Code::PermissionDenied => Refused::Failed(message),
        Code::NotFound => Refused::NotFound(message),
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::AlreadyExists
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => Refused::Lost(if message.is_empty() { format!("{code:?}") } else { message }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: Code, pairs: &[(&'static str, &'static str)]) -> Status {
        let mut status = Status::new(code, "text");
        for (key, value) in pairs {
            status.metadata_mut().insert(*key, value.parse().unwrap());
        }
        status
    }

    #[test]
    fn the_metadata_says_what_happened_not_the_grpc_code() {
        let table = [
            (vec![(ERROR, "not-leader"), (LEADER, "2=n2:7400")], Refused::NotLeader { leader: Some("n2:7400".to_owned()) }),
            (vec![(ERROR, "not-leader")], Refused::NotLeader { leader: None }),
            (vec![(ERROR, "not-leader"), (LEADER, "nonsense")], Refused::NotLeader { leader: None }),
            (vec![(ERROR, "no-quorum")], Refused::NoQuorum("text".to_owned())),
            (vec![(ERROR, "unknown")], Refused::Unknown("text".to_owned())),
            (vec![(ERROR, "wrong-cluster"), (CLUSTER, "ab")], Refused::WrongCluster { actual: "ab".to_owned() }),
            (vec![(ERROR, "busy")], Refused::Busy),
            (vec![(ERROR, "not-found")], Refused::NotFound("text".to_owned())),
            (vec![(ERROR, "corrupt-history")], Refused::CorruptHistory("text".to_owned())),
            (vec![(ERROR, "failed")], Refused::Failed("text".to_owned())),
            (vec![(ERROR, "of-the-future")], Refused::Failed("text".to_owned())),
        ];
        for (pairs, want) in table {
            assert_eq!(classify(&status(Code::Unavailable, &pairs)), want);
        }
    }

    #[test]
    fn a_status_without_our_metadata_leaves_the_outcome_open() {
        for code in [Code::Unavailable, Code::Unknown, Code::Cancelled, Code::DeadlineExceeded, Code::Internal] {
            assert_eq!(classify(&status(code, &[])), Refused::Lost("text".to_owned()));
        }
        assert!(matches!(classify(&status(Code::Unimplemented, &[])), Refused::Failed(_)));
    }
}
