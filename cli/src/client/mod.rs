//! The client library: one [`Client`] per invocation. Every call is bounded by the overall timeout, looks for the leader by itself, and maps what
//! goes wrong to a [`Failure`](crate::failure::Failure).
//!
//! - [`answer`]: what a refused call means. [`route`]: from node to node until one answers. [`connect`]: channels.
//! - [`mod@write`]: one request id per write, kept over all tries. [`registry`]: linearizable reads. [`events`]: history and watch. [`logs`].
//! - [`nodes`]: each node asked by itself. [`reason`]: why. [`actor`]: who asks. [`retry`]: the command line that asks again.

pub mod actor;
pub mod answer;
pub mod connect;
pub mod events;
pub mod logs;
pub mod nodes;
pub mod reason;
pub mod registry;
pub mod retry;
pub mod route;
pub mod write;

use std::collections::BTreeMap;
use std::time::Duration;

use berth_state::ids::{ClusterId, RequestId};
use tonic::transport::Channel;

use crate::config::Config;

pub struct Client {
    endpoints: Vec<String>,
    cluster: Option<ClusterId>,
    timeout: Duration,
    stale: bool,
    request: Option<RequestId>,
    /// Who answered as leader last; asked first.
    leader: Option<String>,
    channels: BTreeMap<String, Channel>,
}

impl Client {
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self {
            endpoints: config.endpoints.clone(),
            cluster: config.cluster,
            timeout: config.timeout,
            stale: config.stale,
            request: config.request,
            leader: None,
            channels: BTreeMap::new(),
        }
    }

    /// Whether the user named the request id.
    #[must_use]
    pub fn has_request(&self) -> bool {
        self.request.is_some()
    }

    /// Whether reads are of one node's own copy.
    #[must_use]
    pub fn reads_stale(&self) -> bool {
        self.stale
    }

    /// As requests carry it; empty: any cluster.
    fn cluster_bytes(&self) -> Vec<u8> {
        self.cluster.map(|id| id.0.to_vec()).unwrap_or_default()
    }
}
