//! The plan: what to do next for every workload. Pure and total; called by the manager after each change and each tick. Stop steps come before start steps,
//! and no start step is planned without a right at `now` (I11). Whoever carries a step out reads the clock again.

use std::collections::{BTreeMap, BTreeSet};

use berth_state::ids::Token;
use berth_state::noun::container::RuntimeKind;

use crate::clock::HolderTime;
use crate::deadline::DeadlineBook;
use crate::workload::{Seen, Wish, Workload};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Kill every instance of it, and see that no process is left.
    Kill,
    /// Stop signal, grace, kill.
    StopSoft,
    /// Flush and take the volumes away; `cut` their write-back first.
    Unmount { cut: bool },
    /// Tell the control plane, and forget it (L16).
    Release,
    /// Nothing of it was ever here, and nobody waits for word of it.
    Forget,
    /// Record it in the ledger, attach and mount its volumes, claim them by their fence files.
    Prepare,
    /// Create and start this attempt.
    Launch { attempt: u32 },
}

impl Step {
    /// Whether it leads to something running; the others lead away from it.
    #[must_use]
    pub fn starts(self) -> bool {
        match self {
            Self::Prepare | Self::Launch { .. } => true,
            Self::Kill | Self::StopSoft | Self::Unmount { .. } | Self::Release | Self::Forget => false,
        }
    }
}

/// All that a plan depends on.
pub struct World<'a> {
    pub workloads: &'a BTreeMap<Token, Workload>,
    pub book: &'a DeadlineBook,
    /// There is a session, so a release can be sent.
    pub session: bool,
    /// Runtimes whose leftovers of an earlier life are dealt with.
    pub swept: &'a BTreeSet<RuntimeKind>,
    pub now: HolderTime,
}

/// At most one step for each workload; stop steps first, each kind in the order of tokens.
#[must_use]
pub fn plan(world: &World<'_>) -> Vec<(Token, Step)> {
    let mut steps: Vec<(Token, Step)> = world.workloads.values().filter_map(|w| step(world, w).map(|step| (w.token, step))).collect();
    steps.sort_by_key(|(token, step)| (step.starts(), *token));
    steps
}

fn step(world: &World<'_>, w: &Workload) -> Option<Step> {
    let over = world.book.is_over(w.token, world.now);
    match w.wish {
        // Absent from the set, or no longer renewable: the control plane has it ended, or will.
        Wish::Closed | Wish::Ended => stop(world, w, true),
        Wish::Unknown | Wish::Run | Wish::Stop if over => stop(world, w, true),
        Wish::Stop => stop(world, w, false),
        Wish::Unknown | Wish::Run if w.ending.is_some() => stop(world, w, false),
        // Not assigned (yet): what runs goes on under its right; nothing new begins.
        Wish::Unknown => None,
        Wish::Run => start(world, w),
    }
}

/// Towards the release. `hard`: there is no right to run any more.
fn stop(world: &World<'_>, w: &Workload, hard: bool) -> Option<Step> {
    if !w.dead {
        return silence(world, w, hard);
    }
    // L16: not before everything that could still start something, or write, has ended.
    if w.busy.any() || world.now < w.stop_at {
        return None;
    }
    if w.mounted {
        return Some(Step::Unmount { cut: hard });
    }
    if w.wish == Wish::Ended && !w.recorded {
        return Some(Step::Forget);
    }
    world.session.then_some(Step::Release)
}

fn silence(world: &World<'_>, w: &Workload, hard: bool) -> Option<Step> {
    if w.busy.kill || world.now < w.stop_at {
        return None;
    }
    if hard {
        return Some(Step::Kill);
    }
    // After a restart of the executor, what runs has not been seen yet: it is to be stopped softly too.
    if w.busy.start || w.busy.stop || !world.swept.contains(&w.runtime) {
        return None;
    }
    match w.seen {
        Seen::Running { .. } => Some(Step::StopSoft),
        // Nothing is seen to run; the kill makes sure of it.
        Seen::Nothing | Seen::Created | Seen::Exited => Some(Step::Kill),
    }
}

fn start(world: &World<'_>, w: &Workload) -> Option<Step> {
    if w.busy.any() {
        return None;
    }
    if w.running() {
        return (w.restart_unhealthy() && world.now >= w.stop_at).then_some(Step::StopSoft);
    }
    let due = world.now >= w.start_at && !w.undecided;
    let free = world.swept.contains(&w.runtime) && !waits_for_older(world, w);
    if !due || !free || !world.book.may_act(w.token, world.now) {
        return None;
    }
    if !w.prepared {
        return Some(Step::Prepare);
    }
    world.book.may_start(w.token, world.now).then_some(Step::Launch { attempt: w.attempt + 1 })
}

/// An older lease on the same container or volume is still being wound up on this host.
fn waits_for_older(world: &World<'_>, w: &Workload) -> bool {
    let older = world.workloads.range(..w.token).map(|(_, older)| older);
    older.filter(|o| o.recorded || !o.dead || o.busy.any()).any(|o| o.container == w.container || !o.volumes.is_disjoint(&w.volumes))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test")]
#[path = "plan_tests.rs"]
mod tests;
