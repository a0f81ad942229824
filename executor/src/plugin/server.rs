//! HTTP/1.1 over a Unix socket for Docker's plugins: POST, a JSON body or none, always status 200 and a JSON body (Docker shows the text of `Err` as it is,
//! and anything else with noise around it). One task for each connection, so that a call that waits for a lease holds up no other.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tracing::{debug, warn};

/// The authorization plugin gets requests whole; Docker itself cuts their bodies at 1 MiB.
const LONGEST_BODY: usize = 8 * 1024 * 1024;
const MEDIA_TYPE: &str = "application/vnd.docker.plugins.v1.1+json";
const RETRY: Duration = Duration::from_millis(200);

/// Answers the calls of one plugin.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// `call`: such as `VolumeDriver.Mount`.
    async fn call(&self, call: &str, body: Bytes) -> Value;
}

/// Never ends, unless the executor does; then the connections end with it.
pub async fn serve(listener: UnixListener, handler: Arc<dyn Handler>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, Arc::clone(&handler)));
                }
                Err(error) => {
                    warn!(%error, "plugin socket");
                    tokio::time::sleep(RETRY).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: UnixStream, handler: Arc<dyn Handler>) {
    let service = service_fn(|request| answer(request, Arc::clone(&handler)));
    if let Err(error) = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await {
        debug!(%error, "plugin connection");
    }
}

async fn answer(request: Request<Incoming>, handler: Arc<dyn Handler>) -> Result<Response<Full<Bytes>>, Infallible> {
    let call = request.uri().path().trim_start_matches('/').to_owned();
    let value = match Limited::new(request.into_body(), LONGEST_BODY).collect().await {
        Ok(body) => handler.call(&call, body.to_bytes()).await,
        Err(error) => json!({ "Err": format!("the request cannot be read: {error}") }),
    };
    let mut response = Response::new(Full::new(Bytes::from(value.to_string())));
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(MEDIA_TYPE));
    Ok(response)
}
