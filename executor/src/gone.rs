//! Fenced holders (L15): a host that was fenced gets no lease before each fenced token is known to be gone there. One that this host has a workload of is
//! reported by its release, like any other end. Of one that it has nothing of, this file says so. Called by the manager; must never report a token of
//! which something may still run or be mounted.

use std::collections::BTreeSet;
use std::sync::Arc;

use berth_state::ids::Token;
use berth_state::noun::host::FencedHolder;
use tokio::sync::mpsc;
use tracing::{info, warn};

use crate::context::Context;
use crate::control::ReleaseRequest;
use crate::event::Event;

/// Reports under way.
#[derive(Debug, Default)]
pub struct GoneReports {
    sent: BTreeSet<Token>,
}

impl GoneReports {
    /// What is to be reported now. `known`: a workload of the token is still here, or one of its volumes may be.
    pub fn due<'f>(&mut self, fenced: &'f [FencedHolder], known: impl Fn(Token) -> bool) -> Vec<&'f FencedHolder> {
        self.sent.retain(|token| fenced.iter().any(|holder| holder.token == *token));
        fenced.iter().filter(|holder| !known(holder.token) && self.sent.insert(holder.token)).collect()
    }

    /// It was not answered: to be sent again.
    pub fn failed(&mut self, token: Token) {
        self.sent.remove(&token);
    }
}

/// Says that nothing of the holder is here. It was forgotten only after it was dead and unmounted, or it never began (L9: the ledger names it before attach).
pub async fn report(context: Arc<Context>, holder: FencedHolder, events: mpsc::Sender<Event>) {
    let token = holder.token;
    let Some(current) = context.session.borrow().clone() else {
        let _ = events.send(Event::GoneUnanswered(token)).await;
        return;
    };
    let request = ReleaseRequest {
        cluster: current.cluster,
        request: context.random.request_id(),
        session: current.session,
        lease: holder.lease,
        token,
        exit: None,
        finished: false,
    };
    match context.control.release(request).await {
        Ok(()) => info!(%token, "reported: nothing of this fenced token is here"),
        Err(error) => {
            warn!(%token, %error, "cannot report a fenced token as gone");
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            let _ = events.send(Event::GoneUnanswered(token)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use berth_state::ids::{BootId, LeaseId, LedgerId, Revision};

    use super::*;

    fn holder(token: u64) -> FencedHolder {
        let (boot, ledger) = (BootId([1; 16]), LedgerId([2; 16]));
        FencedHolder { token: Token(token), lease: LeaseId(token), boot, ledger, at: Revision(9) }
    }

    #[test]
    fn a_token_is_reported_once_and_only_when_nothing_of_it_is_here() {
        let fenced = [holder(3), holder(5)];
        let mut reports = GoneReports::default();
        assert_eq!(reports.due(&fenced, |token| token == Token(3)), [&fenced[1]]);
        assert!(reports.due(&fenced, |token| token == Token(3)).is_empty());
        assert_eq!(reports.due(&fenced, |_| false), [&fenced[0]]);
        reports.failed(Token(3));
        assert_eq!(reports.due(&fenced, |_| false), [&fenced[0]]);
    }

    #[test]
    fn what_is_no_longer_fenced_is_forgotten() {
        let mut reports = GoneReports::default();
        assert_eq!(reports.due(&[holder(3)], |_| false).len(), 1);
        assert!(reports.due(&[], |_| false).is_empty());
        assert_eq!(reports.due(&[holder(3)], |_| false).len(), 1);
    }
}
