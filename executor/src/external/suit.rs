//! Which containers are refused a volume: those that escape what enforces the lease. Pure, but for reading the engine's own file of a container that it has
//! locked. Called at Mount (best effort) and again once a container runs.

use std::path::Path;

use bollard::models::{HostConfig, RestartPolicyNameEnum};

/// Why a container with this configuration may not have a volume. `silence_ends`: its lease ends by silence, so it rests on this host alone.
pub(super) fn unfit(config: &HostConfig, silence_ends: bool) -> Option<String> {
    let policy = config.restart_policy.as_ref().and_then(|policy| policy.name);
    match policy {
        Some(RestartPolicyNameEnum::ALWAYS | RestartPolicyNameEnum::UNLESS_STOPPED | RestartPolicyNameEnum::ON_FAILURE) => {
            return Some("it has a Docker restart policy, and dockerd would start it again without a lease: use --restart no".to_owned());
        }
        Some(RestartPolicyNameEnum::NO | RestartPolicyNameEnum::EMPTY) | None => {}
    }
    let pid = config.pid_mode.as_deref().unwrap_or_default();
    if pid == "host" {
        return Some("it uses the host's pid namespace (--pid=host), where the end of its first process ends nothing else".to_owned());
    }
    if pid.starts_with("container:") {
        return Some(format!("it shares the pid namespace of another container (--pid={pid}), which its lease does not cover"));
    }
    (silence_ends && config.privileged == Some(true)).then(|| {
        "it is privileged and could undo what enforces an after-expiry lease: leave --privileged out, or use takeover after-fence"
            .to_owned()
    })
}

/// The configuration of a container as the engine keeps it on disk: needs no lock of the engine.
pub(super) fn on_disk(root: &Path, id: &str) -> Option<HostConfig> {
    let text = std::fs::read(root.join("containers").join(id).join("hostconfig.json")).ok()?;
    serde_json::from_slice(&text).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test")]
mod tests {
    use super::*;

    fn config(text: &str) -> HostConfig {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn what_escapes_the_lease_is_refused_with_its_reason() {
        for (text, word) in [
            (r#"{"RestartPolicy":{"Name":"always"}}"#, "restart"),
            (r#"{"RestartPolicy":{"Name":"on-failure","MaximumRetryCount":3}}"#, "restart"),
            (r#"{"PidMode":"host"}"#, "--pid=host"),
            (r#"{"PidMode":"container:abc"}"#, "--pid=container:abc"),
            (r#"{"Privileged":true}"#, "privileged"),
        ] {
            assert!(unfit(&config(text), true).unwrap().contains(word), "{text}");
        }
        assert_eq!(unfit(&config(r#"{"Privileged":true}"#), false), None, "after-fence rests on the storage");
        assert_eq!(unfit(&config(r#"{"RestartPolicy":{"Name":"no"},"PidMode":"","Privileged":false}"#), true), None);
    }

    #[test]
    fn the_engines_own_file_is_read_and_garbage_says_nothing() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("containers/abc");
        std::fs::create_dir_all(&folder).unwrap();
        assert_eq!(on_disk(root.path(), "abc"), None);
        std::fs::write(folder.join("hostconfig.json"), r#"{"PidMode":"host"}"#).unwrap();
        assert_eq!(on_disk(root.path(), "abc").unwrap().pid_mode.as_deref(), Some("host"));
        std::fs::write(folder.join("hostconfig.json"), "{").unwrap();
        assert_eq!(on_disk(root.path(), "abc"), None);
    }
}
