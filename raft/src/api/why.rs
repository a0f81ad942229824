//! `berth why`: the answer in words to "who has it, since when and why, what blocks, when is a takeover safe, why is it not placed". Pure: from
//! applied state and this node's notes. The rules themselves are in `berth_state`; this only tells them.

use berth_state::codec::Wire;
use berth_state::ids::{ContainerId, HostId, VolumeId};
use berth_state::noun::cluster::wait_ms;
use berth_state::noun::container::{Container, Relocation};
use berth_state::noun::host::Scheduling;
use berth_state::noun::lease::{Lease, Phase};
use berth_state::noun::session::{Cut, Guard};
use berth_state::noun::volume::{Takeover, VolumeSpec};
use berth_state::pb::api;
use berth_state::placement::Unfit;
use berth_state::{ClusterState, Event, Fact, placement};

use crate::api::errors::ApiError;
use crate::clock::RawTime;
use crate::core::View;
use crate::leader::notes::{Noted, Notes};

/// So many of the newest events about the subject are shown.
pub const HISTORY: usize = 12;

/// Tells about a volume or container of this name; a volume first, if both exist and the container has another story.
///
/// # Errors
/// [`ApiError::NotFound`].
pub fn why(view: &View<'_>, notes: &Notes, now: RawTime, name: &str) -> Result<api::WhyResponse, ApiError> {
    let state = view.state;
    let container = ContainerId::new(name).ok().and_then(|id| state.container(&id));
    let volume = VolumeId::new(name).ok().and_then(|id| state.volume(&id));
    let mut answer = api::WhyResponse { revision: view.revision.0, name: name.to_owned(), ..Default::default() };
    let lease = match (container, volume) {
        (Some(container), _) => {
            answer.subject = "container".to_owned();
            answer.container = Some(container.to_pb());
            state.lease_of_container(&container.id)
        }
        (None, Some(volume)) => {
            answer.subject = "volume".to_owned();
            state.lease_of_volume(&volume.id)
        }
        (None, None) => return Err(ApiError::NotFound(format!("no container or volume {name}: see `berth ps` and `berth volume ls`"))),
    };
    answer.volume = volume.map(Wire::to_pb);
    answer.promise = promise(state, lease, container, volume.map(|v| &v.spec));
    if let Some(lease) = lease {
        held(&mut answer, state, notes, now, lease);
        waiting_to_move(&mut answer, state, lease);
    } else if let Some(container) = container {
        unplaced(&mut answer, state, container);
    }
    Ok(answer)
}

/// What the single-writer promise rests on, from the lease if there is one, else from the registry.
fn promise(state: &ClusterState, lease: Option<&Lease>, container: Option<&Container>, volume: Option<&VolumeSpec>) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(lease) = lease {
        lines.push(guard_text(lease.guard).to_owned());
        for held in &lease.volumes {
            lines.push(format!("volume {}: {}", held.volume, rule_text(&held.spec, Some(held.cut))));
        }
        return lines;
    }
    let of_container = container.into_iter().flat_map(|c| &c.spec.volumes).filter_map(|m| state.volume(&m.volume));
    lines.extend(of_container.map(|v| format!("volume {}: {}", v.id, rule_text(&v.spec, None))));
    if container.is_none() {
        lines.extend(volume.map(|spec| rule_text(spec, None)));
    }
    lines
}

fn guard_text(guard: Guard) -> &'static str {
    match guard {
        Guard::None => "no guard: nothing on the host stops the container at its deadline",
        Guard::Executor => {
            "rung 1, guard executor (the weakest): the executor process itself kills the container at its deadline; killed, stopped or paused itself, it cannot"
        }
        Guard::Init => "rung 2, guard init: PID 1 of the instance exits at the deadline, without executor or engine",
        Guard::HostProcess => "rung 3, guard host process: a process apart from the executor kills, cuts and unmounts at the deadline",
        Guard::Watchdog => "rung 4, guard watchdog: the hardware resets the host if the guard fails",
    }
}

