//! How a step ended, and why it did not do what it should. Made by `steps` and `release`, read by `world`.

use berth_state::noun::lease::Exit;

use crate::ledger::LedgerError;
use crate::runtime::RuntimeError;
use crate::volumes::VolumeError;

/// Why a step did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    #[error("there is no right to act now")]
    NoRight,
    #[error("{reason}")]
    Failed { reason: String, may_succeed_later: bool },
    /// Fatal for the process.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl From<RuntimeError> for StepError {
    fn from(error: RuntimeError) -> Self {
        let may_succeed_later = error.may_succeed_later();
        Self::Failed { reason: with_causes(&error), may_succeed_later }
    }
}

impl From<VolumeError> for StepError {
    fn from(error: VolumeError) -> Self {
        Self::Failed { reason: with_causes(&error), may_succeed_later: error.may_succeed_later() }
    }
}

impl StepError {
    pub(crate) fn failed(reason: impl Into<String>) -> Self {
        Self::Failed { reason: reason.into(), may_succeed_later: true }
    }
}

/// An error with what caused it, in one line: it is shown through the lease.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(lower) = cause {
        text = format!("{text}: {lower}");
        cause = lower.source();
    }
    text
}

/// How a step ended.
#[derive(Debug)]
pub enum StepDone {
    Prepared(Result<(), StepError>),
    Launched(Result<(), StepError>),
    Killed(Result<(), StepError>),
    /// With its exit, where the runtime knows it.
    Stopped(Result<Option<Exit>, StepError>),
    Unmounted(Result<(), StepError>),
    Released(Result<(), StepError>),
}

impl StepDone {
    /// The ledger error that ends the process, if that is how it ended.
    pub fn fatal(self) -> Result<Self, LedgerError> {
        match self {
            Self::Prepared(Err(StepError::Ledger(error)))
            | Self::Launched(Err(StepError::Ledger(error)))
            | Self::Killed(Err(StepError::Ledger(error)))
            | Self::Stopped(Err(StepError::Ledger(error)))
            | Self::Unmounted(Err(StepError::Ledger(error)))
            | Self::Released(Err(StepError::Ledger(error))) => Err(error),
            Self::Prepared(_) | Self::Launched(_) | Self::Killed(_) | Self::Stopped(_) | Self::Unmounted(_) | Self::Released(_) => Ok(self),
        }
    }
}
