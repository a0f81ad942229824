//! The guard's program: carried in this one's binary, put on the host at start. Called by `executor` before anything runs. Must never leave a half-written
//! file under the guard's name, nor one of another version.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use berth_guard::page::{Deadline, Owner, PageWriter};
use rustix::fs::StatVfsMountFlags;

/// Built by `build.rs`, static.
static BYTES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/berth-guard"));

const NAME: &str = "guard";
/// Tries of 5 ms each to run a file that was just written.
const BUSY_TRIES: u32 = 100;

#[derive(Debug, thiserror::Error)]
pub enum GuardBinaryError {
    #[error("cannot put the guard at {path}")]
    Io { path: PathBuf, source: io::Error },
    #[error("the guard at {path} does not work here: {why}")]
    DoesNotWork { path: PathBuf, why: String },
}

/// Puts the guard into `run`, or into `fallback` where programs may not run from there (Debian mounts /run so), and tries it. Returns where it is. Running
/// guards keep the file they were started from.
///
/// # Errors
/// [`GuardBinaryError`]: no instance can be started on this host.
pub fn install(run: &Path, fallback: &Path) -> Result<PathBuf, GuardBinaryError> {
    let folder = if forbids_programs(run) { fallback } else { run };
    let path = folder.join(NAME);
    put(&path).map_err(|source| GuardBinaryError::Io { path: path.clone(), source })?;
    // Absolute: container engines ask for it.
    let path = fs::canonicalize(&path).map_err(|source| GuardBinaryError::Io { path, source })?;
    works(&path, folder).map_err(|why| GuardBinaryError::DoesNotWork { path: path.clone(), why })?;
    Ok(path)
}

fn forbids_programs(folder: &Path) -> bool {
    rustix::fs::statvfs(folder).is_ok_and(|found| found.f_flag.contains(StatVfsMountFlags::NOEXEC))
}

fn put(path: &Path) -> io::Result<()> {
    let fits = |path: &Path| -> io::Result<bool> {
        let found = match fs::metadata(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            found => found?,
        };
        Ok(found.permissions().mode() & 0o777 == 0o555 && found.len() == BYTES.len() as u64 && fs::read(path)? == BYTES)
    };
    if fits(path)? {
        return Ok(());
    }
    let new = path.with_extension(format!("{}.new", std::process::id()));
    match fs::remove_file(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o700).open(&new)?;
    file.write_all(BYTES)?;
    // Whatever the umask: instances run it as any user.
    file.set_permissions(Permissions::from_mode(0o555))?;
    // A program that is open for writing cannot be run.
    drop(file);
    fs::rename(&new, path)?;
    if fits(path)? { Ok(()) } else { Err(io::Error::other("it is not there as it was written")) }
}

/// Runs it once, under a page of its own: the program, the clock and the time namespace are proven by it.
fn works(guard: &Path, folder: &Path) -> Result<(), String> {
    let trial = folder.join(format!("trial-{}", std::process::id()));
    let page = trial.join("page");
    let result = try_it(guard, &trial, &page);
    let _ = fs::remove_dir_all(&trial);
    result
}

fn try_it(guard: &Path, trial: &Path, page: &Path) -> Result<(), String> {
    let text = |error: &dyn std::error::Error| error.to_string();
    match fs::create_dir(trial) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(text(&error)),
        Ok(()) | Err(_) => {}
    }
    let _ = fs::remove_file(page);
    let owner = Owner::here(0).map_err(|error| text(&error))?;
    PageWriter::create(page, &owner, Deadline::None).map_err(|error| text(&error))?;
    let mut command = Command::new(guard);
    command.arg("--page").arg(page).args(["--token", "0", "--"]).arg(guard).arg("--version").env_clear().stdin(Stdio::null());
    let output = run_fresh(&mut command).map_err(|error| text(&error))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("it ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()))
}

/// A child that another thread is just starting may still hold the file open for writing: until it runs its own program.
fn run_fresh(command: &mut Command) -> io::Result<Output> {
    for _ in 0..BUSY_TRIES {
        match command.output() {
            Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => {}
            ended => return ended,
        }
        #[allow(clippy::disallowed_methods, reason = "at the executor's start, before it has anything else to do")]
        std::thread::sleep(Duration::from_millis(5));
    }
    command.output()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test")]
mod tests {
    use super::*;

    #[test]
    fn it_is_put_whole_replaced_when_it_differs_and_otherwise_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = install(folder.path(), folder.path()).unwrap();
        assert_eq!(fs::read(&path).unwrap(), BYTES);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o555);
        let inode = || std::os::unix::fs::MetadataExt::ino(&fs::metadata(&path).unwrap());
        let first = inode();
        install(folder.path(), folder.path()).unwrap();
        assert_eq!(inode(), first, "a guard that fits is not written again");
        fs::remove_file(&path).unwrap();
        fs::write(&path, b"another version").unwrap();
        install(folder.path(), folder.path()).unwrap();
        assert_eq!(fs::read(&path).unwrap(), BYTES);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");
    }

    #[test]
    fn a_guard_that_does_not_run_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("guard");
        fs::write(&path, b"#!/bin/sh\necho broken >&2; exit 3\n").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o555)).unwrap();
        let why = works(&path, folder.path()).unwrap_err();
        assert!(why.contains("broken"), "{why}");
    }
}
