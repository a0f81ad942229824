//! Folds events of fencing: fences and their attempts, fenced holders, bars, suspicions. Called only by `evolve`.

use crate::evolve::lease::{change_lease, ended};
use crate::evolve::registry::{change_host, change_volume};
use crate::ids::{HostId, LeaseId, Revision, Time, Token, VolumeId};
use crate::noun::fence::{Fence, FenceDone, FenceMethod, FenceTry, MAX_FENCES, MAX_TRIES};
use crate::noun::host::{FenceAttempt, FencedHolder};
use crate::noun::lease::{Ended, Evidence, Lease, Phase};
use crate::noun::volume::{Bar, Suspicion};
use crate::state::{ClusterState, ObjectKey};

pub(super) fn started(state: &mut ClusterState, at: Revision, time: Time, id: LeaseId, method: FenceMethod) {
    // One that has expired already stays so: it is not renewed either, and its Expire entry is evidence.
    change_lease(state, id, |l| l.phase = l.phase.max(Phase::Closing));
    let lease = state.leases.get(&id).expect("changed just now").clone();
    let mut fence = known_or_new(state, &lease, at, time);
    fence.method = Some(method);
    put(state, fence);
    match method {
        // From here on the storage may keep the host out, at any later time.
        FenceMethod::StorageCut => bar(state, &lease, at),
        FenceMethod::PowerOff => {}
    }
}

fn bar(state: &mut ClusterState, lease: &Lease, at: Revision) {
    for held in lease.volumes.iter().filter(|held| held.spec.bars_host()) {
        change_volume(state, &held.volume, |volume| {
            let bar = match volume.bars.iter_mut().find(|bar| bar.host == lease.host) {
                Some(bar) => bar,
                None => {
                    let new = Bar { host: lease.host.clone(), tokens: Vec::new(), newest: Token(0), since: at, lifting: None };
                    volume.bars.push(new);
                    volume.bars.last_mut().expect("pushed just now")
                }
            };
            if !bar.tokens.contains(&lease.token) {
                bar.tokens.push(lease.token);
            }
            bar.newest = bar.newest.max(lease.token);
            bar.lifting = None;
        });
    }
}

/// A new one where evidence comes without an action.
fn known_or_new(state: &ClusterState, lease: &Lease, at: Revision, time: Time) -> Fence {
    state.fences.get(&lease.token).cloned().unwrap_or(Fence {
        token: lease.token,
        lease: lease.id,
        host: lease.host.clone(),
        container: lease.container.clone(),
        method: None,
        started: at,
        started_time: time,
        done: None,
        tries: Vec::new(),
        failed: 0,
    })
}

pub(super) fn fenced(state: &mut ClusterState, at: Revision, time: Time, id: LeaseId, evidence: &Evidence) {
    let lease = state.leases.get(&id).expect("decide named an un-ended lease").clone();
    let mut fence = known_or_new(state, &lease, at, time);
    fence.done = Some(FenceDone { evidence: evidence.clone(), at, time });
    put(state, fence);
    // One that was never activated gave no right to start anything.
    if lease.activated.is_some() {
        let holder = FencedHolder { token: lease.token, lease: id, boot: lease.boot, ledger: lease.ledger, at };
        change_host(state, &lease.host, |h| h.fenced.push(holder));
    } else {
        unbar(state, &lease.host, lease.token);
    }
    match evidence {
        // Proof of death by itself: nothing that was cut off for this token can write any more.
        Evidence::PoweredOff => unbar(state, &lease.host, lease.token),
        Evidence::RanOut { .. } | Evidence::StorageCut | Evidence::OperatorConfirmed { .. } => {}
    }
    ended(state, at, time, id, Ended::Fenced { evidence: evidence.clone() });
}

fn put(state: &mut ClusterState, fence: Fence) {
    let token = fence.token;
    state.fences.insert(token, fence);
    state.touch(ObjectKey::Fence(token));
    while state.fences.len() > MAX_FENCES {
        // Only done ones may go; an open fence names a lease that still lives.
        let Some(oldest) = state.fences.values().find(|f| f.done.is_some()).map(|f| f.token) else { break };
        state.fences.remove(&oldest);
        state.touch(ObjectKey::Fence(oldest));
    }
}

pub(super) fn attempted(state: &mut ClusterState, host: &HostId, attempt: &FenceAttempt) {
    change_host(state, host, |h| h.attempt = Some(attempt.clone()));
}

/// What a fence action came to, noted with the fence of each lease it was for.
pub(super) struct Tried<'a> {
    pub(super) attempt: Revision,
    pub(super) ok: bool,
    pub(super) output: &'a str,
}

pub(super) fn tried(state: &mut ClusterState, at: Revision, time: Time, host: &HostId, tried: &Tried<'_>) {
    let mut open = None;
    change_host(state, host, |h| open = h.attempt.take());
    let open = open.filter(|open| open.id == tried.attempt).expect("decide named the open attempt");
    for token in &open.tokens {
        let Some(fence) = state.fences.get_mut(token) else { continue };
        fence.failed += u64::from(!tried.ok);
        if fence.tries.len() >= MAX_TRIES {
            fence.tries.remove(0);
        }
        fence.tries.push(FenceTry {
            attempt: open.id,
            method: open.method,
            agent: open.agent.clone(),
            node: open.node,
            ok: tried.ok,
            output: tried.output.to_owned(),
            at,
            time,
        });
        state.touch(ObjectKey::Fence(*token));
    }
}

pub(super) fn holder_gone(state: &mut ClusterState, host: &HostId, token: Token) {
    change_host(state, host, |h| h.fenced.retain(|holder| holder.token != token));
    unbar(state, host, token);
}

/// The token has proof of death: no bar is kept for it any more.
pub(super) fn unbar(state: &mut ClusterState, host: &HostId, token: Token) {
    let barred = |v: &&crate::noun::volume::Volume| v.bar(host).is_some_and(|bar| bar.tokens.contains(&token));
    let volumes: Vec<VolumeId> = state.volumes.values().filter(barred).map(|v| v.id.clone()).collect();
    for id in volumes {
        change_bar(state, &id, host, |bar| bar.tokens.retain(|t| *t != token));
    }
}

fn change_bar(state: &mut ClusterState, volume: &VolumeId, host: &HostId, change: impl FnOnce(&mut Bar)) {
    change_volume(state, volume, |v| {
        change(v.bars.iter_mut().find(|bar| bar.host == *host).expect("decide named a bar"));
    });
}

pub(super) fn lift_started(state: &mut ClusterState, at: Revision, volume: &VolumeId, host: &HostId) {
    change_bar(state, volume, host, |bar| bar.lifting = Some(at));
}

pub(super) fn lifted(state: &mut ClusterState, volume: &VolumeId, host: &HostId) {
    change_volume(state, volume, |v| v.bars.retain(|bar| bar.host != *host));
}

pub(super) fn suspect(state: &mut ClusterState, volume: &VolumeId, suspicion: Option<Suspicion>) {
    change_volume(state, volume, |v| v.suspicion = suspicion);
}
