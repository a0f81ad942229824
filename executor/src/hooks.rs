//! Hooks around a container's command, on the executor's side: which one an instance gets, and what follows when its guard says that it came through. The
//! guard runs them; see `berth_guard::status`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use berth_guard::status::{self, Phase};
use berth_state::ids::{Token, VolumeId};
use berth_state::noun::container::{ContainerSpec, Hook};
use tracing::warn;

use crate::context::Context;
use crate::ledger::{LedgerState, Record};
use crate::runtime::spec::HookSpec;
use crate::step_done::StepError;
use crate::volumes::birth::VolumeState;

/// How often the guard's status is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// How long a status file may be missing: 30 s. Then its launch failed, or it went with its lease.
const MISSING_LOOKS: u32 = 600;

/// (init, pre-start): at most one. A volume that is new calls for the init hook; without one, and otherwise, for the pre-start hook.
#[must_use]
pub fn choose(spec: &ContainerSpec, states: &BTreeMap<VolumeId, VolumeState>) -> (Option<HookSpec>, Option<HookSpec>) {
    let hook = |hook: &Hook| HookSpec { command: hook.command.clone(), timeout_ms: hook.timeout_ms };
    let new = states.values().any(|state| match state {
        VolumeState::New => true,
        VolumeState::Used => false,
    });
    match &spec.init {
        Some(init) if new => (Some(hook(init)), None),
        Some(_) | None => (None, spec.pre_start.as_ref().map(hook)),
    }
}

/// Whether the hooks of a guard in this phase came through; `None`: not known yet.
fn came_through(phase: Phase) -> Option<bool> {
    match phase {
        Phase::Silent | Phase::Starting | Phase::Hook(_) => None,
        Phase::Running | Phase::Exited(_) | Phase::Killed(_) | Phase::NotStarted(_) => Some(true),
        // Perhaps they had; but nothing may be written to the volume any more.
        Phase::HookFailed(_, _) | Phase::DeadlinePassed | Phase::Refused => Some(false),
    }
}

/// Watches the guards of all instances here until their hooks have come through or failed, those of an earlier executor too. Never ends.
pub(crate) async fn follow(context: Arc<Context>) {
    let mut watched = BTreeSet::new();
    loop {
        let begun = |record: &&Record| record.attempt > 0 && !record.volumes.is_empty();
        let attempts = |state: &LedgerState| state.records.values().filter(begun).map(|record| (record.token, record.attempt)).collect();
        let attempts: BTreeSet<(Token, u32)> = context.ledger.read(attempts);
        watched.retain(|attempt| attempts.contains(attempt));
        for (token, attempt) in attempts {
            if watched.insert((token, attempt)) {
                // A task each: a storage that hangs holds up its own mark only.
                context.tasks.spawn(mark_when_through(Arc::clone(&context), token, attempt));
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Marks the lease's volumes as used when the hooks of this attempt have come through: another init on them would destroy data. Ends when that is decided or
/// the right is lost; a failed mark is tried again.
async fn mark_when_through(context: Arc<Context>, token: Token, attempt: u32) {
    // A launch notes its attempt first and makes the file a little later.
    let mut missing = 0;
    while !context.enforcer.is_over(token) && missing < MISSING_LOOKS {
        match status::read(&context.pages.status(token, attempt)) {
            Ok(Some(phase)) => match came_through(phase) {
                Some(true) => match context.mark_as_used(token).await {
                    Ok(()) => return,
                    Err(error) => warn!(%token, %error, "volumes are not marked as used yet"),
                },
                Some(false) => return,
                None => {}
            },
            // Scribbled over by the instance.
            Ok(None) => return,
            Err(_) => missing += 1,
        }
        tokio::time::sleep(LOOK).await;
    }
}

impl Context {
    /// Before another attempt looks at the age of its volumes: what the hooks of the former one made ready is noted.
    pub(crate) async fn settle_hooks(&self, token: Token, former: u32) -> Result<(), StepError> {
        match status::read(&self.pages.status(token, former)) {
            Ok(Some(phase)) if came_through(phase) == Some(true) => self.mark_as_used(token).await,
            Ok(_) | Err(_) => Ok(()),
        }
    }

    async fn mark_as_used(&self, token: Token) -> Result<(), StepError> {
        if self.enforcer.is_over(token) {
            return Err(StepError::NoRight);
        }
        self.volumes_initialised(token, self.sources(token)).await
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test")]
mod tests {
    use berth_guard::status::{HookFailure, HookKind};

    use super::*;
    use crate::testing::lease;

    #[test]
    fn a_new_volume_calls_for_init_and_everything_else_for_pre_start() {
        let hook = |word: &str| Hook { command: vec![word.to_owned()], timeout_ms: 5 };
        let chosen = |spec: &ContainerSpec, states: &[VolumeState]| {
            let named = states.iter().enumerate().map(|(n, state)| (VolumeId::new(&format!("v{n}")).unwrap(), *state)).collect();
            let (init, pre_start) = choose(spec, &named);
            (init.map(|hook| hook.command.concat()), pre_start.map(|hook| hook.command.concat()))
        };
        let mut spec = lease(11).spec;
        (spec.init, spec.pre_start) = (Some(hook("init")), Some(hook("pre")));
        let (init, pre_start) = ((Some("init".to_owned()), None), (None, Some("pre".to_owned())));
        assert_eq!(chosen(&spec, &[VolumeState::Used, VolumeState::New]), init);
        assert_eq!(chosen(&spec, &[VolumeState::Used]), pre_start);
        assert_eq!(chosen(&spec, &[]), pre_start);
        spec.init = None;
        assert_eq!(chosen(&spec, &[VolumeState::New]), pre_start);
        spec.pre_start = None;
        assert_eq!(chosen(&spec, &[VolumeState::New]), (None, None));
    }

    #[test]
    fn a_volume_is_used_only_once_its_hooks_came_through() {
        assert_eq!(came_through(Phase::Hook(HookKind::Init)), None);
        assert_eq!(came_through(Phase::Running), Some(true));
        assert_eq!(came_through(Phase::HookFailed(HookKind::Init, HookFailure::TimedOut)), Some(false));
    }
}
