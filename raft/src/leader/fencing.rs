//! Who is to be fenced, by this node's notes and by what its own actions came to (L15, L17, L21). Pure; asked by the driver of a leader. The
//! driver starts the actions; every one follows its entry, and only the node whose proposal was answered does it.

use std::collections::{BTreeMap, BTreeSet};

use berth_state::ClusterState;
use berth_state::command::{BeginFenceAttempt, EndFenceAttempt, FenceLease, FinishLift, Order, StartFence, StartLift};
use berth_state::ids::{HostId, NodeId, Revision, Token, VolumeId};
use berth_state::noun::fence::{Fence, FenceMethod};
use berth_state::noun::host::{FenceAttempt, Host};
use berth_state::noun::lease::{Evidence, Lease, Phase};
use berth_state::noun::volume::Takeover;

use crate::clock::RawTime;
use crate::fencing::run::{Finished, Work};
use crate::fencing::storage::Cut;
use crate::leader::notes::{Noted, Notes};
use crate::leader::timers::Due;

/// For all volumes of one attempt.
const STORAGE_TIMEOUT_MS: u64 = 60_000;
/// Above an attempt's own time before another node gives it up: what two clocks may differ by, and this.
const SLACK_MS: u64 = 500;
const CLOCK_RATE_PERCENT: u64 = 5;
const MAX_BACK_OFF_MS: u64 = 30_000;
/// After so many failures the other method is tried, where there is one.
const FAILURES_PER_METHOD: usize = 3;

/// What this node remembers of its own actions as a leader.
#[derive(Debug, Default)]
pub struct Memory {
    pub running: BTreeSet<Revision>,
    pub finished: BTreeMap<Revision, Finished>,
    /// Bars whose lift runs or, with a time, failed and waits until then.
    pub lifting: BTreeMap<(VolumeId, HostId), Option<RawTime>>,
    pub lifted: BTreeMap<(VolumeId, HostId), Token>,
}

/// The leader that asks.
#[derive(Clone, Copy, Debug)]
pub struct Asker {
    pub node: NodeId,
    /// When this node became ready to lead, by its own clock.
    pub ready: RawTime,
    pub now: RawTime,
}

#[must_use]
pub fn due(state: &ClusterState, notes: &Notes, memory: &Memory, asker: Asker) -> Due {
    let mut due = Due::default();
    for host in state.hosts() {
        let before = due.orders.len();
        if host.attempt.is_none() {
            starts(&mut due, state, notes, host, asker);
        }
        let starting = due.orders.len() > before;
        match &host.attempt {
            Some(open) => close(&mut due, state, notes, memory, (host, open), asker),
            // All orders of the host first, so that one action ends all its leases.
            None if !starting => begin(&mut due, state, notes, host, asker),
            None => {}
        }
    }
    due.orders.extend(state.fences().filter_map(|fence| proven(state, fence)));
    lifts(&mut due, state, memory);
    due
}

/// Silent for the configured time by this node's own note, or without a live session. `Err`: when it will be.
///
/// No host could be heard of during an election, and each needs some time to find the new leader: so a new one first listens for twice as long.
fn silence(state: &ClusterState, notes: &Notes, lease: &Lease, asker: Asker) -> Result<Option<Revision>, Option<RawTime>> {
    if state.session(lease.session).is_none() {
        return Ok(None);
    }
    let note = notes.get(state, Noted::Heard(lease.session)).ok_or(None)?;
    let after = state.settings().fence_after_ms;
    let time = note.at.plus_ms(after).max(asker.ready.plus_ms(after.saturating_mul(2)));
    if asker.now >= time { Ok(Some(note.index)) } else { Err(Some(time)) }
}

