//! Assignments (L4): what a host's executor is to carry out, as this node has applied it: the full set first, then deltas. Any node may serve
//! them, because they carry tokens and revisions but no time and give no right: only an answered keepalive does.

use std::collections::BTreeMap;
use std::sync::Arc;

use berth_state::codec::Wire;
use berth_state::ids::{HostId, SessionId, Token};
use berth_state::noun::lease::Lease;
use berth_state::pb::api;
use tokio::sync::mpsc;
use tonic::Status;

use crate::core::Core;

/// Assignments wait here while the executor's connection is slow; then this task waits, and later ones are merged into one delta.
pub const BUFFER: usize = 8;

/// Sends until the executor leaves, its session is replaced, or the node stops.
pub async fn stream(core: Arc<Core>, host: HostId, session: SessionId, out: mpsc::Sender<Result<api::AssignmentsResponse, Status>>) {
    let mut changes = core.event_head();
    let mut sent: Option<BTreeMap<Token, Lease>> = None;
    let mut sent_fenced = Vec::new();
    loop {
        changes.borrow_and_update();
        let (revision, incarnation, live, now, fenced) = core.view(|view| {
            let live = view.state.session(session).is_some();
            let incarnation = view.state.cluster().map_or(0, |c| c.incarnation.0);
            let fenced = view.state.host(&host).map(|h| h.fenced.clone()).unwrap_or_default();
            (view.revision, incarnation, live, assigned(view.state, &host, session), fenced)
        });
        // A session that was replaced or closed has no assignments any more. Its leases may have moved to the next one, so "gone" would be a lie.
        if !live && sent.is_some() {
            return;
        }
        // A session this node has not applied yet: the executor got its id from another node. It just has no set yet.
        if live {
            let news = difference(sent.as_ref(), &now).or((fenced != sent_fenced).then(|| (false, Vec::new(), Vec::new())));
            if let Some((full, leases, gone_tokens)) = news {
                let leases = leases.iter().map(|l| l.to_pb()).collect();
                let holders = fenced.iter().map(Wire::to_pb).collect();
                let message = api::AssignmentsResponse { incarnation, revision: revision.0, full, leases, gone_tokens, fenced: holders };
                if out.send(Ok(message)).await.is_err() {
                    return;
                }
                (sent, sent_fenced) = (Some(now), fenced);
            }
        }
        tokio::select! {
            () = out.closed() => return,
            () = core.stopping() => return,
            changed = changes.changed() => if changed.is_err() { return },
        }
    }
}

/// The un-ended leases of this session, without what the executor itself reported: its own words are no news to it.
fn assigned(state: &berth_state::ClusterState, host: &HostId, session: SessionId) -> BTreeMap<Token, Lease> {
    let mine = state.leases_of_host(host).filter(|lease| lease.session == session);
    mine.map(|lease| (lease.token, Lease { instance: None, ..lease.clone() })).collect()
}

/// `None`: nothing new. Else: whether it is the full set, the new or changed leases, and the tokens that are gone.
fn difference(sent: Option<&BTreeMap<Token, Lease>>, now: &BTreeMap<Token, Lease>) -> Option<(bool, Vec<Lease>, Vec<u64>)> {
    let Some(sent) = sent else { return Some((true, now.values().cloned().collect(), Vec::new())) };
    let changed: Vec<Lease> = now.values().filter(|lease| sent.get(&lease.token) != Some(lease)).cloned().collect();
    let gone: Vec<u64> = sent.keys().filter(|token| !now.contains_key(token)).map(|token| token.0).collect();
    if changed.is_empty() && gone.is_empty() { None } else { Some((false, changed, gone)) }
}