fn rule_text(spec: &VolumeSpec, cut: Option<Cut>) -> String {
    let rule = match spec.takeover {
        Takeover::AfterExpiry => {
            "takeover after-expiry: the holder stops itself before its deadline; rests on clocks, so it does not hold against a paused virtual machine"
        }
        Takeover::AfterFence => "takeover after-fence: the storage or power fence is acknowledged first; rests on no clock",
        Takeover::Manual => "takeover manual: an operator confirms that the holder is dead",
    };
    let dirty = match (cut, spec.coherent) {
        (_, true) => "; its owner states it coherent (late dirty pages of a dead holder cannot hurt)",
        (Some(Cut::None), false) => "; dirty pages of a dead holder are not cut off",
        (Some(Cut::FileSystemShutdown), false) => "; dirty pages are cut off by file-system shutdown",
        (Some(Cut::FuseAbort), false) => "; dirty pages are cut off by aborting the FUSE connection",
        (Some(Cut::ServerRevoke), false) => "; dirty pages are cut off by the storage server",
        (None, false) => "",
    };
    format!("{rule}{dirty}; lock delay {} ms", spec.lock_delay_ms)
}

/// Who holds it, how long unheard, and what has to happen before anybody else may.
fn held(answer: &mut api::WhyResponse, state: &ClusterState, notes: &Notes, now: RawTime, lease: &Lease) {
    let heard = notes.get(state, Noted::Renewed(lease.token)).or_else(|| notes.get(state, Noted::Heard(lease.session)));
    answer.silent_ms = heard.map(|note| now.ms_since(note.at));
    answer.earliest_takeover_ms = earliest(state, notes, now, lease);
    answer.blocks = blocks(lease);
    answer.lease = Some(lease.to_pb());
}

/// A move or drain that is asked for but has nowhere to go.
fn waiting_to_move(answer: &mut api::WhyResponse, state: &ClusterState, lease: &Lease) {
    let Some(container) = state.container(&lease.container).filter(|_| lease.revoked.is_none()) else { return };
    let moving = matches!(container.relocation, Some(Relocation::Move { .. }));
    let draining = state.host(&lease.host).is_some_and(|h| h.scheduling == Scheduling::Draining);
    if !moving && !draining {
        return;
    }
    let reasons = placement::why_not_elsewhere(state, container);
    if !reasons.is_empty() {
        let asked = if moving { "a move is asked for" } else { "its host is draining" };
        answer.blocks.push(format!("{asked}, but no other host can take it: it keeps running here until one can"));
        answer.unplaced = host_reasons(reasons);
    }
}

fn host_reasons(reasons: Vec<(HostId, Unfit)>) -> Vec<api::HostReason> {
    reasons.into_iter().map(|(host, why)| api::HostReason { host: host.to_string(), reason: why.to_string() }).collect()
}

fn blocks(lease: &Lease) -> Vec<String> {
    let mut lines = Vec::new();
    let holder = format!("host {} (lease {}, token {})", lease.host, lease.id, lease.token);
    match lease.phase {
        Phase::Granted => lines.push(format!("{holder} was granted it and has not claimed it yet")),
        Phase::Active => {}
        Phase::Closing => lines.push(format!("{holder} may renew no more; waiting for its release, or for the lease to run out")),
        Phase::Expired => lines.push(format!("{holder} fell silent; {}", needs(lease))),
    }
    if let Some(revoked) = &lease.revoked {
        lines.push(format!("{holder} was asked to stop ({:?}); it has {} ms from then", revoked.reason, revoked.drain_ms));
    }
    if let Some(instance) = &lease.instance
        && !instance.message.is_empty()
    {
        lines.push(format!("host {} reports: {}", lease.host, instance.message));
    }
    lines
}

