//! Folders come and go: create, list, remove. Called by `ProcessRuntime`. Must never remove what may still run.

use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::folder::{InstanceFolder, Phase};
use super::record::{Started, sync_parent};
use super::{NAME, Shared, cgroup, io_error, procfs, signals};
use crate::runtime::guarded;
use crate::runtime::{InstanceKey, InstanceSpec, InstanceState, Observed, RuntimeError};

/// Longest folder name that every file system takes, with room for what is appended while it comes and goes.
const NAME_BYTES: usize = 200;
/// How often and how far apart a removal looks for the shim's exit: 1 s together.
const SHIM_LOOKS: u32 = 200;
const SHIM_LOOK: Duration = Duration::from_millis(5);

/// Makes the root folder and clears what an earlier life left on its way in or out. Returns its absolute path.
pub(super) fn lay_out_root(root: &Path) -> io::Result<PathBuf> {
    for part in ["instances", "creating", "removed"] {
        // Specifications hold environments, and those may hold secrets.
        DirBuilder::new().recursive(true).mode(0o700).create(root.join(part))?;
    }
    fs::canonicalize(root)
}

/// Clears what an earlier executor did not finish. Only where no other call can be under way.
pub(super) fn clear_leftovers(root: &Path) -> io::Result<()> {
    for part in ["creating", "removed"] {
        for entry in fs::read_dir(root.join(part))? {
            fs::remove_dir_all(entry?.path())?;
        }
    }
    Ok(())
}

pub(super) fn create(shared: &Shared, spec: &InstanceSpec) -> Result<(), RuntimeError> {
    check(shared, spec)?;
    let folder = shared.folder(&spec.key);
    let failed = || io_error("create", &spec.key);
    let id = random_id().map_err(failed())?;
    let draft = shared.config.root.join("creating").join(format!("{}-{id}", spec.key.instance_name()));
    InstanceFolder::new(draft.clone()).lay_out(spec, &id).map_err(failed())?;
    match fs::rename(&draft, folder.path()) {
        // Durable before reply.
        Ok(()) => sync_parent(folder.path()).map_err(failed()),
        Err(error) => {
            fs::remove_dir_all(&draft).map_err(failed())?;
            if !folder.path().is_dir() {
                return Err(failed()(error));
            }
            let stored = folder.stored().map_err(failed())?;
            if stored.spec == *spec {
                Ok(())
            } else {
                Err(refused(&spec.key, "exists already with another specification: remove it first"))
            }
        }
    }
}

/// What can be known before anything is made.
fn check(shared: &Shared, spec: &InstanceSpec) -> Result<(), RuntimeError> {
    let invalid = |what, reason: String| Err(RuntimeError::InvalidSpec { what, reason });
    let name = spec.key.instance_name();
    if name.len() > NAME_BYTES || spec.key.container.chars().any(|letter| matches!(letter, '/' | '\0')) {
        return invalid("container name", format!("at most {NAME_BYTES} bytes with token and attempt, and no slash"));
    }
    if spec.cluster != shared.config.cluster || spec.host != shared.config.host {
        return invalid("cluster and host", format!("this runtime works for {} on {}", shared.config.cluster, shared.config.host));
    }
    if spec.command.first().is_none_or(String::is_empty) {
        return invalid("command", "the process runtime has no image to take one from: state it".to_owned());
    }
    if spec.command.iter().chain(spec.environment.values()).any(|text| text.contains('\0')) {
        return invalid("command and environment", "must not contain a NUL character".to_owned());
    }
    if spec.environment.keys().any(|name| name.is_empty() || name.contains(['=', '\0'])) {
        return invalid("environment", "a variable's name must not be empty or contain = or NUL".to_owned());
    }
    guarded::check(spec)?;
    if let Some(signal) = spec.stop_signal.as_deref().filter(|signal| signals::parse(signal).is_none()) {
        return invalid("stop signal", format!("{signal} is no signal that the process runtime can send: use a name such as SIGTERM"));
    }
    Ok(())
}

pub(super) fn list(shared: &Shared) -> Result<Vec<Observed>, RuntimeError> {
    let failed = |source| RuntimeError::Io { operation: "list", instance: shared.config.root.display().to_string(), source };
    let mut found = vec![];
    for entry in fs::read_dir(shared.instances()).map_err(failed)? {
        let folder = InstanceFolder::new(entry.map_err(failed)?.path());
        if let Some(observed) = observe(shared, &folder).map_err(failed)? {
            found.push(observed);
        }
    }
    found.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(found)
}

