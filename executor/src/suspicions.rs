//! Suspected split brains on their way to the log. Set by the heartbeat tasks, asked by the release step.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use berth_state::ids::Token;

use crate::step_done::StepError;

/// Suspicions that are not recorded yet. While there is one, its lease is not given back: the volume would go to the next holder unseen.
#[derive(Debug, Default)]
pub struct Suspicions(Mutex<BTreeSet<Token>>);

impl Suspicions {
    /// It is to be recorded, or has been.
    pub fn pending(&self, token: Token, is: bool) {
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if is {
            tokens.insert(token)
        } else {
            tokens.remove(&token)
        };
    }

    /// # Errors
    /// One of this token is still to be recorded.
    pub fn recorded(&self, token: Token) -> Result<(), StepError> {
        if self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&token) {
            return Err(StepError::failed("the suspected split brain is still to be recorded"));
        }
        Ok(())
    }
}
