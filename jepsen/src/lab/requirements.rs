//! Says whether this machine can carry a lab. Called by tests before they begin; must never change anything.

use crate::lab::shell::run;
use std::path::Path;

const TOOLS: [&str; 12] =
    ["ip", "nft", "iptables", "nsenter", "unshare", "mount", "sh", "dockerd", "containerd", "runc", "docker", "docker-proxy"];

/// What is missing, as sentences for a person; empty when a lab can be made.
pub fn missing_requirements() -> Vec<String> {
    let mut missing = Vec::new();
    if !rustix::process::geteuid().is_root() {
        missing.push("the lab makes namespaces and cgroups: run it as root".to_string());
    }
    let path = std::env::var("PATH").unwrap_or_default();
    for tool in TOOLS {
        let extra = ["/usr/sbin", "/sbin", "/usr/libexec/docker"];
        if !path.split(':').chain(extra).any(|dir| Path::new(dir).join(tool).exists()) {
            missing.push(format!("the program `{tool}` is missing: install it (Debian: iproute2 nftables iptables util-linux docker.io)"));
        }
    }
    if !Path::new("/sys/fs/cgroup/freezer/cgroup.procs").exists() {
        missing.push("no v1 freezer cgroup at /sys/fs/cgroup/freezer: mount it (mount -t cgroup -o freezer)".to_string());
    }
    if missing.is_empty() && run("ip", &["link", "show", "type", "bridge"]).is_err() {
        missing.push("this kernel has no bridge interfaces".to_string());
    }
    missing
}

/// True when a lab can be made. Otherwise prints why and says false, so that the test returns early; where `CI` is set nothing may
/// be skipped, and it panics instead.
pub fn ready_or_skip(test: &str) -> bool {
    let missing = missing_requirements();
    if missing.is_empty() {
        return true;
    }
    let reasons = missing.join("; ");
    assert!(std::env::var_os("CI").is_none(), "{test} cannot run and CI may not skip it: {reasons}");
    println!("SKIPPED {test}: {reasons}");
    false
}
