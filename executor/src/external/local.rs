//! The control socket: `berth lease run` claims here and holds its connection for as long as its command lives. One JSON object a line. Whoever can open the
//! socket is root on this host. When the connection ends without word, the command is killed: nobody looks after it any more.
//!
//! ```text
//! > {"volumes":["pg"],"wait_ms":0,"stop_grace_ms":10000}
//! < {"ready":{"token":57,"lease":57,"cgroup":"…","guard":["…","--page","…","--"],"environment":{…}}}   or   {"refused":{"kind":"held","line":"…"}}
//! > {"ended":0}
//! < {"released":true}
//! ```

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use berth_guard::arguments::Arguments;
use berth_state::ids::{Token, VolumeId};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tracing::warn;

use super::claims::{Claimed, Claims, Wanted};
use super::names::Kind;
use super::refusal::Refusal;

/// A request has a few names in it.
const LONGEST_LINE: u64 = 64 * 1024;
/// One try: claim, activation, mount.
const TRY: Duration = Duration::from_secs(30);
/// Between tries while another holder is waited out.
const AGAIN: Duration = Duration::from_millis(500);
/// For the release at the end, before the caller gets its exit code anyway.
const RELEASE: Duration = Duration::from_secs(20);

#[derive(Debug, Serialize, Deserialize)]
pub struct Request {
    pub volumes: Vec<String>,
    /// How long another holder is waited out.
    #[serde(default)]
    pub wait_ms: u64,
    #[serde(default = "default_grace")]
    pub stop_grace_ms: u64,
}

fn default_grace() -> u64 {
    10_000
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    Ready(Ready),
    Refused { kind: String, line: String },
    Released(bool),
}

/// What the command is to be started with.
#[derive(Debug, Serialize, Deserialize)]
pub struct Ready {
    pub token: u64,
    pub lease: u64,
    /// To be joined before the guard is started.
    pub cgroup: Option<PathBuf>,
    /// The guard and its words, up to and with `--`.
    pub guard: Vec<String>,
    pub environment: BTreeMap<String, String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct End {
    ended: i32,
}

/// Never ends, unless the executor does.
pub(super) async fn serve(listener: UnixListener, claims: Claims) {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let mut callers = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let user = format!("command-{}", NEXT.fetch_add(1, Ordering::Relaxed));
                    callers.spawn(talk(stream, claims.clone(), user));
                }
                Err(error) => {
                    warn!(%error, "control socket");
                    tokio::time::sleep(AGAIN).await;
                }
            },
            Some(_) = callers.join_next() => {}
        }
    }
}

async fn talk(stream: UnixStream, claims: Claims, user: String) {
    let (reading, mut writing) = stream.into_split();
    let mut lines = BufReader::new(reading.take(LONGEST_LINE)).lines();
    let Ok(Some(line)) = lines.next_line().await else { return };
    let request = match serde_json::from_str::<Request>(&line) {
        Ok(request) => request,
        Err(error) => return say(&mut writing, &refused(&Refusal::Other(format!("not a request: {error}")))).await,
    };
    let claimed = tokio::select! {
        claimed = claim(&claims, &request, &user) => claimed,
        // Nothing more is said before the answer: the caller has gone.
        _ = lines.next_line() => return,
    };
    let claimed = match claimed {
        Ok(claimed) => claimed,
        Err(refusal) => return say(&mut writing, &refused(&refusal)).await,
    };
    let token = claimed.token;
    match ready(&claimed) {
        Ok(ready) => say(&mut writing, &Answer::Ready(ready)).await,
        Err(line) => {
            claims.external.leave(token, &user);
            return say(&mut writing, &refused(&Refusal::Other(line))).await;
        }
    }
    let end = lines.next_line().await;
    let ended = end.ok().flatten().and_then(|line| serde_json::from_str::<End>(&line).ok());
    let (code, reason) = match ended {
        Some(End { ended }) => (ended, "its command has ended"),
        None => (137, "its caller has gone without word: its command is killed"),
    };
    claims.external.close(token, code, reason);
    finish(&claims, token, &user).await;
    say(&mut writing, &Answer::Released(released(&claims, token).await)).await;
}

/// Nothing of the command may live on, or the lease would: and nobody looks after it.
async fn finish(claims: &Claims, token: Token, user: &str) {
    if let Some(entry) = claims.external.get(token)
        && let Err(error) = claims.external.silence(&entry).await
    {
        warn!(%token, %error, "its command does not end");
    }
    claims.external.leave(token, user);
}

async fn released(claims: &Claims, token: Token) -> bool {
    let gone = async {
        while claims.context.ledger.read(|state| state.records.contains_key(&token)) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(RELEASE, gone).await.is_ok()
}

async fn claim(claims: &Claims, request: &Request, user: &str) -> Result<Claimed, Refusal> {
    let ids: Result<Vec<VolumeId>, _> = request.volumes.iter().map(|name| VolumeId::new(name)).collect();
    let mut volumes = ids.map_err(|error| Refusal::Other(error.to_string()))?;
    volumes.sort();
    volumes.dedup();
    if volumes.is_empty() {
        return Err(Refusal::Other("name at least one volume".to_owned()));
    }
    let wanted = Wanted { kind: Kind::Run, volumes, user: user.to_owned(), stop_grace_ms: request.stop_grace_ms };
    let first = claims.claim(&wanted, TRY).await;
    if request.wait_ms == 0 || !matches!(first, Err(Refusal::Held(_))) {
        return first;
    }
    let mut last = first;
    let waiting = async {
        while matches!(last, Err(Refusal::Held(_))) {
            tokio::time::sleep(AGAIN).await;
            last = claims.claim(&wanted, TRY).await;
        }
    };
    let _ = tokio::time::timeout(Duration::from_millis(request.wait_ms), waiting).await;
    last
}

fn ready(claimed: &Claimed) -> Result<Ready, String> {
    let entry = &claimed.entry;
    let arguments = Arguments {
        page: entry.guard.page.clone(),
        token: claimed.token.0,
        status: Some(entry.guard.status.clone()),
        hooks: vec![],
        command: vec![],
    };
    let words = std::iter::once(entry.guard.binary.clone().into_os_string()).chain(arguments.to_words());
    let guard: Result<Vec<String>, _> = words.map(std::ffi::OsString::into_string).collect();
    let guard = guard.map_err(|word| format!("a path of the run folder is no text: {}", word.display()))?;
    let cgroup = entry.cgroup.clone();
    if cgroup.is_none() {
        return Err("this host has no control groups of version 2: a command cannot be held together here".to_owned());
    }
    Ok(Ready { token: claimed.token.0, lease: entry.lease, cgroup, guard, environment: entry.environment.clone() })
}

fn refused(refusal: &Refusal) -> Answer {
    let kind = match refusal {
        Refusal::Held(_) => "held",
        Refusal::NotFound(_) => "not-found",
        Refusal::Other(_) => "other",
    };
    Answer::Refused { kind: kind.to_owned(), line: refusal.to_string() }
}

async fn say(writing: &mut (impl AsyncWriteExt + Unpin), answer: &Answer) {
    let mut line = serde_json::to_vec(answer).expect("plain data");
    line.push(b'\n');
    // A caller that has gone reads nothing.
    let _ = writing.write_all(&line).await;
}
