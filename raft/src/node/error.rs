//! Why a node could not start. Every text says what to do; none of them goes away by trying again.

use openraft::ConfigError;

use crate::peer::acquaintances::OpenError;
use crate::store::StoreError;

#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    #[error("the timings of this node contradict each other")]
    Timing(#[from] ConfigError),
    #[error("node id 0 is not allowed: number the nodes from 1")]
    IdZero,
    #[error("node {id} is not in the member list {members}: every node of a new group is started with the same list, and is in it")]
    NotInList { id: u64, members: String },
    #[error("node {id} is told to be at {advertise}, and the member list has it at {listed}: make the two agree")]
    ListedElsewhere { id: u64, advertise: String, listed: String },
    #[error(
        "node {id} is told to be at {advertise}, and is a member of its group at {recorded}: start it with that address; \
         members keep the address they joined with"
    )]
    Moved { id: u64, advertise: String, recorded: String },
    #[error(
        "node {id} is no longer a member of its group: its data folder is of no more use; to come back it needs a new id and an empty folder"
    )]
    Removed { id: u64 },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Acquaintances(#[from] OpenError),
    #[error("raft could not start on this store: {why}")]
    Raft { why: String },
}
