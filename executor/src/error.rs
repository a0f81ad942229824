//! Why an executor could not start or go on. Made by `executor` and `session`; shown by `berth executor` as it ends.

use crate::clock::ClockError;
use crate::ledger::LedgerError;
use crate::link::BadEndpoint;

#[derive(Debug, thiserror::Error)]
pub enum ExecutorError {
    #[error("the clock of this machine cannot be used")]
    Clock(#[from] ClockError),
    #[error("the ledger cannot be used")]
    Ledger(#[from] LedgerError),
    #[error("the deadline thread has ended: nothing may run without it")]
    Unenforced,
    #[error(transparent)]
    Endpoint(#[from] BadEndpoint),
    #[error("cannot start: {what}")]
    Machine {
        what: &'static str,
        #[source]
        source: std::io::Error,
    },
}
