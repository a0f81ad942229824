//! The fence of driver `cephfs`: finds the client that was mounted for one token by its mount point, blocklists and evicts it. Called by [`super::storage`].
//! May be done late or twice. Must never claim that a client is out without having seen it in force.
//!
//! A blocklist entry names one client instance, which never comes back by itself (the driver mounts with `client_reconnect_stale=false`), so that nothing has
//! to be lifted. An eviction alone keeps a client out for an hour only.
//!
//! That no client is found counts as success only if every rank is active and answered. What writes through a mount does so after the mount has answered, so
//! its session was there once: it ended cleanly, or the servers evicted it, and then it stands in the blocklist as long as their setting says. A mount that a
//! frozen host has only half done may still come; nothing is written through it before the executor has asked again whether its right lasts (I11).

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use async_trait::async_trait;
use berth_state::storage::CephfsOptions;
use serde_json::Value;

use crate::fencing::program;
use crate::fencing::storage::Cut;

const ORDER: Duration = Duration::from_secs(20);
/// Seconds that the program tries to reach a monitor.
const CONNECT: &str = "10";
/// Ten years: the blocklist knows no "for ever".
const EXPIRE: &str = "315360000";
/// Of looking whether the sessions are gone; an eviction is over in less than a second.
const LOOKS: usize = 20;
const PAUSE: Duration = Duration::from_millis(if cfg!(test) { 1 } else { 250 });
/// By which the metadata servers blocklist whom they evict for silence.
const ON_TIMEOUT: &str = "mds_session_blocklist_on_timeout";

/// What the `ceph` program printed.
#[derive(Clone, Debug, Default)]
struct Said {
    out: String,
    err: String,
}

/// Gives orders to the cluster; tests answer by themselves.
#[async_trait]
trait Orders: Sync {
    async fn give(&self, words: &[&str]) -> Result<Said, String>;
}

/// The `ceph` program, as the volume's admin.
struct Program {
    first: Vec<String>,
}

impl Program {
    fn new(options: &CephfsOptions) -> Self {
        let mut first = vec!["-n".to_owned(), format!("client.{}", options.admin), "--connect-timeout".to_owned(), CONNECT.to_owned()];
        let monitors = Some(options.monitors.join(",")).filter(|list| !list.is_empty());
        for (flag, value) in [("-c", &options.admin_conf), ("-k", &options.admin_keyring), ("-m", &monitors)] {
            first.extend(value.iter().flat_map(|value| [flag.to_owned(), value.clone()]));
        }
        Self { first }
    }
}

#[async_trait]
impl Orders for Program {
    async fn give(&self, words: &[&str]) -> Result<Said, String> {
        let all: Vec<String> = self.first.iter().cloned().chain(words.iter().map(|word| (*word).to_owned())).collect();
        let ran = program::run("ceph", &all, "", ORDER).await.map_err(|error| error.to_string())?;
        match ran.code {
            Some(0) => Ok(Said { out: ran.stdout, err: ran.stderr }),
            code => Err(format!("ceph {}: exit {code:?}: {}", words.join(" "), ran.said())),
        }
    }
}

/// One session of one client instance at one rank.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Session {
    /// As orders name it.
    rank: String,
    id: u64,
    address: Instance,
}

/// Address of one client instance; shown as the blocklist takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Instance {
    socket: SocketAddr,
    nonce: u64,
}

impl std::fmt::Display for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.socket, self.nonce)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Blocked {
    instance: Instance,
    /// The year of its end; as the monitors count, whose clock is the only one asked.
    year: u32,
}

/// # Errors
/// It is not in force, or not known to be; for people.
pub(super) async fn fence(options: &CephfsOptions, cut: &Cut) -> Result<String, String> {
    if !options.evict {
        return Err("the volume has no option fence=evict".to_owned());
    }
    fence_by(&Program::new(options), &options.file_system, cut).await
}