/// The instance of this cluster and host in `folder`. One whose specification is damaged is known by its folder's name: it may run.
pub(super) fn observe(shared: &Shared, folder: &InstanceFolder) -> io::Result<Option<Observed>> {
    let Some(phase) = folder.phase()? else { return Ok(None) };
    let (key, lease) = match folder.stored() {
        Ok(stored) if stored.spec.cluster == shared.config.cluster && stored.spec.host == shared.config.host => {
            (stored.spec.key, stored.spec.lease)
        }
        Ok(stored) => {
            tracing::warn!(runtime = NAME, cluster = %stored.spec.cluster, host = %stored.spec.host, folder = %folder.path().display(),
                "left alone: another executor's instance");
            return Ok(None);
        }
        // Removed since the phase was read.
        Err(error) if error.kind() == ErrorKind::NotFound && !folder.path().is_dir() => return Ok(None),
        Err(error) => {
            let Some(key) = folder.path().file_name().and_then(|name| key_of(name.to_str()?)) else { return Err(error) };
            tracing::error!(runtime = NAME, instance = %key.instance_name(), %error, "specification unreadable: kill and remove it");
            (key, 0)
        }
    };
    let state = match phase {
        Phase::Created => InstanceState::Created,
        Phase::Starting(_) | Phase::Running(_, _) => InstanceState::Running,
        Phase::Exited(exit) => InstanceState::Exited { code: exit.code, reason: exit.reason },
    };
    Ok(Some(Observed { key, cluster: shared.config.cluster.clone(), lease, state }))
}

/// The inverse of [`InstanceKey::instance_name`].
fn key_of(name: &str) -> Option<InstanceKey> {
    let (rest, attempt) = name.strip_prefix("berth-")?.rsplit_once('-')?;
    let (container, token) = rest.rsplit_once('-')?;
    Some(InstanceKey { container: container.to_owned(), token: token.parse().ok()?, attempt: attempt.parse().ok()? })
}

pub(super) fn remove(shared: &Shared, key: &InstanceKey) -> Result<(), RuntimeError> {
    let folder = shared.folder(key);
    let failed = || io_error("remove", key);
    match folder.phase().map_err(failed())? {
        None => return Ok(()),
        Some(Phase::Starting(_) | Phase::Running(_, _)) => return Err(refused(key, "is running: stop or kill it first")),
        Some(Phase::Created) => close(&folder, key)?,
        Some(Phase::Exited(_)) => {}
    }
    let_shim_go(&folder).map_err(failed())?;
    if let Some(plan) = folder.plan().map_err(failed())? {
        cgroup::remove(&plan).map_err(failed())?;
    }
    let id = random_id().map_err(failed())?;
    let grave = shared.config.root.join("removed").join(format!("{}-{id}", key.instance_name()));
    fs::rename(folder.path(), &grave).map_err(failed())?;
    sync_parent(folder.path()).map_err(failed())?;
    fs::remove_dir_all(&grave).map_err(failed())
}

/// Waits a moment for a shim that has written the end down and is about to exit: it is the last one in its control group.
#[allow(clippy::disallowed_methods, reason = "called on a thread for blocking work, for some milliseconds")]
fn let_shim_go(folder: &InstanceFolder) -> io::Result<()> {
    let Some(started) = folder.started()? else { return Ok(()) };
    for _ in 0..SHIM_LOOKS {
        match started.shim {
            Some(shim) if started.boot_id == procfs::boot_id()? && procfs::is_alive(shim)? => std::thread::sleep(SHIM_LOOK),
            Some(_) | None => break,
        }
    }
    Ok(())
}

fn random_id() -> io::Result<String> {
    getrandom::u64().map(|id| format!("{id:016x}")).map_err(|error| io::Error::other(error.to_string()))
}

/// Takes the right to start away, so that a shim that is late cannot use it.
///
/// # Errors
/// `Refused` when a shim was faster.
pub(super) fn close(folder: &InstanceFolder, key: &InstanceKey) -> Result<(), RuntimeError> {
    let boot_id = procfs::boot_id().map_err(io_error("close", key))?;
    match folder.claim(&Started { boot_id, shim: None }) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(refused(key, "has just been started")),
        Err(error) => Err(io_error("close", key)(error)),
    }
}

pub(super) fn refused(key: &InstanceKey, reason: impl Into<String>) -> RuntimeError {
    RuntimeError::Refused { instance: key.instance_name(), reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folders_name_gives_the_key_back() {
        let key = InstanceKey { container: "web-1-2".to_owned(), token: u64::MAX, attempt: 3 };
        assert_eq!(key_of(&key.instance_name()), Some(key));
        assert_eq!(key_of("berth-x-1"), None);
        assert_eq!(key_of("lost+found"), None);
    }
}
