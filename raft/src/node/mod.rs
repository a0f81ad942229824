//! openraft assembled on our store and peer network: what the rest of this crate knows of Raft.
//!
//! - [`config`]: how a node is run. [`members`]: the list a new group begins with. [`error`]: why a node could not start.
//! - [`start`]: opens the store, checks that it is this node's, starts Raft. [`bootstrap`]: the first membership, once in the life of a group.
//! - [`propose`]: the one way to write. [`read`]: linearizable reads, and what is applied here.
//! - [`leadership`]: who leads, and whether this leader may act yet (L11). [`status`]: numbers for people.
//!
//! A node that was cut off and comes back disturbs nobody. While it is away it asks for pre-votes, which no one can grant (a transport failure
//! is never a grant, see [`crate::peer::client`]), so its term stays what it was. Back again, its pre-votes are refused by all who hear a
//! leader, until that leader's next heartbeat makes it follow. A leader that was cut off leads on in name only: after one election timeout
//! without a majority openraft refuses proposals before they enter its log, reads fail at once, and with the first answer of a peer it
//! learns the higher term. What it had in its log by then is overwritten or, if the others have it too, committed: hence Unknown.

pub mod bootstrap;
pub mod config;
pub mod error;
pub mod leadership;
pub mod members;
pub mod propose;
pub mod read;
pub mod start;
pub mod status;

pub use config::{Compaction, NodeConfig, Timing};
pub use error::NodeError;
pub use leadership::Leadership;
pub use members::InitialMembers;
pub use propose::ProposeError;
pub use read::ReadError;
pub use start::Node;
pub use status::{MemberStatus, NodeStatus};
