//! The claimed leases of this host, and who uses each. Memory only: after a restart it is made anew from the ledger, and what uses a lease from what Docker
//! and the kernel say. A lease that was closed here is never opened again: whoever comes later gets another token.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use berth_state::ids::{HostId, Token, VolumeId};
use berth_state::noun::container::RuntimeKind;
use berth_state::noun::lease::Exit;
use tokio::sync::watch;
use tracing::{info, warn};

use super::aliases::Aliases;
use super::docker::Engine;
use super::groups;
use super::names::Kind;
use crate::clock::{HolderClock, HolderTime};
use crate::enforcer::Enforcer;
use crate::hostguard::{HostGuardClient, KillTarget};
use crate::ledger::Ledger;
use crate::runtime::spec::GuardSpec;
use crate::runtime::{InstanceKey, InstanceSpec};

/// A container engine that restarts a container lets go of its volumes for a moment.
pub(super) const GRACE_MS: u64 = 2_000;
/// After a restart of this process it is not known which containers are just being started.
pub(super) const ADOPTED_GRACE_MS: u64 = 5_000;
/// A mount that no running container has followed for so long was never unmounted in words.
pub(super) const FORGOTTEN_MS: u64 = 20_000;

/// How far a claimed lease is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Its volumes are mounted; nobody may use it yet.
    Created,
    /// May be used.
    Open,
    /// Nobody new may use it.
    Over(Exit),
}

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub key: InstanceKey,
    pub cluster: String,
    pub lease: u64,
    pub kind: Kind,
    pub phase: Phase,
    /// Where each volume is mounted.
    pub sources: BTreeMap<VolumeId, PathBuf>,
    pub environment: BTreeMap<String, String>,
    pub guard: GuardSpec,
    /// Of a command: its control group.
    pub cgroup: Option<PathBuf>,
    /// Who asked to use it: ids of mounts, or a command's connection; since when.
    pub uses: BTreeMap<String, HolderTime>,
    /// Containers that were seen to run on it.
    pub users: BTreeSet<String>,
    /// Those whose configuration was looked at.
    pub checked: BTreeSet<String>,
    /// What the host guard has been told to kill.
    pub aimed: Vec<KillTarget>,
    pub idle_since: Option<HolderTime>,
    pub grace_ms: u64,
    /// Nothing used it any more, after it was closed: whoever starts now comes too late.
    pub silenced: bool,
}

impl Entry {
    pub(super) fn has(&self, volume: &VolumeId) -> bool {
        self.sources.contains_key(volume)
    }

    fn of_spec(spec: &InstanceSpec, kind: Kind) -> Self {
        let volume = |target: &Path| target.file_name().and_then(|name| VolumeId::new(name.to_str()?).ok());
        let sources = spec.mounts.iter().filter_map(|mount| Some((volume(&mount.target)?, mount.source.clone()))).collect();
        Self {
            key: spec.key.clone(),
            cluster: spec.cluster.clone(),
            lease: spec.lease,
            kind,
            phase: Phase::Created,
            sources,
            environment: spec.environment.clone(),
            guard: spec.guard.clone(),
            cgroup: None,
            uses: BTreeMap::new(),
            users: BTreeSet::new(),
            checked: BTreeSet::new(),
            aimed: vec![],
            idle_since: None,
            grace_ms: GRACE_MS,
            silenced: false,
        }
    }
}

/// What it is made of.
pub struct ExternalParts {
    pub host: HostId,
    /// The run folder.
    pub run: PathBuf,
    /// The data folder, for names.
    pub data: PathBuf,
    pub docker_socket: Option<PathBuf>,
    pub ledger: Ledger,
    pub clock: Arc<dyn HolderClock>,
    pub enforcer: Enforcer,
    pub host_guard: Option<Arc<HostGuardClient>>,
}

