//! The nine calls of the volume plugin protocol. A Mount takes the lease of the volume for this host, or joins the one that is open; an Unmount only says that
//! one container is done: whether any is left is found by looking (`external`). Must never keep state that only counting could tell.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use berth_state::ids::VolumeId;
use berth_state::noun::container::ContainerSpec;
use bytes::Bytes;
use serde_json::{Value, json};
use tracing::{info, warn};

use super::protocol::{Request, Volume};
use super::server::Handler;
use crate::control::WhyAnswer;
use crate::external::aliases::Alias;
use crate::external::claims::{Claims, Wanted};
use crate::external::names::Kind;
use crate::external::refusal::{Refusal, one_line};

/// Docker gives a plugin call a minute at least; a person who waits for `docker run` has less patience, and older engines gave 15 s.
const MOUNT: Duration = Duration::from_secs(12);
/// A listing of volumes asks for each.
const LOOK: Duration = Duration::from_secs(3);
/// The only option of `docker volume create -d berth`.
const VOLUME_OPTION: &str = "volume";

/// One for each executor.
pub struct VolumePlugin {
    claims: Claims,
}

type Answer = Result<Value, String>;

#[async_trait]
impl Handler for VolumePlugin {
    async fn call(&self, call: &str, body: Bytes) -> Value {
        match self.answer(call, &body).await {
            Ok(value) => value,
            Err(line) => {
                let line = one_line(&line);
                info!(call, error = line, "volume plugin");
                json!({ "Err": line })
            }
        }
    }
}

impl VolumePlugin {
    #[must_use]
    pub fn new(claims: Claims) -> Self {
        Self { claims }
    }

    async fn answer(&self, call: &str, body: &[u8]) -> Answer {
        match call {
            "Plugin.Activate" => Ok(json!({ "Implements": ["VolumeDriver"] })),
            "VolumeDriver.Capabilities" => Ok(json!({ "Capabilities": { "Scope": "global" } })),
            "VolumeDriver.Create" => self.create(&Request::parse(body)?).await,
            "VolumeDriver.Remove" => self.remove(&Request::parse(body)?),
            "VolumeDriver.Mount" => self.mount(&Request::parse(body)?).await,
            "VolumeDriver.Path" => self.path(&Request::parse(body)?),
            "VolumeDriver.Unmount" => self.unmount(&Request::parse(body)?),
            "VolumeDriver.Get" => self.get(&Request::parse(body)?).await,
            "VolumeDriver.List" => self.list().await,
            other => Err(format!("{other:?} is no call of the volume plugin protocol")),
        }
    }

    /// What a name means here.
    fn volume(&self, name: &str) -> Result<VolumeId, String> {
        let known = self.claims.external.aliases.volume(name);
        known.ok_or_else(|| format!("{name:?} cannot be a volume of Berth: 1 to 63 of a-z, 0-9, '-', '_' and '.'"))
    }

    /// Only names a registered volume; makes no data and takes no lease.
    async fn create(&self, request: &Request) -> Answer {
        let name = request.named()?;
        let options = request.opts.clone().unwrap_or_default();
        if let Some(other) = options.keys().find(|key| *key != VOLUME_OPTION) {
            return Err(format!(
                "option {other:?} is unknown: the driver takes {VOLUME_OPTION}=NAME only; a volume's own options are set with `berth volume add`"
            ));
        }
        let wanted = options.get(VOLUME_OPTION).map_or(name, String::as_str);
        let volume = VolumeId::new(wanted).map_err(|error| error.to_string())?;
        let why = self.claims.why(&volume).await?;
        let known = why.and_then(|why| why.volume).ok_or_else(|| Refusal::unknown(&volume).to_string())?;
        let paths = crate::external::paths_of(known.spec.options.values());
        let alias = Alias { volume: volume.to_string(), paths };
        self.claims.external.aliases.put(name, alias).map_err(|error| format!("the name cannot be kept: {error}"))?;
        Ok(json!({ "Err": "" }))
    }

    /// Forgets the name; the volume and its data stay (`berth volume rm`).
    fn remove(&self, request: &Request) -> Answer {
        let name = request.named()?;
        let volume = self.volume(name)?;
        if let Some(token) = self.claims.external.open_for(&volume, Kind::Docker) {
            return Err(format!("volume {volume} is in use on this host under token {token}"));
        }
        self.claims.external.aliases.remove(name).map_err(|error| format!("the name cannot be forgotten: {error}"))?;
        Ok(json!({ "Err": "" }))
    }

