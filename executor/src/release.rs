//! The last step of a lease (L16): telling the control plane that its instance is dead and its volumes are flushed and unmounted, and forgetting it. The plan
//! takes care that it is so; this must never forget a lease before that word was answered.

use berth_state::ids::{SessionId, Token};
use berth_state::rejection::Rejection;
use tracing::{info, warn};

use crate::context::Context;
use crate::control::{LinkError, ReleaseRequest};
use crate::ledger::{LedgerError, PendingRelease};
use crate::step_done::StepError;
use crate::workload::Workload;

impl Context {
    /// L16. Repeated by the plan until it is answered, also by a successor of this process.
    pub(crate) async fn release(&self, workload: &Workload) -> Result<(), StepError> {
        self.discharge_host_guard(workload.token)?;
        let (current, token) = (self.current()?, workload.token);
        let pending = self.pending(workload, current.session).await?;
        let request = ReleaseRequest {
            cluster: current.cluster,
            request: pending.request,
            session: current.session,
            lease: workload.lease,
            token,
            exit: pending.exit,
            finished: pending.finished,
        };
        match self.control.release(request).await {
            Ok(()) => {}
            Err(LinkError::Rejected(why)) if no_such_lease(&why) => warn!(%token, %why, "the lease is not known any more"),
            Err(LinkError::Rejected(why)) => {
                // The same request would get the same refusal for ever.
                self.forget_request(token).await?;
                return Err(StepError::failed(format!("release refused: {why}")));
            }
            Err(error) => return Err(StepError::failed(format!("release: {error}"))),
        }
        info!(%token, container = %workload.container, "released");
        self.enforcer.book(|book| book.retire(token));
        self.forget_order(token);
        self.pages.remove(token);
        self.ledger
            .change(|state| {
                state.records.remove(&token);
            })
            .await?;
        Ok(())
    }

    /// The request as it was first sent on this session.
    async fn pending(&self, workload: &Workload, session: SessionId) -> Result<PendingRelease, StepError> {
        let token = workload.token;
        let earlier = self.ledger.read(|state| state.records.get(&token).and_then(|record| record.release.clone()));
        if let Some(earlier) = earlier.filter(|release| release.session == session) {
            return Ok(earlier);
        }
        let ending = workload.ending();
        let pending = PendingRelease { request: self.random.request_id(), session, exit: ending.exit, finished: ending.finished };
        // Durable before sent: a successor repeats this very request.
        self.ledger
            .change(|state| {
                if let Some(record) = state.records.get_mut(&token) {
                    record.release = Some(pending.clone());
                }
            })
            .await?;
        Ok(pending)
    }

    async fn forget_request(&self, token: Token) -> Result<(), LedgerError> {
        self.ledger
            .change(|state| {
                if let Some(record) = state.records.get_mut(&token) {
                    record.release = None;
                }
            })
            .await
    }
}

/// No un-ended lease of this name and token: there is nothing to release.
fn no_such_lease(why: &Rejection) -> bool {
    matches!(why, Rejection::LeaseNotFound { .. } | Rejection::TokenMismatch { .. })
}
