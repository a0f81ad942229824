//! Settings under which a container of ours must not run, whoever made them so: the engine's defaults, a plug-in, or a person with `docker update`. Asked before
//! each start. Nothing here is ever set by `create`; this is the second look.

use bollard::models::{HostConfig, RestartPolicyNameEnum};

/// What about this container rules a start out.
pub(super) fn refusal(config: Option<&HostConfig>) -> Option<String> {
    let config = config?;
    let policy = config.restart_policy.as_ref().and_then(|policy| policy.name);
    if !matches!(policy, None | Some(RestartPolicyNameEnum::EMPTY | RestartPolicyNameEnum::NO)) {
        return Some(
            "it has a Docker restart policy, by which the engine would start it without anyone having looked at its lease: docker update --restart=no"
                .to_owned(),
        );
    }
    let pid_mode = config.pid_mode.as_deref().unwrap_or_default();
    if pid_mode == "host" {
        let text = "it shares the host's pid namespace, where the end of its guard kills nothing: remove --pid=host (or the engine's default for it)";
        return Some(text.to_owned());
    }
    if pid_mode.starts_with("container:") {
        let text = "it shares another container's pid namespace, where the end of its guard kills nothing: remove --pid=container:…";
        return Some(text.to_owned());
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test")]
mod tests {
    use bollard::models::RestartPolicy;

    use super::*;

    fn with_policy(name: RestartPolicyNameEnum) -> HostConfig {
        HostConfig { restart_policy: Some(RestartPolicy { name: Some(name), maximum_retry_count: None }), ..HostConfig::default() }
    }

    #[test]
    fn a_restart_policy_rules_a_start_out() {
        for name in [RestartPolicyNameEnum::ALWAYS, RestartPolicyNameEnum::ON_FAILURE, RestartPolicyNameEnum::UNLESS_STOPPED] {
            assert!(refusal(Some(&with_policy(name))).unwrap().contains("--restart=no"));
        }
        for name in [RestartPolicyNameEnum::NO, RestartPolicyNameEnum::EMPTY] {
            assert_eq!(refusal(Some(&with_policy(name))), None);
        }
    }

    #[test]
    fn a_pid_namespace_of_somebody_else_rules_a_start_out() {
        for (mode, refused) in [("host", true), ("container:abc", true), ("", false), ("private", false)] {
            let config = HostConfig { pid_mode: Some(mode.to_owned()), ..HostConfig::default() };
            assert_eq!(refusal(Some(&config)).is_some(), refused, "{mode}");
        }
        assert_eq!(refusal(None), None);
    }
}