/// Shared by the manager's side (as a runtime) and by those who claim.
pub struct External {
    pub(super) host: HostId,
    /// `<run>/used/<token>/<volume>`: links to mount points, gone with the lease; a container that starts too late finds nothing.
    pub(super) links: PathBuf,
    pub(super) engine: Option<Engine>,
    pub(crate) aliases: Aliases,
    pub(super) ledger: Ledger,
    pub(super) clock: Arc<dyn HolderClock>,
    pub(super) enforcer: Enforcer,
    pub(super) host_guard: Option<Arc<HostGuardClient>>,
    table: Mutex<BTreeMap<Token, Entry>>,
    changed: watch::Sender<u64>,
}

impl External {
    /// Takes over what the ledger tells of.
    #[must_use]
    pub fn new(parts: ExternalParts) -> Self {
        let ExternalParts { host, run, data, docker_socket, ledger, clock, enforcer, host_guard } = parts;
        let run = std::fs::canonicalize(&run).unwrap_or(run);
        let external = Self {
            host,
            links: run.join("used"),
            engine: docker_socket.map(Engine::new),
            aliases: Aliases::open(data.join("docker-volumes.json")),
            ledger,
            clock,
            enforcer,
            host_guard,
            table: Mutex::new(BTreeMap::new()),
            changed: watch::Sender::new(0),
        };
        external.adopt();
        external
    }

