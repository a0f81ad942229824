//! A socket between the runtime and the real engine that can hang: to see what a stuck dockerd does without sticking the
//! machine's. Called by tests only. Must never change a byte.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What does not get through at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Open,
    /// Requests reach the engine, its answers are held back.
    NoAnswers,
    /// Nothing gets through either way.
    Hung,
}

/// Serves until dropped.
pub struct Proxy {
    folder: tempfile::TempDir,
    mode: Arc<watch::Sender<Mode>>,
    server: tokio::task::JoinHandle<()>,
    cut: Arc<watch::Sender<u32>>,
    trap: Trap,
}

/// A piece of a request that turns the mode to [`Mode::NoAnswers`] when it comes by.
type Trap = Arc<Mutex<Option<&'static str>>>;

impl Proxy {
    pub fn new(target: PathBuf) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("proxy.sock")).unwrap();
        let mode = Arc::new(watch::Sender::new(Mode::Open));
        let cut = Arc::new(watch::Sender::new(0));
        let trap = Trap::default();
        let server = tokio::spawn(serve(listener, target, mode.clone(), cut.clone(), trap.clone()));
        Self { folder, mode, server, cut, trap }
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("proxy.sock")
    }

    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// From the next request that contains `piece` on, answers are held back; that request's own too.
    pub fn hold_answers_after(&self, piece: &'static str) {
        *self.trap.lock().unwrap() = Some(piece);
    }

    /// Breaks every open connection, as a restarting engine does.
    pub fn cut(&self) {
        self.cut.send_modify(|times| *times += 1);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(listener: UnixListener, target: PathBuf, mode: Arc<watch::Sender<Mode>>, cut: Arc<watch::Sender<u32>>, trap: Trap) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let (mode, mut cut, target, trap) = (mode.clone(), cut.subscribe(), target.clone(), trap.clone());
        connections.spawn(async move {
            tokio::select! {
                () = forward(client, &target, &mode, &trap) => {}
                _ = cut.changed() => {}
            }
        });
    }
}

async fn forward(client: UnixStream, target: &Path, mode: &watch::Sender<Mode>, trap: &Trap) {
    let Ok(engine) = UnixStream::connect(target).await else { return };
    let (from_client, to_client) = client.into_split();
    let (from_engine, to_engine) = engine.into_split();
    let spring = |bytes: &[u8]| {
        let mut trap = trap.lock().unwrap();
        if trap.is_some_and(|piece| String::from_utf8_lossy(bytes).contains(piece)) {
            *trap = None;
            mode.send_replace(Mode::NoAnswers);
        }
    };
    let requests = pump(from_client, to_engine, mode.subscribe(), |mode| mode != Mode::Hung, spring);
    let answers = pump(from_engine, to_client, mode.subscribe(), |mode| mode == Mode::Open, |_| ());
    tokio::join!(requests, answers);
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut mode: watch::Receiver<Mode>,
    passes: fn(Mode) -> bool,
    see: impl Fn(&[u8]),
) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        see(&buffer[..read]);
        if mode.wait_for(|mode| passes(*mode)).await.is_err() || to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
    let _closed_already = tokio::time::timeout(Duration::from_secs(1), to.shutdown()).await;
}