    async fn mount(&self, request: &Request) -> Answer {
        let volume = self.volume(request.named()?)?;
        let user = format!("mount-{}", request.id);
        let stop_grace_ms = ContainerSpec::DEFAULT_STOP_GRACE_MS;
        let wanted = Wanted { kind: Kind::Docker, volumes: vec![volume.clone()], user: user.clone(), stop_grace_ms };
        let claimed = self.claims.claim(&wanted, MOUNT).await.map_err(|refusal| refusal.to_string())?;
        let token = claimed.token;
        if let Some(why) = self.claims.external.unfit_starting(&volume, token).await {
            self.claims.external.leave(token, &user);
            return Err(format!("volume {volume}: this container may not have it: {why}"));
        }
        // What was asked meanwhile took time.
        if self.claims.external.join(token, &user).is_none() {
            return Err(format!("volume {volume}: the lease with token {token} ended while the container was being started; try again"));
        }
        info!(%volume, %token, mount = request.id, "a container gets it");
        Ok(json!({ "Mountpoint": self.claims.external.link(token, &volume), "Err": "" }))
    }

    fn path(&self, request: &Request) -> Answer {
        let volume = self.volume(request.named()?)?;
        Ok(json!({ "Mountpoint": self.mountpoint(&volume), "Err": "" }))
    }

    /// Empty while it is not mounted here.
    fn mountpoint(&self, volume: &VolumeId) -> String {
        let open = self.claims.external.open_for(volume, Kind::Docker);
        open.map(|token| self.claims.external.link(token, volume).display().to_string()).unwrap_or_default()
    }

    fn unmount(&self, request: &Request) -> Answer {
        let volume = self.volume(request.named()?)?;
        self.claims.external.leave_volume(&volume, &format!("mount-{}", request.id));
        Ok(json!({ "Err": "" }))
    }

    async fn get(&self, request: &Request) -> Answer {
        let name = request.named()?;
        let volume = self.volume(name)?;
        let known = self.claims.external.aliases.all().contains_key(name);
        let status = match tokio::time::timeout(LOOK, self.claims.why(&volume)).await {
            Ok(Ok(Some(why))) => status(&volume, &why),
            Ok(Ok(None)) => return Err(Refusal::unknown(&volume).to_string()),
            // A name that is known here stays usable to look at while the control plane is away.
            Ok(Err(line)) if known => BTreeMap::from([("error".to_owned(), json!(line))]),
            Err(_) if known => BTreeMap::from([("error".to_owned(), json!("the control plane does not answer"))]),
            Ok(Err(line)) => return Err(line),
            Err(_) => return Err("the control plane does not answer".to_owned()),
        };
        let volume = Volume { name: name.to_owned(), mountpoint: self.mountpoint(&volume), status };
        Ok(json!({ "Volume": volume, "Err": "" }))
    }

    /// The names that this host knows. Without the control plane's word: Docker lists volumes at its start.
    async fn list(&self) -> Answer {
        let all = self.claims.external.aliases.all();
        let volume = |name: &String| {
            let mountpoint = self.volume(name).map(|volume| self.mountpoint(&volume)).unwrap_or_else(|line| {
                warn!(name, error = line, "volume plugin");
                String::new()
            });
            Volume { name: name.clone(), mountpoint, status: BTreeMap::new() }
        };
        Ok(json!({ "Volumes": all.keys().map(volume).collect::<Vec<_>>(), "Err": "" }))
    }
}

/// What `docker volume inspect` shows.
fn status(volume: &VolumeId, why: &WhyAnswer) -> BTreeMap<String, Value> {
    let mut status = BTreeMap::from([("volume".to_owned(), json!(volume.as_str()))]);
    let mut put = |key: &str, value: Value| status.insert(key.to_owned(), value);
    if let Some(known) = &why.volume {
        put("takeover", json!(known.spec.takeover));
        put("driver", json!(known.spec.driver));
    }
    if let Some(rung) = why.rung {
        put("rung", json!(rung));
    }
    match &why.holder {
        Some(lease) => {
            put("holder", json!(lease.host.as_str()));
            put("container", json!(lease.container.as_str()));
            put("token", json!(lease.token.0));
            put("lease", json!(lease.id.0));
            put("phase", json!(lease.phase));
        }
        None => {
            put("phase", json!("free"));
        }
    }
    if let Some(ms) = why.earliest_takeover_ms {
        put("earliest_takeover_ms", json!(ms));
    }
    status
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test")]
#[path = "tests.rs"]
mod tests;
