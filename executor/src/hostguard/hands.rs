//! What the guard does to the world, as one seam: the real one, and fakes in tests. Every call is safe to repeat.

use berth_guard::clock;

use super::target::KillTarget;
use crate::volumes::mountinfo;
use crate::volumes::{CutError, CutPlan, CutReport, cut_now, unmount_now};

/// Shared by the guard's threads.
pub trait Hands: Send + Sync + 'static {
    /// The holder's clock (L19), ns.
    fn now_ns(&self) -> u64;

    /// Does not wait for the end.
    ///
    /// # Errors
    /// For the log: it is repeated anyway.
    fn kill(&self, target: &KillTarget) -> Result<(), String>;

    /// # Errors
    /// Nothing is known.
    fn is_gone(&self, target: &KillTarget) -> Result<bool, String>;

    /// May block, within its own bounds.
    ///
    /// # Errors
    /// It is not sure that nothing is written any more.
    fn cut(&self, plan: &CutPlan) -> Result<CutReport, CutError>;

    /// May block, within its own bounds.
    ///
    /// # Errors
    /// It is still there.
    fn unmount(&self, plan: &CutPlan) -> Result<CutReport, CutError>;

    /// Whether something is mounted where the plan says; `true` where the kernel does not tell.
    fn is_mounted(&self, plan: &CutPlan) -> bool;
}

/// By system calls.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemHands;

impl Hands for SystemHands {
    fn now_ns(&self) -> u64 {
        clock::now_ns()
    }

    fn kill(&self, target: &KillTarget) -> Result<(), String> {
        target.kill().map_err(|error| chain(&error))
    }

    fn is_gone(&self, target: &KillTarget) -> Result<bool, String> {
        target.is_gone().map_err(|error| chain(&error))
    }

    fn cut(&self, plan: &CutPlan) -> Result<CutReport, CutError> {
        cut_now(plan)
    }

    fn unmount(&self, plan: &CutPlan) -> Result<CutReport, CutError> {
        unmount_now(plan)
    }

    fn is_mounted(&self, plan: &CutPlan) -> bool {
        plan.mount_point.as_deref().is_some_and(|point| !matches!(mountinfo::at(point), Ok(None)))
    }
}

/// An error with its causes.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let (mut text, mut cause) = (error.to_string(), error.source());
    while let Some(inner) = cause {
        text.push_str(&format!(": {inner}"));
        cause = inner.source();
    }
    text
}