fn starts(due: &mut Due, state: &ClusterState, notes: &Notes, host: &Host, asker: Asker) {
    let mut powering = false;
    for lease in state.leases_of_host(&host.id).filter(|l| l.takeover() == Takeover::AfterFence && l.phase != Phase::Granted) {
        let heard = match silence(state, notes, lease, asker) {
            Ok(heard) => heard,
            Err(next) => {
                // A live holder whose renewal has ended stops by itself and releases.
                next.into_iter().for_each(|time| due.at(time, asker.now, || None));
                continue;
            }
        };
        let fence = state.fence(lease.token);
        let Some(method) = method(host, lease, fence) else { continue };
        powering |= method == FenceMethod::PowerOff;
        if fence.and_then(|fence| fence.method) != Some(method) {
            due.orders.push(start(lease, method, heard));
        }
    }
    if !powering {
        return;
    }
    // Its power ends them with better evidence than waiting; a manual one is the operator's alone.
    for lease in state.leases_of_host(&host.id).filter(|l| l.takeover() == Takeover::AfterExpiry && l.phase != Phase::Granted) {
        if state.fence(lease.token).is_none()
            && let Ok(heard) = silence(state, notes, lease, asker)
        {
            due.orders.push(start(lease, FenceMethod::PowerOff, heard));
        }
    }
}

fn start(lease: &Lease, method: FenceMethod, heard: Option<Revision>) -> Order {
    Order::StartFence(StartFence { lease: lease.id, token: lease.token, method, heard })
}

/// The storage before the power; the other one after some failures in a row. `None`: nothing here can fence it.
fn method(host: &Host, lease: &Lease, fence: Option<&Fence>) -> Option<FenceMethod> {
    let storage = !lease.volumes.is_empty() && lease.volumes.iter().all(|v| v.spec.can_fence());
    let agents = host.spec.fence_agents.len();
    let first = if storage { FenceMethod::StorageCut } else { FenceMethod::PowerOff };
    if !storage && agents == 0 {
        return None;
    }
    let Some((fence, current)) = fence.and_then(|fence| Some((fence, fence.method?))) else { return Some(first) };
    let failures = fence.tries.iter().rev().take_while(|tried| tried.method == current && !tried.ok).count();
    let (other, possible, each) = match current {
        FenceMethod::StorageCut => (FenceMethod::PowerOff, agents > 0, 1),
        FenceMethod::PowerOff => (FenceMethod::StorageCut, storage, agents.clamp(1, 2)),
    };
    Some(if possible && failures >= FAILURES_PER_METHOD * each { other } else { current })
}

/// Leases whose fence was ordered by `method`, and which no acknowledged action ends yet.
fn ordered<'a>(state: &'a ClusterState, host: &HostId, method: FenceMethod) -> Vec<(&'a Lease, &'a Fence)> {
    let leases = state.leases_of_host(host).filter_map(|lease| Some((lease, state.fence(lease.token)?)));
    leases.filter(|(_, fence)| fence.method == Some(method) && proven(state, fence).is_none()).collect()
}

fn begin(due: &mut Due, state: &ClusterState, notes: &Notes, host: &Host, asker: Asker) {
    for method in [FenceMethod::StorageCut, FenceMethod::PowerOff] {
        let open = ordered(state, &host.id, method);
        // A host that speaks again is not powered off: its holders hear that they are gone, stop and release.
        let wait = open.iter().find_map(|(lease, _)| silence(state, notes, lease, asker).err());
        if let (FenceMethod::PowerOff, Some(next)) = (method, wait) {
            next.into_iter().for_each(|time| due.at(time, asker.now, || None));
            continue;
        }
        let groups: Vec<Vec<_>> = match method {
            FenceMethod::PowerOff => vec![open],
            // One by one: storage that fails must not hold up another volume's.
            FenceMethod::StorageCut => open.into_iter().map(|one| vec![one]).collect(),
        };
        for group in groups {
            let Some(newest) = group.iter().map(|(_, fence)| *fence).max_by_key(|fence| fence.tries.last().map(|t| t.at)) else { continue };
            let tokens: Vec<Token> = group.iter().map(|(lease, _)| lease.token).collect();
            let Some(order) = attempt(host, method, newest, tokens, asker.node) else { continue };
            let time =
                notes.get(state, Noted::Tried(newest.token)).map_or(asker.now, |note| note.at.plus_ms(back_off_ms(host, method, newest)));
            let count = due.orders.len();
            due.at(time, asker.now, || Some(Order::BeginFenceAttempt(order)));
            if due.orders.len() > count {
                return;
            }
        }
    }
}

