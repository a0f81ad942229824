//! Whom the guard kills. By system calls alone: no container engine is asked, and nothing here waits. Registered by the executor before an instance is
//! started, so that a start which ends only after the executor's death is killed too.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::runtime::{KillAhead, KillHandle, RuntimeError, kill};
use crate::volumes::mountinfo;

/// Control groups that are looked at in one search, and how deep: far more than a host has, and an end in any case.
const MOST_GROUPS: usize = 50_000;
const DEEPEST: usize = 16;
/// A shorter name might fit a stranger.
const LEAST_NAME: usize = 12;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum KillTarget {
    /// What runs, or ran.
    Handle {
        cgroup: Option<PathBuf>,
        /// 0: not started yet, the control group alone names it.
        pid: u32,
        start_ticks: u64,
        process_group: bool,
    },
    /// What may be about to start: every control group (v2) with this text in its name, a container's id.
    GroupNamed { text: String },
}

impl From<KillHandle> for KillTarget {
    fn from(handle: KillHandle) -> Self {
        let KillHandle { cgroup, pid, start_ticks, process_group } = handle;
        Self::Handle { cgroup, pid, start_ticks, process_group }
    }
}

impl From<KillAhead> for KillTarget {
    fn from(ahead: KillAhead) -> Self {
        match ahead {
            KillAhead::Group(cgroup) => Self::group(cgroup),
            KillAhead::GroupNamed(text) => Self::GroupNamed { text },
        }
    }
}

impl KillTarget {
    /// A group that an instance will be started in.
    #[must_use]
    pub fn group(cgroup: PathBuf) -> Self {
        Self::Handle { cgroup: Some(cgroup), pid: 0, start_ticks: 0, process_group: false }
    }

    /// Kills what there is of it now.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn kill(&self) -> Result<(), RuntimeError> {
        self.handles()?.iter().try_for_each(kill::kill_now)
    }

    /// Whether nothing of it lives now.
    ///
    /// # Errors
    /// The kernel's answer cannot be read: then nothing is known.
    pub fn is_gone(&self) -> Result<bool, RuntimeError> {
        for handle in self.handles()? {
            if !kill::is_gone(&handle)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// For the log.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Handle { cgroup: Some(cgroup), pid: 0, .. } => cgroup.display().to_string(),
            Self::Handle { cgroup: Some(cgroup), pid, .. } => format!("{} (pid {pid})", cgroup.display()),
            Self::Handle { cgroup: None, pid, .. } => format!("pid {pid}"),
            Self::GroupNamed { text } => format!("groups named {text}"),
        }
    }

    fn handles(&self) -> Result<Vec<KillHandle>, RuntimeError> {
        match self {
            Self::Handle { cgroup, pid, start_ticks, process_group } => {
                Ok(vec![KillHandle { cgroup: cgroup.clone(), pid: *pid, start_ticks: *start_ticks, process_group: *process_group }])
            }
            Self::GroupNamed { text } => {
                let failed = |source| RuntimeError::Io { operation: "search the control groups of", instance: text.clone(), source };
                let groups = groups_named(text).map_err(failed)?;
                Ok(groups
                    .into_iter()
                    .map(|group| KillHandle { cgroup: Some(group), pid: 0, start_ticks: 0, process_group: false })
                    .collect())
            }
        }
    }
}

/// Control groups of v2 whose own name has `text` in it.
fn groups_named(text: &str) -> io::Result<Vec<PathBuf>> {
    if text.len() < LEAST_NAME || text.contains('/') {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{text:?} is too short to name one instance")));
    }
    let mounts = mountinfo::all()?;
    let Some(top) = mounts.into_iter().find(|mount| mount.file_system == "cgroup2") else { return Ok(vec![]) };
    Ok(search(&top.point, text))
}

fn search(top: &Path, text: &str) -> Vec<PathBuf> {
    let (mut found, mut left, mut seen) = (vec![], vec![(top.to_owned(), 0)], 0);
    while let Some((folder, depth)) = left.pop() {
        // A group that is removed meanwhile has nobody in it.
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) || seen >= MOST_GROUPS {
                continue;
            }
            seen += 1;
            if entry.file_name().to_string_lossy().contains(text) {
                // The kill reaches what is below.
                found.push(entry.path());
            } else if depth < DEEPEST {
                left.push((entry.path(), depth + 1));
            }
        }
    }
    found
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test")]
mod tests {
    use super::*;

    const ID: &str = "ef59b742f17d66cb0edc1292a76abd542cbd7fd57c0aaab5c9ab6461604deedc";

    #[test]
    fn groups_are_found_by_a_containers_id_wherever_the_engine_puts_them() {
        let top = tempfile::tempdir().unwrap();
        let wanted = [format!("docker/{ID}"), format!("system.slice/docker-{ID}.scope"), format!("a/b/c/{ID}")];
        for path in wanted.iter().map(String::as_str).chain(["docker/other", "berth/x"]) {
            fs::create_dir_all(top.path().join(path).join("inner")).unwrap();
        }
        let mut found = search(top.path(), ID);
        found.sort();
        let mut expected: Vec<_> = wanted.iter().map(|path| top.path().join(path)).collect();
        expected.sort();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_name_that_might_fit_a_stranger_is_refused() {
        for text in ["", "a", "/", "docker/../../etc"] {
            groups_named(text).unwrap_err();
        }
    }

    #[test]
    fn a_target_survives_its_file() {
        for target in [KillTarget::group("/sys/fs/cgroup/berth/x".into()), KillTarget::GroupNamed { text: ID.to_owned() }] {
            let text = serde_json::to_string(&target).unwrap();
            assert_eq!(serde_json::from_str::<KillTarget>(&text).unwrap(), target);
        }
    }

    #[test]
    fn a_group_that_was_never_made_is_gone() {
        let target = KillTarget::group("/nonexistent/cgroup".into());
        target.kill().unwrap();
        assert!(target.is_gone().unwrap());
    }
}
