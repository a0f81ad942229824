//! The engine's container state in our words. Pure; called for every inspected container. "Not running" must never be said of
//! a container that has, or may get back, a process.

use bollard::models::{ContainerState, ContainerStateStatusEnum};

use crate::runtime::InstanceState;

/// A missing state is read as running: the careful side. `memory_bytes`: the container's limit, if it has one.
pub(super) fn instance_state(state: Option<&ContainerState>, memory_bytes: Option<i64>) -> InstanceState {
    let Some(state) = state else { return InstanceState::Running };
    let set = |flag: Option<bool>| flag.unwrap_or(false);
    // Paused has frozen processes, restarting is about to have some.
    if set(state.running) || set(state.paused) || set(state.restarting) || state.pid.is_some_and(|pid| pid > 0) {
        return InstanceState::Running;
    }
    let code = state.exit_code.and_then(|code| i32::try_from(code).ok()).unwrap_or(0);
    let error = state.error.as_deref().unwrap_or("").trim();
    if state.status == Some(ContainerStateStatusEnum::CREATED) {
        if code == 0 && error.is_empty() {
            return InstanceState::Created;
        }
        // The engine calls a container whose start failed "created". It could be started again; we never do.
        let why = if error.is_empty() { "the engine gave no reason" } else { error };
        return InstanceState::Exited { code, reason: format!("did not start: {why}") };
    }
    let mut reason = ended_because(code, set(state.oom_killed), memory_bytes.filter(|bytes| *bytes > 0));
    if !error.is_empty() {
        reason.push_str(&format!("; dockerd says: {error}"));
    }
    if set(state.dead) || state.status == Some(ContainerStateStatusEnum::DEAD) {
        reason.push_str("; dockerd could not remove it fully and will try again");
    } else if state.status == Some(ContainerStateStatusEnum::REMOVING) {
        reason.push_str("; being removed");
    }
    InstanceState::Exited { code, reason }
}

/// Why a started instance ended, for people. Engine 20.10 misses the out-of-memory event of about one container in ten that dies
/// of it, so a SIGKILL under a memory limit is never called plain.
fn ended_because(code: i32, out_of_memory: bool, memory_bytes: Option<i64>) -> String {
    let how = match code {
        0 => "ended with exit code 0".to_owned(),
        129..=192 => format!("killed by signal {}", code - 128),
        other => format!("ended with exit code {other}"),
    };
    match memory_bytes {
        _ if out_of_memory => format!("out of memory: it passed its memory limit; {how}"),
        Some(bytes) if code == 137 => format!("{how}; perhaps by its memory limit of {bytes} bytes, dockerd may not have noticed"),
        Some(_) | None => how,
    }
}

/// The exit code in a listing's status text, `Exited (137) 3 seconds ago`: only for a container that cannot be inspected now.
pub(super) fn code_in_status(status: &str) -> Option<i32> {
    status.strip_prefix("Exited (")?.split_once(')')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(status: ContainerStateStatusEnum) -> ContainerState {
        ContainerState { status: Some(status), ..ContainerState::default() }
    }

    fn exited(code: i32, reason: &str) -> InstanceState {
        InstanceState::Exited { code, reason: reason.to_owned() }
    }

    #[test]
    fn paused_and_restarting_count_as_running() {
        let paused = ContainerState { paused: Some(true), running: Some(true), ..state(ContainerStateStatusEnum::PAUSED) };
        assert_eq!(instance_state(Some(&paused), None), InstanceState::Running);
        let restarting = ContainerState { restarting: Some(true), ..state(ContainerStateStatusEnum::RESTARTING) };
        assert_eq!(instance_state(Some(&restarting), None), InstanceState::Running);
        assert_eq!(instance_state(None, None), InstanceState::Running);
        let odd = ContainerState { pid: Some(7), ..state(ContainerStateStatusEnum::EXITED) };
        assert_eq!(instance_state(Some(&odd), None), InstanceState::Running);
    }

    #[test]
    fn a_failed_start_is_exited_and_not_created() {
        assert_eq!(instance_state(Some(&state(ContainerStateStatusEnum::CREATED)), None), InstanceState::Created);
        let failed =
            ContainerState { exit_code: Some(128), error: Some("port taken".to_owned()), ..state(ContainerStateStatusEnum::CREATED) };
        assert_eq!(instance_state(Some(&failed), None), exited(128, "did not start: port taken"));
    }

    #[test]
    fn the_reason_names_signal_memory_and_the_engines_own_words() {
        let of = |code, oom, error: &str| ContainerState {
            exit_code: Some(code),
            oom_killed: Some(oom),
            error: Some(error.to_owned()),
            ..state(ContainerStateStatusEnum::EXITED)
        };
        assert_eq!(instance_state(Some(&of(0, false, "")), None), exited(0, "ended with exit code 0"));
        assert_eq!(instance_state(Some(&of(3, false, "")), None), exited(3, "ended with exit code 3"));
        assert_eq!(instance_state(Some(&of(143, false, "")), None), exited(143, "killed by signal 15"));
        let hint = exited(137, "killed by signal 9; perhaps by its memory limit of 16 bytes, dockerd may not have noticed");
        assert_eq!(instance_state(Some(&of(137, false, "")), Some(16)), hint);
        assert_eq!(instance_state(Some(&of(137, false, "")), Some(0)), exited(137, "killed by signal 9"), "0 is no limit");
        let memory = exited(137, "out of memory: it passed its memory limit; killed by signal 9");
        assert_eq!(instance_state(Some(&of(137, true, "")), None), memory);
        assert_eq!(
            instance_state(Some(&of(255, false, "shim died")), None),
            exited(255, "ended with exit code 255; dockerd says: shim died")
        );
    }

    #[test]
    fn dead_and_removing_are_exited_and_say_so() {
        let dead = ContainerState { dead: Some(true), exit_code: Some(1), ..state(ContainerStateStatusEnum::DEAD) };
        assert_eq!(
            instance_state(Some(&dead), None),
            exited(1, "ended with exit code 1; dockerd could not remove it fully and will try again")
        );
        assert_eq!(
            instance_state(Some(&state(ContainerStateStatusEnum::REMOVING)), None),
            exited(0, "ended with exit code 0; being removed")
        );
    }

    #[test]
    fn the_exit_code_is_read_from_a_listing() {
        assert_eq!(code_in_status("Exited (137) 3 seconds ago"), Some(137));
        assert_eq!(code_in_status("Up 3 seconds"), None);
    }
}