/// Which agent comes next: the one after the one that failed last.
fn next_agent(host: &Host, fence: &Fence) -> usize {
    let last = fence.tries.last().filter(|tried| tried.method == FenceMethod::PowerOff);
    let place = last.and_then(|tried| (0..host.spec.fence_agents.len()).find(|n| label(host, *n) == tried.agent));
    place.map_or(0, |place| (place + 1) % host.spec.fence_agents.len().max(1))
}

/// Two agents of one program differ by their place.
fn label(host: &Host, place: usize) -> String {
    host.spec.fence_agents.get(place).map(|agent| format!("{}#{}", agent.agent, place + 1)).unwrap_or_default()
}

fn attempt(host: &Host, method: FenceMethod, fence: &Fence, tokens: Vec<Token>, node: NodeId) -> Option<BeginFenceAttempt> {
    let (agent, timeout_ms) = match method {
        FenceMethod::StorageCut => ("storage".to_owned(), STORAGE_TIMEOUT_MS),
        FenceMethod::PowerOff => {
            let place = next_agent(host, fence);
            let agent = host.spec.fence_agents.get(place)?;
            (label(host, place), agent.timeout_ms.saturating_mul(2).clamp(100, 600_000))
        }
    };
    Some(BeginFenceAttempt { host: host.id.clone(), method, agent, node, tokens, timeout_ms, instead: None })
}

/// 1, 2, 4 … 30 s after each round of all agents; the next agent of a round comes at once.
fn back_off_ms(host: &Host, method: FenceMethod, fence: &Fence) -> u64 {
    let Some(last) = fence.tries.last().filter(|tried| tried.method == method) else { return 0 };
    let agents = match method {
        FenceMethod::StorageCut => 1,
        FenceMethod::PowerOff if !last.ok && next_agent(host, fence) != 0 => return 0,
        FenceMethod::PowerOff => host.spec.fence_agents.len().max(1) as u64,
    };
    let rounds = (fence.failed / agents).clamp(1, 6) - 1;
    (1_000_u64 << rounds).min(MAX_BACK_OFF_MS)
}

/// What is to become of an open attempt: closed with its result if it was ours, given up when its time is over.
fn close(due: &mut Due, state: &ClusterState, notes: &Notes, memory: &Memory, (host, open): (&Host, &FenceAttempt), asker: Asker) {
    if let Some(done) = memory.finished.get(&open.id) {
        let (ok, output) = (done.ok, done.output.clone());
        due.orders.push(Order::EndFenceAttempt(EndFenceAttempt { host: host.id.clone(), attempt: open.id, ok, output }));
        return;
    }
    if memory.running.contains(&open.id) {
        return;
    }
    let Some(note) = notes.get(state, Noted::Attempted(open.id)) else { return };
    let time = note.at.plus_ms(given_up_after_ms(open.timeout_ms));
    due.at(time, asker.now, || {
        let output = format!("given up by node {}: no word of node {} within its time", asker.node, open.node);
        Some(Order::EndFenceAttempt(EndFenceAttempt { host: host.id.clone(), attempt: open.id, ok: false, output }))
    });
}

fn given_up_after_ms(timeout_ms: u64) -> u64 {
    timeout_ms + timeout_ms * CLOCK_RATE_PERCENT / 100 + SLACK_MS
}

