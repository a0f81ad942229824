//! The doors to claimed leases: the control socket for `berth lease run`, and Docker's plugin sockets. Each is a task of its own, so that none waits for
//! another or for the manager. Run by the executor until it ends.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::sync::watch;
use tracing::{error, info};

use super::claims::Claims;
use super::{External, SOCKET, local};
use crate::authz::Authorizer;
use crate::context::Context;
use crate::event::Statuses;
use crate::plugin::VolumePlugin;
use crate::plugin::server::{self, Handler};

/// Names of the sockets in Docker's plugin folder, and with it of the plugins.
const VOLUME_SOCKET: &str = "berth.sock";
const AUTHZ_SOCKET: &str = "berth-authz.sock";
const RETRY: Duration = Duration::from_secs(2);

/// Which doors are open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExternalConfig {
    /// `<run>/executor.sock`, for `berth lease run`.
    pub local: bool,
    /// Docker's folder of plugin sockets; `None`: no volume plugin.
    pub docker_plugins: Option<PathBuf>,
    /// The authorization plugin too, in the same folder.
    pub docker_authz: bool,
}

impl ExternalConfig {
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.local || self.docker_plugins.is_some()
    }
}

/// Never ends, unless the executor does.
pub async fn serve(
    context: Arc<Context>,
    external: Option<Arc<External>>,
    config: ExternalConfig,
    run: PathBuf,
    statuses: watch::Receiver<Statuses>,
) {
    let Some(external) = external else { return std::future::pending().await };
    let claims = Claims::new(context, Arc::clone(&external), statuses);
    let mut doors: Vec<futures::future::BoxFuture<'static, ()>> = vec![];
    if config.local {
        let (socket, claims) = (run.join(SOCKET), claims.clone());
        doors.push(Box::pin(async move { local::serve(listen(&socket).await, claims).await }));
    }
    if let Some(folder) = config.docker_plugins {
        let plugin: Arc<dyn Handler> = Arc::new(VolumePlugin::new(claims));
        doors.push(plugin_door(folder.join(VOLUME_SOCKET), plugin));
        if config.docker_authz {
            doors.push(plugin_door(folder.join(AUTHZ_SOCKET), Arc::new(Authorizer::new(external))));
        }
    }
    futures::future::join_all(doors).await;
    std::future::pending::<()>().await;
}

fn plugin_door(socket: PathBuf, handler: Arc<dyn Handler>) -> futures::future::BoxFuture<'static, ()> {
    Box::pin(async move { server::serve(listen(&socket).await, handler).await })
}

/// In place of the socket that a former process left: only one executor has this host's ledger. Root's alone.
async fn listen(socket: &Path) -> UnixListener {
    let mut told = String::new();
    loop {
        match bind(socket) {
            Ok(listener) => {
                info!(socket = %socket.display(), "listening");
                return listener;
            }
            // Once for each reason: a path that is too long stays so.
            Err(error) if error.to_string() == told => {}
            Err(error) => {
                error!(socket = %socket.display(), %error, "cannot listen");
                told = error.to_string();
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}

fn bind(socket: &Path) -> std::io::Result<UnixListener> {
    use std::os::unix::fs::PermissionsExt as _;
    if let Some(folder) = socket.parent() {
        std::fs::create_dir_all(folder)?;
    }
    // Under another name until it is root's alone: it is never reachable for others, and never missing.
    let fresh = socket.with_extension("new");
    match std::fs::remove_file(&fresh) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(&fresh)?;
    std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&fresh, socket)?;
    Ok(listener)
}
