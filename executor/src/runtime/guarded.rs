//! The guard as both runtimes use it: the words it is started with, and what its status says of an instance's end. Pure. The status is written inside the
//! instance, so it only explains an exit code that the kernel has proven.

use std::ffi::OsString;
use std::path::PathBuf;

use berth_guard::arguments::{Arguments, Hook};
use berth_guard::exit;
use berth_guard::status::{HookFailure, HookKind, Phase};

use super::spec::{GuardSpec, HookSpec, InstanceSpec};
use super::{InstanceKey, RuntimeError};

/// Where the guard and its files are as the instance sees them.
pub(super) struct Seen {
    pub page: PathBuf,
    pub status: PathBuf,
}

/// The words after the guard's own name.
pub(super) fn arguments(key: &InstanceKey, guard: &GuardSpec, seen: Seen, command: Vec<String>) -> Vec<OsString> {
    let hook =
        |kind, hook: &HookSpec| Hook { kind, timeout_ms: hook.timeout_ms, command: hook.command.iter().map(OsString::from).collect() };
    let init = guard.init.iter().map(|spec| hook(HookKind::Init, spec));
    let pre_start = guard.pre_start.iter().map(|spec| hook(HookKind::PreStart, spec));
    let arguments = Arguments {
        page: seen.page,
        token: key.token,
        status: Some(seen.status),
        hooks: init.chain(pre_start).collect(),
        command: command.into_iter().map(OsString::from).collect(),
    };
    arguments.to_words()
}

/// Nothing runs without a guard.
pub(super) fn check(spec: &InstanceSpec) -> Result<(), RuntimeError> {
    let guard = &spec.guard;
    let invalid = |reason: String| Err(RuntimeError::InvalidSpec { what: "guard", reason });
    if let Some(path) = [&guard.binary, &guard.page, &guard.status].into_iter().find(|path| !path.is_absolute()) {
        return invalid(format!("every instance needs one, by absolute paths: {path:?} is none"));
    }
    let hooks = [&guard.init, &guard.pre_start].into_iter().flatten();
    if hooks.clone().any(|hook| hook.command.first().is_none_or(String::is_empty)) {
        return invalid("a hook has no command".to_owned());
    }
    if hooks.flat_map(|hook| &hook.command).any(|word| word.contains('\0')) {
        return invalid("a hook's command contains a NUL character".to_owned());
    }
    Ok(())
}

/// Whether the guard has got as far as its hooks or the command, or has ended after that.
pub(super) fn has_begun(phase: Phase) -> bool {
    match phase {
        Phase::Silent | Phase::Starting | Phase::NotStarted(_) | Phase::Refused => false,
        Phase::Hook(_) | Phase::Running | Phase::HookFailed(_, _) | Phase::Exited(_) | Phase::Killed(_) | Phase::DeadlinePassed => true,
    }
}

/// Whether it is still to be known how the start went.
pub(super) fn is_beginning(phase: Phase) -> bool {
    matches!(phase, Phase::Silent | Phase::Starting)
}

/// Why an instance with this code ended, where the guard itself was the reason; `None`: the command was, or the guard's word does not fit the code.
pub(super) fn own_end(phase: Phase, code: i32, program: &str) -> Option<String> {
    let (expected, text) = match phase {
        Phase::Silent | Phase::Starting | Phase::Hook(_) | Phase::Running | Phase::Exited(_) | Phase::Killed(_) => return None,
        Phase::HookFailed(kind, failure) => {
            (exit::HOOK_FAILED, format!("{} hook {}: the command was not started", kind.name(), how(failure)))
        }
        Phase::NotStarted(exit::NOT_FOUND) => (exit::NOT_FOUND, format!("did not start: {program}: not found")),
        Phase::NotStarted(code) => (code, format!("did not start: {program}: cannot be executed")),
        Phase::DeadlinePassed => {
            (exit::DEADLINE_PASSED, "ended by its guard: the lease's deadline passed, or the lease was lost".to_owned())
        }
        Phase::Refused => (exit::REFUSED, "did not start: its guard refused, see the instance's log".to_owned()),
    };
    (code == i32::from(expected)).then_some(text)
}

fn how(failure: HookFailure) -> String {
    match failure {
        HookFailure::Code(code) => format!("ended with code {code}"),
        HookFailure::TimedOut => "took too long".to_owned(),
        HookFailure::Unkillable => "left a process that cannot be killed".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_that_does_not_fit_the_exit_code_explains_nothing() {
        let failed = Phase::HookFailed(HookKind::Init, HookFailure::Code(3));
        assert!(own_end(failed, 123, "x").is_some_and(|why| why.contains("init hook ended with code 3")));
        assert_eq!(own_end(failed, 0, "x"), None, "the instance scribbled over its status");
        assert_eq!(own_end(Phase::Exited(124), 124, "x"), None, "the command's own code");
        assert!(own_end(Phase::DeadlinePassed, 124, "x").is_some_and(|why| why.contains("deadline")));
        assert!(own_end(Phase::NotStarted(127), 127, "/no/such").is_some_and(|why| why.contains("/no/such")));
    }
}