/// The evidence of an action whose acknowledgement is in the log, whichever node did it.
fn proven(state: &ClusterState, fence: &Fence) -> Option<Order> {
    if fence.done.is_some() {
        return None;
    }
    let lease = state.lease_by_token(fence.token)?;
    let evidence = match fence.tries.iter().rev().find(|tried| tried.ok)?.method {
        FenceMethod::StorageCut => Evidence::StorageCut,
        FenceMethod::PowerOff => Evidence::PoweredOff,
    };
    Some(Order::FenceLease(FenceLease { lease: lease.id, token: lease.token, evidence }))
}

fn lifts(due: &mut Due, state: &ClusterState, memory: &Memory) {
    for volume in state.volumes() {
        for bar in volume.bars.iter().filter(|bar| bar.tokens.is_empty() && free(state, &bar.host)) {
            let key = (volume.id.clone(), bar.host.clone());
            match (bar.lifting, memory.lifted.get(&key)) {
                (None, _) => due.orders.push(Order::StartLift(StartLift { volume: key.0, host: key.1 })),
                (Some(_), Some(newest)) => {
                    due.orders.push(Order::FinishLift(FinishLift { volume: key.0, host: key.1, newest: *newest }));
                }
                (Some(_), None) => {}
            }
        }
    }
}

fn free(state: &ClusterState, host: &HostId) -> bool {
    state.host(host).is_some_and(|host| host.attempt.is_none())
}

/// Lifts whose entry is applied and which neither run nor wait.
#[must_use]
pub fn lifts_to_do(state: &ClusterState, memory: &Memory, now: RawTime) -> Vec<Cut> {
    let mut found = Vec::new();
    for volume in state.volumes() {
        for bar in volume.bars.iter().filter(|bar| bar.lifting.is_some() && bar.tokens.is_empty() && free(state, &bar.host)) {
            let key = (volume.id.clone(), bar.host.clone());
            let waits = memory.lifting.get(&key).is_some_and(|until| until.is_none_or(|until| now < until));
            if waits || memory.lifted.contains_key(&key) {
                continue;
            }
            let Some(host) = state.host(&bar.host) else { continue };
            let (spec, address) = (volume.spec.clone(), host.spec.seen_by_storage().to_owned());
            found.push(Cut { volume: key.0, spec, host: key.1, address, token: bar.newest });
        }
    }
    found
}

/// What the open attempt of `host` is to do, if its entry is `id`.
#[must_use]
pub fn work(state: &ClusterState, host: &HostId, id: Revision) -> Option<Work> {
    let host = state.host(host)?;
    let open = host.attempt.as_ref().filter(|open| open.id == id)?;
    let place = (0..host.spec.fence_agents.len()).find(|place| label(host, *place) == open.agent);
    let leases = open.tokens.iter().filter_map(|token| state.lease_by_token(*token));
    let cuts = leases.flat_map(|lease| {
        lease.volumes.iter().map(|held| Cut {
            volume: held.volume.clone(),
            spec: held.spec.clone(),
            host: host.id.clone(),
            address: host.spec.seen_by_storage().to_owned(),
            token: lease.token,
        })
    });
    Some(Work {
        attempt: id,
        host: host.id.clone(),
        method: open.method,
        agent: place.and_then(|place| host.spec.fence_agents.get(place)).cloned(),
        tokens: open.tokens.clone(),
        cuts: cuts.collect(),
        timeout_ms: open.timeout_ms,
    })
}

/// Forgets what is in the log by now.
pub fn forget(state: &ClusterState, memory: &mut Memory) {
    let open: BTreeSet<Revision> = state.hosts().filter_map(|host| host.attempt.as_ref()).map(|open| open.id).collect();
    memory.finished.retain(|id, _| open.contains(id));
    let barred = |key: &(VolumeId, HostId)| state.volume(&key.0).is_some_and(|volume| volume.bar(&key.1).is_some());
    memory
        .lifted
        .retain(|key, newest| barred(key) && state.volume(&key.0).and_then(|v| v.bar(&key.1)).is_some_and(|b| b.newest == *newest));
    memory.lifting.retain(|key, _| barred(key));
}
