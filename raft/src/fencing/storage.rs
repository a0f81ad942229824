//! Fences at the storage (StorageCut): cut one holder off, acknowledged, and let its host in again. Called by [`super::run`] and the driver.
//! Both may be done late or twice; a lift refuses to undo a cut with a newer token.

use std::time::Duration;

use async_trait::async_trait;
use berth_state::ids::{HostId, Token, VolumeId};
use berth_state::noun::volume::VolumeSpec;
use berth_state::storage::{GlusterfsOptions, StorageOptions};

use crate::fencing::cephfs;
use crate::fencing::program::run;

const AT_MOST: Duration = Duration::from_secs(20);

/// One volume of one holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    pub volume: VolumeId,
    pub spec: VolumeSpec,
    pub host: HostId,
    /// By which the storage knows the host.
    pub address: String,
    pub token: Token,
}

#[async_trait]
pub trait StorageFence: Send + Sync {
    /// # Errors
    /// It is not acknowledged; for people.
    async fn cut(&self, cut: &Cut) -> Result<String, String>;
    /// # Errors
    /// The host is still kept out; for people.
    async fn lift(&self, cut: &Cut) -> Result<String, String>;
}

/// The real storage, by its own programs.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealStorage;

#[async_trait]
impl StorageFence for RealStorage {
    async fn cut(&self, cut: &Cut) -> Result<String, String> {
        act(cut, "fence").await
    }

    async fn lift(&self, cut: &Cut) -> Result<String, String> {
        act(cut, "lift").await
    }
}

async fn act(cut: &Cut, operation: &str) -> Result<String, String> {
    let options = StorageOptions::parse(cut.spec.driver, &cut.spec.options).map_err(|(field, why)| format!("{field}: {why}"))?;
    match options {
        StorageOptions::Glusterfs(options) if operation == "fence" => gluster_cut(&options, cut).await,
        StorageOptions::Glusterfs(options) => gluster_lift(&options, cut).await,
        StorageOptions::Nfs(options) => {
            let program = options.revoke.clone().ok_or("the volume has no option revoke")?;
            let (token, words) = (cut.token.to_string(), [operation, &options.server, &options.export, cut.host.as_str(), &cut.address]);
            let words: Vec<String> = words.into_iter().map(ToOwned::to_owned).chain([token]).collect();
            said(&program, &words, "").await
        }
        StorageOptions::Exec(options) => {
            let request = serde_json::json!({
                "protocol": 1, "operation": operation, "volume": cut.volume.as_str(), "dataset": options.dataset, "host": cut.host.as_str(),
                "storage_address": cut.address, "token": cut.token.0, "options": options.passed,
            });
            let answer = said(&options.program, &[], &request.to_string()).await?;
            let ok = serde_json::from_str::<serde_json::Value>(&answer).ok().and_then(|a| a.get("ok").and_then(serde_json::Value::as_bool));
            if ok == Some(true) { Ok(answer) } else { Err(format!("the program did not acknowledge: {answer}")) }
        }
        StorageOptions::Cephfs(options) if operation == "fence" => cephfs::fence(&options, cut).await,
        // A cut names one client instance, not the host: its next mount is another.
        StorageOptions::Cephfs(_) => Ok("nothing to lift".to_owned()),
        StorageOptions::Path(_) | StorageOptions::Image(_) => Err("this storage cannot cut a client off".to_owned()),
    }
}

async fn said(program: &str, words: &[String], input: &str) -> Result<String, String> {
    let ran = run(program, words, input, AT_MOST).await.map_err(|error| error.to_string())?;
    match ran.code {
        Some(0) => Ok(ran.stdout.trim().to_owned()),
        code => Err(format!("{program}: exit {code:?}: {}", ran.said())),
    }
}

async fn gluster(options: &GlusterfsOptions, words: &[&str]) -> Result<String, String> {
    let first = ["--mode=script".to_owned(), format!("--remote-host={}", options.manage)];
    let words: Vec<String> = first.into_iter().chain(words.iter().map(|word| (*word).to_owned())).collect();
    said("gluster", &words, "").await
}

async fn info(options: &GlusterfsOptions) -> Result<String, String> {
    gluster(options, &["volume", "info", &options.volume]).await
}

/// Value of an option in `volume info`.
fn option<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(": ")).map(str::trim)
}

fn rejected(info: &str) -> Vec<String> {
    option(info, "auth.reject")
        .map(|list| list.split(',').map(|a| a.trim().to_owned()).filter(|a| !a.is_empty()).collect())
        .unwrap_or_default()
}

/// The newest token that was cut for this volume and host, kept at the server.
fn marker(cut: &Cut) -> String {
    format!("{}{}", host_marker(cut), cut.volume)
}

fn host_marker(cut: &Cut) -> String {
    format!("user.berth-cut-{}-of-", cut.host)
}

async fn gluster_cut(options: &GlusterfsOptions, cut: &Cut) -> Result<String, String> {
    if cut.address.is_empty() {
        return Err("the host has no storage address".to_owned());
    }
    let before = info(options).await?;
    let known: u64 = option(&before, &marker(cut)).and_then(|token| token.parse().ok()).unwrap_or(0);
    gluster(options, &["volume", "set", &options.volume, &marker(cut), &known.max(cut.token.0).to_string()]).await?;
    let mut list = rejected(&before);
    if !list.contains(&cut.address) {
        list.push(cut.address.clone());
        gluster(options, &["volume", "set", &options.volume, "auth.reject", &list.join(",")]).await?;
    }
    if rejected(&info(options).await?).contains(&cut.address) {
        return Ok(format!("auth.reject of {} has {}", options.volume, cut.address));
    }
    Err("auth.reject was set, and is not in force".to_owned())
}

async fn gluster_lift(options: &GlusterfsOptions, cut: &Cut) -> Result<String, String> {
    let before = info(options).await?;
    let known: u64 = option(&before, &marker(cut)).and_then(|token| token.parse().ok()).unwrap_or(0);
    if known > cut.token.0 {
        return Err(format!("token {known} was cut there since"));
    }
    let (own, of_host) = (marker(cut), host_marker(cut));
    let others = before.lines().filter_map(|line| line.trim().split_once(": ")).any(|(name, _)| name.starts_with(&of_host) && name != own);
    let list: Vec<String> = rejected(&before).into_iter().filter(|address| *address != cut.address || others).collect();
    if list.is_empty() && option(&before, "auth.reject").is_some() {
        gluster(options, &["volume", "reset", &options.volume, "auth.reject"]).await?;
    } else if list != rejected(&before) {
        gluster(options, &["volume", "set", &options.volume, "auth.reject", &list.join(",")]).await?;
    }
    if option(&before, &own).is_some() {
        gluster(options, &["volume", "reset", &options.volume, &own]).await?;
    }
    if !others && rejected(&info(options).await?).contains(&cut.address) {
        return Err("the host is still in auth.reject".to_owned());
    }
    Ok("lifted".to_owned())
}
