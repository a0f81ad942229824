//! Channels to control nodes. One per endpoint and invocation; a channel that broke is made anew.

use std::error::Error;
use std::time::Duration;

use berth_state::pb::api::registry_client::RegistryClient;
use tonic::transport::{Channel, Endpoint};

use super::Client;

/// For the TCP connection to one node: a node that is there answers within this, also over a long line.
const CONNECT: Duration = Duration::from_secs(1);
/// How soon a stream whose node died without a word is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// As on the server: a full read of a large registry.
const MAX_MESSAGE_BYTES: usize = 64 << 20;

impl Client {
    /// Connected, so that a failure of the call itself is not mistaken for a node that is not there.
    pub(super) async fn connect(&mut self, endpoint: &str) -> Result<RegistryClient<Channel>, String> {
        let channel = match self.channels.get(endpoint) {
            Some(channel) => channel.clone(),
            None => {
                let channel = dial(endpoint).await?;
                self.channels.insert(endpoint.to_owned(), channel.clone());
                channel
            }
        };
        Ok(RegistryClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES))
    }
}

async fn dial(endpoint: &str) -> Result<Channel, String> {
    let target = Endpoint::from_shared(format!("http://{endpoint}")).map_err(|e| chain(&e))?;
    let target = target
        .connect_timeout(CONNECT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true);
    // Also bounds what the connect timeout does not: the name's resolution.
    match tokio::time::timeout(CONNECT * 2, target.connect()).await {
        Ok(connected) => connected.map_err(|e| chain(&e)),
        Err(_) => Err("no answer".to_owned()),
    }
}

/// The innermost cause: the layers above it say "transport error" only.
fn chain(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
