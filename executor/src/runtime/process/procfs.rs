//! What this runtime reads from /proc beside start times (those: `runtime/kill.rs`). Called by the shim and by the state
//! derivation; must never be used to signal a process: a pid read here may be somebody else's a moment later.

use std::io;

use super::record::Process;
use crate::runtime::kill;

/// Differs after every reboot.
pub(super) fn boot_id() -> io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

pub(super) fn is_alive(process: Process) -> io::Result<bool> {
    Ok(kill::start_ticks(process.pid)? == Some(process.start_ticks))
}

/// The process with this pid, if it lives.
pub(super) fn process(pid: u32) -> io::Result<Option<Process>> {
    Ok(kill::start_ticks(pid)?.map(|start_ticks| Process { pid, start_ticks }))
}

/// Living and dead children of `parent`, oldest pid first. Reads all of /proc: not every kernel lists a process's children.
pub(super) fn children_of(parent: u32) -> io::Result<Vec<u32>> {
    let mut children = vec![];
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if status_field(pid, "PPid:").and_then(|value| value.parse().ok()) == Some(parent) {
            children.push(pid);
        }
    }
    children.sort_unstable();
    Ok(children)
}

fn status_field(pid: u32, name: &str) -> Option<String> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test")]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_found_under_its_parent() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let own = std::process::id();
        assert!(children_of(own).unwrap().contains(&child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!children_of(own).unwrap().contains(&child.id()));
    }
}