    /// L9: what ran on under an earlier process goes on; who uses it is found by looking.
    fn adopt(&self) {
        let mut table = self.lock();
        self.ledger.read(|state| {
            for record in state.records.values().filter(|record| record.runtime == RuntimeKind::External && record.attempt > 0) {
                let Some(kind) = Kind::of(record.container.as_str()) else { continue };
                let key = InstanceKey { container: record.container.to_string(), token: record.token.0, attempt: record.attempt };
                let sources = record.volumes.iter().filter_map(|held| Some((held.volume.clone(), held.source.clone()?))).collect();
                let entry = Entry {
                    cluster: state.cluster.map(|id| id.to_string()).unwrap_or_default(),
                    lease: record.lease.0,
                    kind,
                    phase: Phase::Open,
                    sources,
                    environment: BTreeMap::new(),
                    guard: GuardSpec::default(),
                    cgroup: self.group_of(kind, &key),
                    uses: BTreeMap::new(),
                    users: BTreeSet::new(),
                    checked: BTreeSet::new(),
                    aimed: vec![],
                    idle_since: None,
                    grace_ms: ADOPTED_GRACE_MS,
                    silenced: false,
                    key,
                };
                table.insert(record.token, entry);
            }
        });
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, BTreeMap<Token, Entry>> {
        // Every change is of one entry; a panic in a holder leaves it usable.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn announce(&self) {
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Counts up whenever something here may have changed.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    pub(super) fn put(&self, spec: &InstanceSpec) -> bool {
        let Some(kind) = Kind::of(&spec.key.container) else { return false };
        let mut entry = Entry::of_spec(spec, kind);
        entry.cgroup = self.group_of(kind, &spec.key);
        self.lock().insert(Token(spec.key.token), entry);
        true
    }

    /// Of a command, where there is a v2 hierarchy.
    pub(super) fn group_of(&self, kind: Kind, key: &InstanceKey) -> Option<PathBuf> {
        match kind {
            Kind::Docker => None,
            Kind::Run => Some(groups::top()?.join("berth-run").join(format!("{}-{}", self.host, key.token))),
        }
    }

    pub(super) fn get(&self, token: Token) -> Option<Entry> {
        self.lock().get(&token).cloned()
    }

    /// The lease of this volume that may be used now.
    pub(crate) fn open_for(&self, volume: &VolumeId, kind: Kind) -> Option<Token> {
        self.lock()
            .iter()
            .rev()
            .find(|(_, entry)| entry.kind == kind && entry.phase == Phase::Open && entry.has(volume))
            .map(|(token, _)| *token)
    }

    /// Uses an open lease. `None`: it is not open (any more), or its right is over.
    pub(crate) fn join(&self, token: Token, user: &str) -> Option<Entry> {
        let now = self.clock.now();
        // Asked first: a right that is over now is over for good.
        if !self.enforcer.may_act(token) {
            return None;
        }
        let mut table = self.lock();
        let entry = table.get_mut(&token).filter(|entry| entry.phase == Phase::Open)?;
        entry.uses.insert(user.to_owned(), now);
        entry.idle_since = None;
        Some(entry.clone())
    }

    pub(crate) fn leave(&self, token: Token, user: &str) {
        if let Some(entry) = self.lock().get_mut(&token) {
            entry.uses.remove(user);
        }
        self.announce();
    }

    /// Leaves whatever open lease of this volume `user` has joined.
    pub(crate) fn leave_volume(&self, volume: &VolumeId, user: &str) {
        for entry in self.lock().values_mut().filter(|entry| entry.has(volume)) {
            entry.uses.remove(user);
        }
        self.announce();
    }

    /// Nobody new may use it from here on. Returns it as it is then.
    pub(super) fn close(&self, token: Token, code: i32, reason: &str) -> Option<Entry> {
        let mut table = self.lock();
        let entry = table.get_mut(&token)?;
        match entry.phase {
            Phase::Created | Phase::Open => {
                info!(%token, container = %entry.key.container, reason, "no longer in use");
                entry.phase = Phase::Over(Exit { code, reason: reason.to_owned() });
            }
            Phase::Over(_) => {}
        }
        let entry = entry.clone();
        drop(table);
        self.unlink(token);
        self.announce();
        Some(entry)
    }

    pub(super) fn silenced(&self, token: Token) {
        if let Some(entry) = self.lock().get_mut(&token) {
            entry.silenced = true;
        }
    }

    /// A lease of this volume is still being made ready or wound up here: its own steps deal with who uses it.
    pub(super) fn in_hand(&self, volume: &VolumeId) -> bool {
        self.lock().values().any(|entry| entry.kind == Kind::Docker && entry.has(volume) && !entry.silenced)
    }

    pub(super) fn drop_entry(&self, token: Token) {
        self.lock().remove(&token);
        self.announce();
    }

    pub(crate) fn link(&self, token: Token, volume: &VolumeId) -> PathBuf {
        self.links.join(token.0.to_string()).join(volume.as_str())
    }

    /// The links through which containers get at the volumes.
    pub(super) fn make_links(&self, token: Token) -> std::io::Result<()> {
        let Some(entry) = self.get(token) else { return Ok(()) };
        std::fs::create_dir_all(self.links.join(token.0.to_string()))?;
        for (volume, source) in &entry.sources {
            match std::os::unix::fs::symlink(source, self.link(token, volume)) {
                Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    fn unlink(&self, token: Token) {
        match std::fs::remove_dir_all(self.links.join(token.0.to_string())) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => warn!(%token, %error, "links to its volumes stay"),
            Ok(()) | Err(_) => {}
        }
    }

    /// Where the data of volumes that this host knows is: nobody is to go there around the driver.
    pub(crate) fn managed_paths(&self) -> Vec<PathBuf> {
        let mut paths: Vec<PathBuf> = self.aliases.all().into_values().flat_map(|alias| alias.paths).collect();
        if let Some(run) = self.links.parent() {
            paths.extend([run.join("mounts"), self.links.clone()]);
        }
        self.ledger.read(|state| {
            for held in state.records.values().flat_map(|record| &record.volumes) {
                paths.extend(paths_of(held.options.values()));
                paths.extend(held.source.clone());
            }
        });
        paths
    }
}

/// Options of a driver that are paths of this host.
pub(crate) fn paths_of<'a>(options: impl Iterator<Item = &'a String>) -> Vec<PathBuf> {
    options.filter(|value| value.len() > 1 && value.starts_with('/')).map(PathBuf::from).collect()
}
