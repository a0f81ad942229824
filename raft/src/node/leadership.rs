//! Who leads, as this node sees it, and whether a leader here may act yet. Read by the leader loops and the API. A view can be stale the moment
//! it is read; nothing may rest on it but the decision to propose, whose check is at apply.

use openraft::async_runtime::watch::WatchReceiver;
use openraft::type_config::alias::WatchReceiverOf;
use openraft::{RaftMetrics, ServerState};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::types::{Member, TypeConfig};

pub(crate) type Metrics = RaftMetrics<TypeConfig>;
pub(crate) type MetricsWatch = WatchReceiverOf<TypeConfig, Metrics>;

/// One view of who leads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    pub term: u64,
    /// As the last vote says it; it may have died since.
    pub leader: Option<(u64, Member)>,
    /// This node leads and has applied the first entry of its own term.
    pub ready: bool,
}

impl Leadership {
    pub(crate) fn of(metrics: &Metrics) -> Self {
        let leader = metrics.current_leader.map(|id| {
            let member = metrics.membership_config.get_node(&id).cloned().unwrap_or_default();
            (id, member)
        });
        Self { term: metrics.current_term, leader, ready: ready_term(metrics).is_some() }
    }
}

/// The term this node leads in, once it has applied the first entry of that term (L11).
///
/// Exact, because leader ids are (term, node) and never fall along the log: an entry under *this* leader's id is among the applied ones if and
/// only if the last applied entry is under that id. The first entry a leader appends in its term is openraft's blank one, everything
/// committed by earlier leaders stands before it, and entries are applied in order; so once the last applied entry is ours, all of that
/// is applied. Only this node appends under its (term, node), so no entry of another leader is taken for ours. Vote, state and last
/// applied come from one metrics value, and openraft reports an entry as applied only after our state machine has returned from it: a reader
/// that sees "ready" finds at least that state.
pub(crate) fn ready_term(metrics: &Metrics) -> Option<u64> {
    let own = metrics.vote.leader_id;
    let leads = metrics.state == ServerState::Leader && metrics.vote.committed && own.node_id == metrics.id;
    let applied_own = metrics.last_applied.is_some_and(|last| last.leader_id == own);
    (leads && applied_own).then_some(own.term)
}

/// Keeps the view up to date until `stopping`. If openraft ends by itself before that, `died` is called with the reason: a node without its
/// core must not go on as if it were one.
pub(crate) async fn follow(
    mut metrics: MetricsWatch,
    view: watch::Sender<Leadership>,
    stopping: CancellationToken,
    died: impl FnOnce(String) + Send,
) {
    loop {
        let (now, running) = {
            let metrics = metrics.borrow_and_update();
            (Leadership::of(&metrics), metrics.running_state.clone())
        };
        view.send_if_modified(|before| {
            let changed = *before != now;
            if changed {
                let leader = now.leader.as_ref().map(|(id, _)| *id);
                info!(term = now.term, ?leader, ready = now.ready, "leadership");
                *before = now;
            }
            changed
        });
        if let Err(fatal) = running {
            view.send_replace(Leadership::default());
            if !stopping.is_cancelled() {
                error!(%fatal, "raft ended");
                died(fatal.to_string());
            }
            return;
        }
        tokio::select! {
            () = stopping.cancelled() => return,
            changed = metrics.changed() => if changed.is_err() {
                if !stopping.is_cancelled() {
                    died("its metrics ended".to_owned());
                }
                return;
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use openraft::async_runtime::watch::WatchSender;
    use openraft::error::Fatal;
    use openraft::type_config::TypeConfigExt;

    use super::*;
    use crate::types::{LeaderId, LogId, Vote};

    fn metrics(state: ServerState, vote: Vote, applied: Option<(u64, u64)>) -> Metrics {
        let mut metrics = Metrics::new_initial(2);
        metrics.state = state;
        metrics.current_term = vote.leader_id.term;
        metrics.vote = vote;
        metrics.last_applied = applied.map(|(term, node_id)| LogId::new(LeaderId { term, node_id }, 9));
        metrics
    }

    #[test]
    fn a_leader_is_ready_only_after_the_first_entry_of_its_own_term() {
        let won = Vote::new_committed(5, 2);
        assert_eq!(ready_term(&metrics(ServerState::Leader, won, None)), None);
        assert_eq!(ready_term(&metrics(ServerState::Leader, won, Some((4, 2)))), None, "an entry of its earlier term");
        assert_eq!(ready_term(&metrics(ServerState::Leader, won, Some((5, 1)))), None, "another leader's entry");
        assert_eq!(ready_term(&metrics(ServerState::Leader, won, Some((5, 2)))), Some(5));
    }

    async fn deaths_when_raft_ends(stopping: bool) -> (usize, Leadership) {
        let leading = metrics(ServerState::Leader, Vote::new_committed(5, 2), Some((5, 2)));
        let (updates, metrics) = TypeConfig::watch_channel(leading.clone());
        let (view, mut seen) = watch::channel(Leadership::default());
        let (token, deaths) = (CancellationToken::new(), Arc::new(AtomicUsize::new(0)));
        let died = {
            let deaths = deaths.clone();
            move |_| {
                deaths.fetch_add(1, Ordering::SeqCst);
            }
        };
        let following = tokio::spawn(follow(metrics, view, token.clone(), died));
        seen.wait_for(|view| view.ready).await.unwrap();
        if stopping {
            token.cancel();
        }
        let _ = updates.send(Metrics { running_state: Err(Fatal::Panicked), ..leading });
        following.await.unwrap();
        let last = seen.borrow().clone();
        (deaths.load(Ordering::SeqCst), last)
    }

    #[tokio::test]
    async fn a_raft_that_ends_by_itself_ends_the_node_and_one_that_is_stopped_does_not() {
        assert_eq!(deaths_when_raft_ends(false).await, (1, Leadership::default()));
        assert_eq!(deaths_when_raft_ends(true).await.0, 0);
    }

    #[test]
    fn a_node_that_does_not_lead_is_never_ready() {
        assert_eq!(ready_term(&metrics(ServerState::Follower, Vote::new_committed(5, 2), Some((5, 2)))), None);
        assert_eq!(ready_term(&metrics(ServerState::Candidate, Vote::new(5, 2), Some((5, 2)))), None);
        assert_eq!(ready_term(&metrics(ServerState::Leader, Vote::new_committed(6, 3), Some((6, 3)))), None);
    }
}
