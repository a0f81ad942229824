//! Channels to the peers, kept for as long as the node runs. Used by the peer client and the greeter. One connection per target and lane: a
//! snapshot of gigabytes must not stand in front of a heartbeat.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tonic::transport::Channel;

use crate::peer::connect::{ConnectError, Connector};
use crate::peer::pb::peer_client::PeerClient;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Log entries and votes.
    Log,
    Heartbeat,
    Snapshot,
}

/// Largest message between nodes. An append is cut at about 2 MiB by the store; the rest is room for one very large command.
pub const MAX_MESSAGE_BYTES: usize = 64 << 20;

pub struct Links {
    connector: Arc<dyn Connector>,
    /// At most one per member and lane. The address is kept to notice a member that moved.
    channels: Mutex<BTreeMap<(u64, Lane), (String, Channel)>>,
}

impl Links {
    #[must_use]
    pub fn new(connector: Arc<dyn Connector>) -> Self {
        Self { connector, channels: Mutex::new(BTreeMap::new()) }
    }

    /// The stub of a peer; connects when it is used.
    ///
    /// # Errors
    /// The address makes no sense.
    pub fn to(&self, node: u64, address: &str, lane: Lane) -> Result<PeerClient<Channel>, ConnectError> {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        let channel = match channels.get(&(node, lane)) {
            Some((at, channel)) if at == address => channel.clone(),
            Some(_) | None => {
                let channel = self.connector.channel(address)?;
                channels.insert((node, lane), (address.to_owned(), channel.clone()));
                channel
            }
        };
        Ok(PeerClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES).max_encoding_message_size(MAX_MESSAGE_BYTES))
    }
}
