//! One control node, assembled: store, Raft, services and leader loops behind one port. Called by `berth server` and by tests. Holds no rule.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use berth_state::ids::ClusterId;
use berth_state::noun::cluster::Settings;
use berth_state::pb::api::executors_server::ExecutorsServer;
use berth_state::pb::api::registry_server::RegistryServer;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::api::executors::ExecutorsService;
use crate::api::keepalives::Keepalives;
use crate::api::logs::LogRelay;
use crate::api::registry::RegistryService;
use crate::core::Core;
use crate::leader::driver::Driver;
use crate::node::{Node, NodeConfig, NodeError};

/// How one control node is run.
pub struct ServerConfig {
    pub node: NodeConfig,
    pub cluster: ClusterId,
    /// What a new cluster begins with; an existing one keeps its own.
    pub settings: Settings,
    pub listen: SocketAddr,
}

/// Why a control node could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error("cannot listen on {address}: is another process on that port?")]
    Listen {
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
    #[error(transparent)]
    Node(#[from] NodeError),
    #[error("the gRPC server ended")]
    Serve(#[from] tonic::transport::Error),
}

/// Largest message on this port: an append of about 1 MiB and its envelope, a full read of a large registry.
pub const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// A connection whose peer answers nothing for this long, twice, is closed.
const KEEPALIVE: Duration = Duration::from_secs(5);
/// What calls under way get at shutdown.
const FAREWELL: Duration = Duration::from_secs(1);

/// Runs the node until `shutdown`; then leaves cleanly. Prints nothing; `ready` is called with the bound address once the port is open.
///
/// # Errors
/// The port is taken, the store is foreign or damaged, or the server ended.
pub async fn run(config: ServerConfig, shutdown: CancellationToken, ready: impl FnOnce(SocketAddr)) -> Result<(), ServerError> {
    let listen_error = |source| ServerError::Listen { address: config.listen, source };
    // The port first: a second node on it must fail before it touches the store.
    let listener = TcpListener::bind(config.listen).await.map_err(listen_error)?;
    let address = listener.local_addr().map_err(listen_error)?;
    let clock = config.node.clock.clone();
    let node = Node::start(config.node).await?;
    let peers = node.peer_service();
    let core = Arc::new(Core::new(node, config.cluster, config.settings, clock, shutdown.clone()));
    let logs = LogRelay::default();
    let (keepalives, batcher) = Keepalives::new(core.clone());
    let batcher = tokio::spawn(batcher.run(shutdown.clone()));
    let driver = tokio::spawn(Driver::new(core.clone()).run(shutdown.clone()));
    let registry = RegistryServer::new(RegistryService::new(core.clone(), logs.clone())).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let executors =
        ExecutorsServer::new(ExecutorsService::new(core.clone(), keepalives, logs)).max_decoding_message_size(MAX_MESSAGE_BYTES);
    info!(node = core.node().id(), %address, cluster = %config.cluster, "control node is up");
    ready(address);
    let serving = tonic::transport::Server::builder()
        .tcp_nodelay(true)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .add_service(registry)
        .add_service(executors)
        .add_service(peers)
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), shutdown.clone().cancelled_owned());
    let served = tokio::select! {
        served = serving => served,
        // Calls that are under way get a moment; a stream that a client keeps open does not hold up the end.
        () = async { shutdown.cancelled().await; tokio::time::sleep(FAREWELL).await } => Ok(()),
    };
    shutdown.cancel();
    let _ = batcher.await;
    let _ = driver.await;
    core.node().shutdown().await;
    served.map_err(ServerError::from)
}
