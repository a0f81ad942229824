//! `berth why`: the answer in words to "who has it, since when and why, what blocks, when is a takeover safe, why is it not placed". Pure: from
//! applied state and this node's notes. The rules themselves are in `berth_state`; this only tells them.
//!
//! - [`standing`]: the rung, what it rests on and what it cannot hold. [`fencing`]: bars, unclean hosts, tries. [`story`]: its newest events.

pub mod fencing;
pub mod standing;
pub mod story;

use berth_state::codec::Wire;
use berth_state::ids::{ContainerId, HostId, VolumeId};
use berth_state::noun::cluster::wait_ms;
use berth_state::noun::container::{Container, Relocation};
use berth_state::noun::host::Scheduling;
use berth_state::noun::lease::{Lease, Phase};
use berth_state::noun::session::Guard;
use berth_state::noun::volume::Takeover;
use berth_state::pb::api;
use berth_state::placement::Unfit;
use berth_state::{ClusterState, placement};

use self::fencing::Subject;
use self::standing::Standing;
use crate::api::errors::ApiError;
use crate::clock::RawTime;
use crate::core::View;
use crate::leader::notes::{Noted, Notes};

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
    let standings = match lease {
        Some(lease) => standing::of_lease(state, lease),
        None => standing::of_free(state, container, volume),
    };
    stand(&mut answer, &standings);
    if let Some(lease) = lease {
        held(&mut answer, state, notes, now, lease);
        waiting_to_move(&mut answer, state, lease);
    } else if let Some(container) = container {
        unplaced(&mut answer, state, container);
    }
    fencing::tell(&mut answer, state, &Subject { lease, container, volume });
    Ok(answer)
}

/// The weakest of all, and every line with its volume in front where there are several.
fn stand(answer: &mut api::WhyResponse, standings: &[Standing]) {
    // What no host can have is weaker than any rung.
    answer.rung = standings.iter().map(|standing| standing.rung).min().flatten();
    for standing in standings {
        let named = |line: &String| if standings.len() > 1 { format!("volume {}: {line}", standing.volume) } else { line.clone() };
        answer.rests_on.extend(standing.rests_on.iter().map(named));
        answer.cannot_hold.extend(standing.cannot_hold.iter().map(named));
    }
    answer.promise = answer.rests_on.clone();
    answer.promise.extend(answer.cannot_hold.iter().map(|line| format!("does not hold: {line}")));
    answer.standings = standings.iter().map(Standing::to_pb).collect();
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
        Phase::Closing if lease.expires_by_silence() => {
            lines.push(format!("{holder} may renew no more; waiting for its release, or for the lease to run out"));
        }
        Phase::Closing => lines.push(format!("{holder} may renew no more; waiting for its release, or for the fence to be acknowledged")),
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
