//! The one place where this node opens connections to its peers. Used by the peer client; a simulation puts its own network behind [`Connector`].
//! It never retries a call: Raft does, with its own back-off.

use std::time::Duration;

use tonic::transport::{Channel, Endpoint};

/// An address that is none.
#[derive(Debug, thiserror::Error)]
#[error("{address:?} is no address of a node: write host:port")]
pub struct ConnectError {
    pub address: String,
    #[source]
    pub source: tonic::transport::Error,
}

/// Turns the address of a node into a channel to it.
pub trait Connector: Send + Sync + 'static {
    /// Returns at once; the channel connects with the first call and again after a failure.
    ///
    /// # Errors
    /// Only when the address makes no sense. That nobody answers is an error of the calls.
    fn channel(&self, address: &str) -> Result<Channel, ConnectError>;
}

/// TCP, as in production.
#[derive(Clone, Copy, Debug)]
pub struct TcpConnector {
    /// For one attempt to connect.
    pub connect_timeout: Duration,
    /// A connection on which nothing comes back for about twice this is dropped, so that after a partition that swallowed packets we do not
    /// wait for TCP's own, exponentially growing, retransmission.
    pub keepalive: Duration,
}

impl Default for TcpConnector {
    fn default() -> Self {
        Self { connect_timeout: Duration::from_secs(1), keepalive: Duration::from_secs(2) }
    }
}

impl Connector for TcpConnector {
    fn channel(&self, address: &str) -> Result<Channel, ConnectError> {
        let endpoint =
            Endpoint::from_shared(format!("http://{address}")).map_err(|source| ConnectError { address: address.to_owned(), source })?;
        Ok(endpoint
            .connect_timeout(self.connect_timeout)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(self.keepalive)
            .keep_alive_timeout(self.keepalive)
            .keep_alive_while_idle(true)
            .connect_lazy())
    }
}
