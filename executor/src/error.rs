//! Why an executor could not start or go on. Made by `executor` and `session`; shown by `berth executor` as it ends.

use crate::clock::ClockError;
use crate::guard_binary::GuardBinaryError;
use crate::hostguard::client::HostGuardError;
use crate::ledger::LedgerError;
use crate::link::BadEndpoint;
use crate::pages::PagesError;

#[derive(Debug, thiserror::Error)]
pub enum ExecutorError {
    #[error("the clock of this machine cannot be used")]
    Clock(#[from] ClockError),
    #[error("the ledger cannot be used")]
    Ledger(#[from] LedgerError),
    #[error("the deadline thread has ended: nothing may run without it")]
    Unenforced,
    #[error("the guard, which every instance needs, cannot be used")]
    Guard(#[from] GuardBinaryError),
    #[error("the host guard cannot be used")]
    HostGuard(#[from] HostGuardError),
    #[error("deadline pages cannot be made")]
    Pages(#[from] PagesError),
    #[error(transparent)]
    Endpoint(#[from] BadEndpoint),
    #[error("cannot start: {what}")]
    Machine {
        what: &'static str,
        #[source]
        source: std::io::Error,
    },
}
