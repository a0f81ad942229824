//! What uses the claimed leases now, by Docker's listing and the kernel's control groups. Called by the manager's observer again and again, and by kills. It
//! registers what it finds for killing, closes leases that nobody uses, and kills containers that run on a volume without a lease. Must never take "no
//! answer" for "nobody".

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use berth_state::ids::{Token, VolumeId};
use tracing::{error, warn};

use super::docker::{Engine, Inspected, Listed};
use super::groups;
use super::names::Kind;
use super::suit;
use super::table::{Entry, External, FORGOTTEN_MS, GRACE_MS, Phase};
use crate::clock::HolderTime;
use crate::deadline::Right;
use crate::hostguard::KillTarget;
use crate::hostguard::order::Order;
use crate::runtime::kill::{cgroup_is_empty, kill_now};
use crate::runtime::{InstanceKey, RuntimeError};

/// Of all kills of one lease: longer only for a process stuck in the kernel.
const KILL_ROUNDS: u32 = 100;
const KILL_EVERY: Duration = Duration::from_millis(100);
/// The driver's name in Docker.
pub(crate) const DRIVER: &str = "berth";

impl External {
    /// Which of `all` use a volume of Berth, and which volumes.
    pub(super) fn users<'l>(&self, all: &'l [Listed]) -> Vec<(&'l Listed, BTreeSet<VolumeId>)> {
        let volumes = |listed: &Listed| -> BTreeSet<VolumeId> {
            let of = |mount: &super::docker::Mounted| {
                if mount.driver == DRIVER {
                    return self.aliases.volume(&mount.name);
                }
                // A bind mount of what is mounted for others.
                let below = mount.source.strip_prefix(&self.links).ok()?;
                VolumeId::new(below.file_name()?.to_str()?).ok()
            };
            listed.mounts.iter().filter_map(of).collect()
        };
        all.iter().map(|listed| (listed, volumes(listed))).filter(|(_, volumes)| !volumes.is_empty()).collect()
    }

    /// One look at everything.
    pub(super) async fn look(&self) {
        let known = self.ledger.read(|state| state.records.keys().copied().collect::<BTreeSet<Token>>());
        self.lock().retain(|token, _| known.contains(token));
        self.look_at_commands();
        let Some(engine) = &self.engine else { return };
        let claimed = self.lock().values().any(|entry| entry.kind == Kind::Docker);
        match engine.list().await {
            Ok(all) => self.look_at_containers(engine, &all).await,
            Err(error) if claimed => warn!(%error, "cannot see which containers use volumes: leases are kept"),
            Err(_) => {}
        }
    }

    fn look_at_commands(&self) {
        let now = self.clock.now();
        let mut ended = vec![];
        for (token, entry) in self.lock().iter_mut().filter(|(_, entry)| entry.kind == Kind::Run && entry.phase == Phase::Open) {
            let gone = entry.cgroup.as_deref().map_or(Ok(true), cgroup_is_empty);
            // Whatever cannot be read is taken as alive.
            if !entry.uses.is_empty() || !gone.unwrap_or(false) {
                entry.idle_since = None;
            } else if now.ms_since(*entry.idle_since.get_or_insert(now)) >= GRACE_MS {
                ended.push(*token);
            }
        }
        for token in ended {
            self.close(token, 0, "its command has ended");
        }
    }

    async fn look_at_containers(&self, engine: &Engine, all: &[Listed]) {
        let users = self.users(all);
        let mut by_token: BTreeMap<Token, BTreeSet<String>> = BTreeMap::new();
        for (listed, volumes) in users.iter().filter(|(listed, _)| listed.live) {
            for volume in volumes {
                match self.open_for(volume, Kind::Docker) {
                    Some(token) => {
                        by_token.entry(token).or_default().insert(listed.id.clone());
                    }
                    None if self.in_hand(volume) => {}
                    None => self.stray(engine, &listed.id, volume).await,
                }
            }
        }
        let docker: Vec<Token> = self
            .lock()
            .iter()
            .filter(|(_, entry)| entry.kind == Kind::Docker && entry.phase == Phase::Open)
            .map(|(token, _)| *token)
            .collect();
        for token in docker {
            let live = by_token.remove(&token).unwrap_or_default();
            self.saw(token, &live);
            self.inspect_new(engine, token, &live).await;
        }
    }

    /// A container that runs on a volume without a lease: it started although its start was refused or given up, or its lease is being wound up.
    async fn stray(&self, engine: &Engine, id: &str, volume: &VolumeId) {
        error!(container_id = id, %volume, "a container runs on a volume that this host holds no open lease for: killing it");
        for handle in groups::handles(id) {
            let _ = kill_now(&handle);
        }
        if let Err(error) = engine.kill(id).await {
            warn!(container_id = id, %error, "dockerd did not kill it");
        }
    }

    /// Takes in who runs under `token`.
    fn saw(&self, token: Token, live: &BTreeSet<String>) {
        let now = self.clock.now();
        let Some(entry) = self.lock().get_mut(&token).map(|entry| {
            entry.users.clone_from(live);
            entry.clone()
        }) else {
            return;
        };
        for id in live {
            for (n, handle) in groups::handles(id).into_iter().enumerate() {
                let key = InstanceKey { container: id.clone(), token: token.0, attempt: u32::try_from(n).unwrap_or(u32::MAX) };
                self.enforcer.register(token, key, handle);
            }
        }
        self.aim(token, live.iter().cloned());
        if entry.phase == Phase::Open && self.idle(token, live, now) {
            self.close(token, 0, "no container uses it any more");
        }
    }

    /// The host guard kills them too. Those of before stay: a group that is gone is killed at no cost. What its order says is read, not remembered: the step
    /// that opened the lease writes it too.
    pub(super) fn aim(&self, token: Token, ids: impl Iterator<Item = String>) {
        let Some(client) = &self.host_guard else { return };
        let mut table = self.lock();
        let Some(entry) = table.get_mut(&token) else { return };
        for target in ids.map(|text| KillTarget::GroupNamed { text }) {
            if !entry.aimed.contains(&target) {
                entry.aimed.push(target);
            }
        }
        let told = Order::read(client.run_folder(), token.0).ok().flatten().map(|order| order.kills);
        if entry.aimed.is_empty() || told.as_ref() == Some(&entry.aimed) {
            return;
        }
        if let Err(error) = client.aim(token.0, entry.aimed.clone()) {
            error!(%token, %error, "the host guard does not know a container of this lease");
        }
    }

    /// Whether nobody has used it for long enough.
    fn idle(&self, token: Token, live: &BTreeSet<String>, now: HolderTime) -> bool {
        let mut table = self.lock();
        let Some(entry) = table.get_mut(&token) else { return false };
        if !live.is_empty() {
            (entry.idle_since, entry.grace_ms) = (None, GRACE_MS);
            return false;
        }
        // Unmount is not reliable: a mount that nothing has come of is forgotten.
        entry.uses.retain(|_, since| now.ms_since(*since) < FORGOTTEN_MS);
        if !entry.uses.is_empty() {
            entry.idle_since = None;
            return false;
        }
        let since = *entry.idle_since.get_or_insert(now);
        now.ms_since(since) >= entry.grace_ms
    }

    /// Once for each container that runs: what could not be seen while it was being started.
    async fn inspect_new(&self, engine: &Engine, token: Token, live: &BTreeSet<String>) {
        let checked = self.get(token).map(|entry| entry.checked).unwrap_or_default();
        for id in live.difference(&checked) {
            match engine.inspect(id).await {
                Inspected::Config(config) => {
                    if let Some(why) = suit::unfit(&config, self.ends_by_silence(token)) {
                        error!(%token, container_id = id, why, "killing a container that may not have this volume");
                        self.kill_container(engine, id).await;
                    } else if let Some(entry) = self.lock().get_mut(&token) {
                        entry.checked.insert(id.clone());
                    }
                }
                // Looked at again next time.
                Inspected::Locked | Inspected::Gone => {}
            }
        }
    }

    async fn kill_container(&self, engine: &Engine, id: &str) {
        for handle in groups::handles(id) {
            let _ = kill_now(&handle);
        }
        let _ = engine.kill(id).await;
    }

    pub(super) fn ends_by_silence(&self, token: Token) -> bool {
        match self.enforcer.right(token) {
            Right::Open => false,
            Right::Never | Right::Until(_) | Right::Over(_) => true,
        }
    }

    /// Containers that name `volume` and do not run: ids and why they may not have it, as far as that can be seen while they are being started.
    pub(crate) async fn unfit_starting(&self, volume: &VolumeId, token: Token) -> Option<String> {
        let engine = self.engine.as_ref()?;
        let all = engine.list().await.ok()?;
        let waiting: Vec<String> = self
            .users(&all)
            .into_iter()
            .filter(|(listed, of)| !listed.live && of.contains(volume))
            .map(|(listed, _)| listed.id.clone())
            .collect();
        // Before it runs: a start that ends only after this process is killed too.
        self.aim(token, waiting.iter().cloned());
        let looks = futures::future::join_all(waiting.iter().map(|id| engine.inspect(id))).await;
        // The engine locks the one that it is starting, and waits for us meanwhile.
        let starting = waiting.iter().zip(looks).filter(|(_, seen)| *seen == Inspected::Locked).map(|(id, _)| id.clone());
        let starting: Vec<String> = starting.collect();
        if starting.is_empty() {
            return None;
        }
        let root = engine.root().await?;
        starting.iter().find_map(|id| suit::unfit(&suit::on_disk(&root, id)?, self.ends_by_silence(token)))
    }

    /// Returns when nothing that uses this lease's volumes lives, by Docker's word and the kernel's.
    pub(super) async fn silence(&self, entry: &Entry) -> Result<(), RuntimeError> {
        let mut why = String::new();
        for _ in 0..KILL_ROUNDS {
            match self.silence_once(entry).await {
                Ok(true) => {
                    self.silenced(Token(entry.key.token));
                    return Ok(());
                }
                Ok(false) => why = "processes are left".to_owned(),
                Err(error) => why = error,
            }
            tokio::time::sleep(KILL_EVERY).await;
        }
        let source = std::io::Error::other(why);
        Err(RuntimeError::Io { operation: "kill all users of", instance: entry.key.container.clone(), source })
    }

    async fn silence_once(&self, entry: &Entry) -> Result<bool, String> {
        match entry.kind {
            Kind::Run => self.silence_command(entry),
            Kind::Docker => self.silence_containers(entry).await,
        }
    }

    fn silence_command(&self, entry: &Entry) -> Result<bool, String> {
        let Some(cgroup) = &entry.cgroup else { return Ok(true) };
        let handle = crate::runtime::KillHandle { cgroup: Some(cgroup.clone()), pid: 0, start_ticks: 0, process_group: false };
        kill_now(&handle).map_err(|error| error.to_string())?;
        let empty = cgroup_is_empty(cgroup).map_err(|error| error.to_string())?;
        if empty {
            let _ = std::fs::remove_dir(cgroup);
        }
        Ok(empty)
    }

    async fn silence_containers(&self, entry: &Entry) -> Result<bool, String> {
        let known: BTreeSet<String> = self.get(Token(entry.key.token)).map_or_else(|| entry.users.clone(), |now| now.users);
        let mut groups_left = false;
        for handle in known.iter().flat_map(|id| groups::handles(id)) {
            kill_now(&handle).map_err(|error| error.to_string())?;
            groups_left |= !crate::runtime::kill::is_gone(&handle).map_err(|error| error.to_string())?;
        }
        let Some(engine) = &self.engine else { return Ok(!groups_left) };
        let all = engine.list().await?;
        // Volumes that a newer lease of this host has are used under that one.
        let newer = |volume: &VolumeId| self.lock().iter().any(|(token, other)| token.0 > entry.key.token && other.has(volume));
        let mine: Vec<&VolumeId> = entry.sources.keys().filter(|volume| !newer(volume)).collect();
        let users = self.users(&all);
        let live: Vec<&str> = users
            .iter()
            .filter(|(listed, of)| listed.live && mine.iter().any(|volume| of.contains(*volume)))
            .map(|(listed, _)| listed.id.as_str())
            .collect();
        for id in &live {
            self.kill_container(engine, id).await;
        }
        Ok(live.is_empty() && !groups_left)
    }
}
