//! Control groups (v2) of a container by its id, wherever the engine put them. Asks the kernel alone. Called by `look`.

use std::fs;
use std::path::{Path, PathBuf};

use crate::runtime::KillHandle;
use crate::volumes::mountinfo;

/// Far more than a host has, and an end in any case.
const MOST: usize = 50_000;
const DEEPEST: usize = 16;
/// A container's id in full; a shorter text might fit a stranger.
const ID: usize = 64;

/// How to kill what runs in the container now; empty while it has no group, or where there is no v2 hierarchy.
pub(super) fn handles(id: &str) -> Vec<KillHandle> {
    if id.len() != ID || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return vec![];
    }
    let found = found(id);
    found.into_iter().map(|group| KillHandle { cgroup: Some(group), pid: 0, start_ticks: 0, process_group: false }).collect()
}

/// Where the v2 hierarchy is.
pub(super) fn top() -> Option<PathBuf> {
    mountinfo::all().ok()?.into_iter().find(|mount| mount.file_system == "cgroup2").map(|mount| mount.point)
}

fn found(id: &str) -> Vec<PathBuf> {
    top().map(|top| search(&top, id)).unwrap_or_default()
}

fn search(top: &Path, id: &str) -> Vec<PathBuf> {
    let (mut found, mut left, mut seen) = (vec![], vec![(top.to_owned(), 0)], 0);
    while let Some((folder, depth)) = left.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) || seen >= MOST {
                continue;
            }
            seen += 1;
            if entry.file_name().to_string_lossy().contains(id) {
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

    #[test]
    fn a_group_is_found_by_the_whole_id_only() {
        let id = "ef59b742f17d66cb0edc1292a76abd542cbd7fd57c0aaab5c9ab6461604deedc";
        let top = tempfile::tempdir().unwrap();
        fs::create_dir_all(top.path().join("a/b").join(id)).unwrap();
        fs::create_dir_all(top.path().join("a/b/ef59b742f17d")).unwrap();
        assert_eq!(search(top.path(), id), [top.path().join("a/b").join(id)]);
        assert!(handles("ef59b742f17d").is_empty());
    }
}