fn needs(lease: &Lease) -> &'static str {
    match lease.takeover() {
        Takeover::AfterExpiry => "the lock delay runs, then it is fenced (RanOut)",
        Takeover::AfterFence => "its volume needs a fence action, or `berth fence confirm`",
        Takeover::Manual => "its volume is manual: make sure that the holder is dead, then `berth fence confirm`",
    }
}

/// Milliseconds until a takeover can be safe if the holder stays silent from now on; `None`: time alone never makes it so.
fn earliest(state: &ClusterState, notes: &Notes, now: RawTime, lease: &Lease) -> Option<u64> {
    if lease.phase == Phase::Granted {
        return Some(0);
    }
    if lease.takeover() != Takeover::AfterExpiry || lease.guard == Guard::None {
        return None;
    }
    if let Some(note) = notes.get(state, Noted::Expired(lease.id)) {
        return Some(note.at.plus_ms(lease.lock_delay_ms()).ms_since(now));
    }
    let renewal = state.renewal(lease.token)?;
    let note = notes.get(state, Noted::Renewed(lease.token))?;
    Some(note.at.plus_ms(wait_ms(renewal.ttl_ms) + lease.lock_delay_ms()).ms_since(now))
}

/// Why a container has no lease.
fn unplaced(answer: &mut api::WhyResponse, state: &ClusterState, container: &Container) {
    if let Err(rejection) = berth_state::decide::wanted(container) {
        answer.blocks.push(rejection.to_string());
        return;
    }
    for mount in &container.spec.volumes {
        if let Some(other) = state.lease_of_volume(&mount.volume) {
            answer.blocks.push(format!(
                "volume {} is held by container {} on host {} under token {} ({:?})",
                mount.volume, other.container, other.host, other.token, other.phase
            ));
        }
    }
    if let Err(reasons) = placement::choose(state, container) {
        if reasons.is_empty() {
            answer.blocks.push("there is no host: `berth host add`, then start an executor there".to_owned());
        }
        answer.unplaced = host_reasons(reasons);
        answer.blocks.push("no host fits".to_owned());
    }
}

/// Whether the event is part of the subject's story; `leases` collects its lease ids on the way, since most events name only those.
pub fn concerns(event: &Event, name: &str, leases: &mut std::collections::BTreeSet<u64>) -> bool {
    match &event.fact {
        Fact::LeaseGranted { lease, container, .. } => {
            let ours = container.as_str() == name;
            if ours {
                leases.insert(lease.0);
            }
            ours
        }
        Fact::LeaseActivated { lease, .. }
        | Fact::LeaseWithdrawn { lease, .. }
        | Fact::LeaseRevoked { lease, .. }
        | Fact::LeaseClosed { lease, .. }
        | Fact::LeaseExpired { lease, .. }
        | Fact::FenceStarted { lease, .. }
        | Fact::LeaseFenced { lease, .. }
        | Fact::LeaseReleased { lease, .. }
        | Fact::InstanceObserved { lease, .. } => leases.contains(&lease.0),
        Fact::VolumeAdded { volume, .. } | Fact::VolumeUpdated { volume, .. } | Fact::VolumeRemoved { volume } => volume.as_str() == name,
        Fact::ContainerAdded { container, .. }
        | Fact::ContainerUpdated { container, .. }
        | Fact::ContainerRemoved { container }
        | Fact::ContainerDesiredChanged { container, .. }
        | Fact::ContainerRelocationRequested { container, .. } => container.as_str() == name,
        Fact::ClusterInitialized { .. }
        | Fact::SettingsChanged { .. }
        | Fact::FormatRaised { .. }
        | Fact::HostAdded { .. }
        | Fact::HostUpdated { .. }
        | Fact::HostRemoved { .. }
        | Fact::HostSchedulingChanged { .. }
        | Fact::HostHealthChanged { .. }
        | Fact::SessionOpened { .. }
        | Fact::SessionClosed { .. }
        | Fact::SessionCloned { .. } => false,
    }
}
