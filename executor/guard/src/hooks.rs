//! Hooks: programs that must succeed before the command starts. Nothing that one has started outlives it: the command must not find a stranger in its volume.

use std::time::Duration;

use berth_guard::arguments::{Hook, program};
use berth_guard::status::{HookFailure, HookKind, Phase};

use crate::say::say;
use crate::sweep;
use crate::watch::{Ended, Guard};

pub(crate) enum Hooks {
    Passed,
    Failed(HookKind, HookFailure),
    DeadlinePassed,
}

impl Guard {
    pub(crate) fn run_hooks(&mut self, hooks: &[Hook]) -> Hooks {
        for hook in hooks {
            self.tell(Phase::Hook(hook.kind));
            let (ended, error) = self.run_limited(&hook.command, Duration::from_millis(hook.timeout_ms));
            let failure = match ended {
                Ended::DeadlinePassed => return Hooks::DeadlinePassed,
                Ended::TimedOut => Some(HookFailure::TimedOut),
                Ended::With(end) if end.code() == 0 => None,
                Ended::With(end) => Some(HookFailure::Code(end.code())),
                Ended::Nothing => unreachable!("a hook is a child"),
            };
            let failure = match (self.sweep(sweep::AFTER_HOOK), failure) {
                (Ended::DeadlinePassed, _) => return Hooks::DeadlinePassed,
                (Ended::TimedOut, None) => Some(HookFailure::Unkillable),
                (Ended::TimedOut | Ended::Nothing | Ended::With(_), failure) => failure,
            };
            if let Some(failure) = failure {
                let why = match (failure, error) {
                    (_, Some(error)) => error.to_string(),
                    (HookFailure::Code(code), None) => format!("it ended with code {code}"),
                    (HookFailure::TimedOut, None) => format!("it took longer than {} ms", hook.timeout_ms),
                    (HookFailure::Unkillable, None) => "what it started cannot be killed".to_owned(),
                };
                let name = hook.kind.name();
                say(&format!("{name} hook {}: {why}; the command is not started", program(&hook.command).to_string_lossy()));
                return Hooks::Failed(hook.kind, failure);
            }
        }
        Hooks::Passed
    }
}
