//! Container images for the lab, built on this machine from Debian packages with apt and dpkg alone: no registry, no Docker, no
//! root file system installed by maintainer scripts. Built once under a lock, renamed into the cache when whole, usable offline
//! afterwards. Called by tests and `make lab`; must never write outside the cache folder.

use crate::lab::poll::wait_until;
use crate::lab::shell::run_command;
use anyhow::{Context, Result};
use std::fs::{self, File, TryLockError};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::lab::docker_host::{IMAGE_BUSYBOX, IMAGE_POSTGRES};

const BUILD_BOUND: Duration = Duration::from_secs(600);

const BUILD_SCRIPT: &str = include_str!("images/build.sh");
const POSTGRES_ENTRY: &str = include_str!("images/postgres-entry.sh");

/// `$XDG_CACHE_HOME/berth/images`, or the same under `~/.cache`: outside the checkout, kept between runs.
pub fn default_cache_dir() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/root".into())).join(".cache");
    std::env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from).join("berth").join("images")
}

/// Postgres 15 as an archive for `docker load`, tag [`IMAGE_POSTGRES`].
///
/// Data directory `/var/lib/postgresql/data/pgdata` (mount the volume at `/var/lib/postgresql/data`; initialised when empty), port
/// 5432, superuser `postgres` without a password from any private address, socket in `/tmp`, SIGINT as stop signal.
pub fn postgres_image(cache_dir: &Path) -> Result<PathBuf> {
    built(cache_dir, "postgres", IMAGE_POSTGRES, POSTGRES_ENTRY)
}

/// A static busybox without an entry point: the command is an applet by name, the default a shell. Tag [`IMAGE_BUSYBOX`].
pub fn busybox_image(cache_dir: &Path) -> Result<PathBuf> {
    built(cache_dir, "busybox", IMAGE_BUSYBOX, "")
}

fn built(cache_dir: &Path, kind: &str, tag: &str, entry: &str) -> Result<PathBuf> {
    fs::create_dir_all(cache_dir).with_context(|| format!("cannot make {}", cache_dir.display()))?;
    let image = cache_dir.join(format!("{kind}-{}.tar", key(kind, tag, entry)));
    if image.exists() {
        return Ok(image);
    }
    let _building = build_lock(&cache_dir.join(format!("{kind}.lock")))?;
    // Another run may have built it while we waited.
    if image.exists() {
        return Ok(image);
    }
    let work = cache_dir.join(format!("{kind}.work"));
    let _ = fs::remove_dir_all(&work);
    fs::create_dir_all(&work)?;
    fs::write(work.join("entry.sh"), entry)?;
    let mut command = Command::new("sh");
    command.args(["-eu", "-c", BUILD_SCRIPT, "build", kind, tag]).arg(&work);
    let outcome = run_command(BUILD_BOUND, command, "").with_context(|| format!("building the {kind} image in {}", work.display()));
    if outcome.is_ok() {
        // Only a whole image ever has the final name.
        fs::rename(work.join("image.tar"), &image)?;
    }
    let _ = fs::remove_dir_all(&work);
    outcome.map(|_| image)
}

/// Changes with the distribution and with anything that shapes the image. A package update alone does not: delete the file for that.
fn key(kind: &str, tag: &str, entry: &str) -> String {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let field = |name: &str| {
        let line = release.lines().find_map(|l| l.strip_prefix(name));
        line.unwrap_or("unknown").trim_matches('"').to_string()
    };
    let mut hasher = DefaultHasher::new();
    (BUILD_SCRIPT, kind, tag, entry).hash(&mut hasher);
    format!("{}{}-{}-{:016x}", field("ID="), field("VERSION_ID="), std::env::consts::ARCH, hasher.finish())
}

fn build_lock(path: &Path) -> Result<File> {
    let file = File::create(path).with_context(|| format!("cannot make {}", path.display()))?;
    wait_until("another run's image build", BUILD_BOUND, || match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(e)) => Err(e.into()),
    })?;
    Ok(file)
}