async fn fence_by(orders: &dyn Orders, file_system: &str, cut: &Cut) -> Result<String, String> {
    let point = format!("{}-{}", cut.volume, cut.token);
    let ranks = ranks(&orders.give(&["fs", "dump", "--format", "json"]).await?.out, file_system)?;
    let found = sessions(orders, &ranks, &point).await?;
    let held = hold(orders, &found, cut.address.parse().ok()).await?;
    for session in &found {
        orders.give(&["tell", &session.rank, "client", "evict", &format!("id={}", session.id)]).await?;
    }
    gone(orders, &ranks, &point).await?;
    if let Some(held) = &held {
        in_force(&blocklist(orders).await?, held)?;
    }
    for rank in &ranks {
        blocklists_the_silent(orders, rank).await?;
    }
    let known = held.map(|held| held.instances).unwrap_or_default();
    if found.is_empty() {
        let others = if known.is_empty() { String::new() } else { format!("; prolonged in the blocklist, of its host: {}", shown(&known)) };
        return Ok(format!("no client is mounted at {point}, all ranks answered ({}){others}", ranks.len()));
    }
    Ok(format!("blocklisted for ten years, and no client is mounted at {point} any more: {}", shown(&known)))
}

fn shown(instances: &BTreeSet<Instance>) -> String {
    instances.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Names of all ranks, if every one of them is active: a rank in any other state may let a client reconnect that nobody can list now.
fn ranks(dump: &str, file_system: &str) -> Result<Vec<String>, String> {
    let dump: Value = serde_json::from_str(dump).map_err(|error| format!("fs dump: {error}"))?;
    let all = dump["filesystems"].as_array().ok_or("fs dump: no list of file systems")?;
    let mut ranks = Vec::new();
    for map in all.iter().map(|entry| &entry["mdsmap"]) {
        let name = map["fs_name"].as_str().ok_or("fs dump: a file system without name")?;
        // Without a name all are asked: which one is the default may have changed since the mount.
        if file_system.is_empty() || file_system == name {
            ranks.extend(active(name, map)?);
        }
    }
    if ranks.is_empty() { Err(format!("the cluster has no file system {file_system:?} with a rank")) } else { Ok(ranks) }
}

fn active(name: &str, map: &Value) -> Result<Vec<String>, String> {
    let daemons = map["info"].as_object().ok_or("fs dump: no list of daemons")?;
    let numbers = map["in"].as_array().ok_or("fs dump: no list of ranks")?;
    let rank = |number: &Value| {
        let number = number.as_u64().ok_or("fs dump: a rank is no number")?;
        let is = |daemon: &&Value| daemon["rank"].as_u64() == Some(number) && daemon["state"] == "up:active";
        // A standby that follows a rank has its number too, and another state.
        daemons.values().find(is).map(|_| format!("mds.{name}:{number}")).ok_or(format!("rank {number} of {name} is not active now"))
    };
    numbers.iter().map(rank).collect()
}

async fn sessions(orders: &dyn Orders, ranks: &[String], point: &str) -> Result<Vec<Session>, String> {
    let mut found = Vec::new();
    for rank in ranks {
        let said = orders.give(&["tell", rank, "client", "ls"]).await?;
        found.extend(mounted_at(&said.out, rank, point)?);
    }
    Ok(found)
}

/// The sessions whose mount point has the last part `point`, in whatever state. The run folder before it is the executor's own affair.
fn mounted_at(list: &str, rank: &str, point: &str) -> Result<Vec<Session>, String> {
    let bad = |what: &str| format!("client ls of {rank}: {what}");
    let list: Value = serde_json::from_str(list).map_err(|error| bad(&error.to_string()))?;
    let mut found = Vec::new();
    for entry in list.as_array().ok_or_else(|| bad("not a list"))? {
        let metadata = entry["client_metadata"].as_object().ok_or_else(|| bad("a client without metadata"))?;
        // Clients that mount nothing, as the manager's, have none.
        let at = metadata.get("mount_point").and_then(Value::as_str).unwrap_or_default();
        if at.trim_end_matches('/').rsplit_once('/').is_none_or(|(_, last)| last != point) {
            continue;
        }
        let address = &entry["entity"]["addr"];
        let socket = address["addr"].as_str().and_then(|text| text.parse().ok()).ok_or_else(|| bad("no address"))?;
        // Without a nonce the order would bar the whole host.
        let nonce = address["nonce"].as_u64().filter(|nonce| *nonce != 0).ok_or_else(|| bad("no nonce"))?;
        let id = entry["id"].as_u64().ok_or_else(|| bad("no id"))?;
        found.push(Session { rank: rank.to_owned(), id, address: Instance { socket, nonce } });
    }
    Ok(found)
}

/// Instances that are to stay out, and the year until which the monitors said they do.
struct Held {
    instances: BTreeSet<Instance>,
    year: u32,
}

/// Blocklists the found ones before anything else, and prolongs the short entries of the same host: a client of this token that fell silent was evicted by
/// the servers themselves, for an hour, and is in no list of clients any more. An instance that was blocklisted once is of no use to anybody.
async fn hold(orders: &dyn Orders, found: &[Session], host: Option<IpAddr>) -> Result<Option<Held>, String> {
    let mut held = Held { instances: BTreeSet::new(), year: 0 };
    for session in found {
        if held.instances.insert(session.address) {
            held.year = add(orders, session.address).await?;
        }
    }
    let mut known = blocklist(orders).await?;
    known.retain(|entry| Some(entry.instance.socket.ip()) == host && entry.instance.socket.port() == 0);
    known.sort_by_key(|entry| entry.year);
    for entry in known {
        // The list begins with the shortest; the first one that is prolonged tells what long is.
        let short = held.year == 0 || entry.year.saturating_add(1) < held.year;
        if short && held.instances.insert(entry.instance) {
            held.year = add(orders, entry.instance).await?;
        }
    }
    Ok(Some(held).filter(|held| !held.instances.is_empty()))
}

/// Returns the year of the entry's end.
async fn add(orders: &dyn Orders, instance: Instance) -> Result<u32, String> {
    let said = orders.give(&["osd", "blocklist", "add", &instance.to_string(), EXPIRE]).await?;
    let text = format!("{} {}", said.out, said.err);
    text.split_once(" until ").and_then(|(_, until)| year(until)).ok_or_else(|| format!("blocklist add said no end: {}", text.trim()))
}

fn year(time: &str) -> Option<u32> {
    time.split_once('-').and_then(|(year, _)| year.parse().ok())
}

async fn blocklist(orders: &dyn Orders) -> Result<Vec<Blocked>, String> {
    parse_blocklist(&orders.give(&["osd", "blocklist", "ls", "--format", "json"]).await?.out)
}

/// Single client instances only; entries that bar whole hosts or ranges are other people's. After the list the program prints another, of ranges.
fn parse_blocklist(text: &str) -> Result<Vec<Blocked>, String> {
    let first = serde_json::Deserializer::from_str(text).into_iter::<Value>().next();
    let list = first.and_then(Result::ok).ok_or("blocklist ls: not JSON")?;
    let mut blocked = Vec::new();
    for entry in list.as_array().ok_or("blocklist ls: not a list")? {
        let (address, until) = (entry["addr"].as_str(), entry["until"].as_str().and_then(year));
        let (address, year) = address.zip(until).ok_or("blocklist ls: an entry without address or end")?;
        let parts = address.split_once('/').and_then(|(socket, nonce)| Some((socket.parse().ok()?, nonce.parse().ok()?)));
        if let Some((socket, nonce)) = parts.filter(|(_, nonce)| *nonce != 0) {
            blocked.push(Blocked { instance: Instance { socket, nonce }, year });
        }
    }
    Ok(blocked)
}

/// Read back after the evictions, which blocklist too, for an hour: theirs must not have replaced ours.
fn in_force(blocked: &[Blocked], held: &Held) -> Result<(), String> {
    let long = |instance: &&Instance| blocked.iter().any(|entry| entry.instance == **instance && entry.year.saturating_add(1) >= held.year);
    match held.instances.iter().find(|instance| !long(instance)) {
        Some(missing) => Err(format!("{missing} was blocklisted, and that is not in force")),
        None => Ok(()),
    }
}

async fn gone(orders: &dyn Orders, ranks: &[String], point: &str) -> Result<(), String> {
    for _ in 0..LOOKS {
        if sessions(orders, ranks, point).await?.is_empty() {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err(format!("a client that is mounted at {point} was evicted, and is still there"))
}

/// Otherwise a client that was thrown out for its silence could still write to the object stores.
async fn blocklists_the_silent(orders: &dyn Orders, rank: &str) -> Result<(), String> {
    let said = orders.give(&["tell", rank, "config", "get", ON_TIMEOUT]).await?;
    let value: Value = serde_json::from_str(&said.out).map_err(|error| format!("config get {ON_TIMEOUT}: {error}"))?;
    match value[ON_TIMEOUT].as_str() {
        Some("true") => Ok(()),
        Some(_) | None => Err(format!("{rank} does not have {ON_TIMEOUT}=true: a client that it evicted itself may still write")),
    }
}

#[cfg(test)]
#[path = "cephfs_tests.rs"]
mod tests;
