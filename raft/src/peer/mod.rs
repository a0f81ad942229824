//! Traffic between the nodes of one group, over gRPC (proto/peer.proto). Assembled by `node`; decides nothing, openraft does.
//!
//! - [`client`]: openraft's network. [`links`]: the connections. [`connect`]: the one seam to the network.
//! - [`service`]: the answering side. [`convert`]: openraft's types and the messages.
//! - [`identity`]: who may speak to whom. [`acquaintances`]: the stores of the peers, remembered on disk. [`greeter`]: gets to know them early.
//! - [`send_snapshot`], [`receive_snapshot`]: a snapshot and the events a follower lacks. [`heard`]: when the leader last spoke. [`pb`]: generated.

pub mod acquaintances;
pub mod client;
pub mod connect;
pub mod convert;
pub mod greeter;
pub mod heard;
pub mod identity;
pub mod links;
pub mod pb;
pub mod receive_snapshot;
pub mod send_snapshot;
pub mod service;
