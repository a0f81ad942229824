//! Placement: which host a container may go to, and why not the others. Pure; asked by `decide` (the grant rule), by the leader's placement loop
//! and by `berth why`, so that all three say the same.

use crate::ids::HostId;
use crate::noun::container::{Container, Port, Relocation, RuntimeKind};
use crate::noun::host::{Capacity, Health, Host, Scheduling};
use crate::noun::lease::{Ended, Lease};
use crate::noun::session::{Cut, Declaration, Guard};
use crate::noun::volume::{Takeover, Volume};
use crate::state::ClusterState;
pub use crate::unfit::Unfit;

/// Whether `container` may go to `host` now. Does not ask whether the container and its volumes are free: that is the grant's rule.
///
/// # Errors
/// The first reason against it.
pub fn fits(state: &ClusterState, container: &Container, host: &Host) -> Result<(), Unfit> {
    if host.scheduling != Scheduling::Open {
        return Err(Unfit::NotOpen { scheduling: host.scheduling });
    }
    let session = host.session.and_then(|id| state.session(id)).ok_or(Unfit::NoSession)?;
    if host.health != Health::Live {
        return Err(Unfit::NotLive { health: host.health });
    }
    if !session.declared.runtimes.contains(&container.spec.runtime) {
        return Err(Unfit::NoRuntime { runtime: container.spec.runtime });
    }
    clean(state, container, host)?;
    guarded(state, container, host, &session.declared)?;
    constraints(container, host)?;
    neighbours(state, container, host)?;
    room(state, container, host)
}

/// L15: a fenced host gets nothing before it is known to be clean, and no volume that its storage still keeps from it; a suspected volume goes nowhere.
fn clean(state: &ClusterState, container: &Container, host: &Host) -> Result<(), Unfit> {
    if let Some(holder) = host.fenced.first() {
        return Err(Unfit::Fenced { token: holder.token });
    }
    for volume in container.spec.volumes.iter().filter_map(|mount| state.volume(&mount.volume)) {
        if volume.bar(&host.id).is_some() {
            return Err(Unfit::Barred { volume: volume.id.clone() });
        }
        if let Some(suspicion) = volume.suspicion {
            return Err(Unfit::SplitBrain { volume: volume.id.clone(), token: suspicion.token, other: suspicion.other });
        }
    }
    Ok(())
}

/// L3: the session must declare, for each volume's takeover rule, a guard and a cut of the kind it needs.
///
/// # Errors
/// [`Unfit::NoGuard`], [`Unfit::NoDriver`], [`Unfit::NotGuarded`], [`Unfit::NoFence`], [`Unfit::NoStorageAddress`].
pub fn guarded(state: &ClusterState, container: &Container, host: &Host, declared: &Declaration) -> Result<(), Unfit> {
    if declared.guard == Guard::None {
        return Err(Unfit::NoGuard);
    }
    for mount in &container.spec.volumes {
        let Some(volume) = state.volume(&mount.volume) else { continue };
        let Some(cut) = declared.drivers.get(&volume.spec.driver).copied() else {
            return Err(Unfit::NoDriver { volume: volume.id.clone(), driver: volume.spec.driver });
        };
        let needed = guard_needed(volume, container.spec.runtime);
        rule_met(volume, host, (declared.guard, needed), cut)?;
    }
    Ok(())
}

/// The weakest guard with which the volume may be taken over after expiry: one that needs no executor; and where write-back has to be cut, or PID 1 is not
/// ours, one that acts from outside of the instance.
fn guard_needed(volume: &Volume, runtime: RuntimeKind) -> Guard {
    match runtime {
        RuntimeKind::Docker | RuntimeKind::Process if volume.spec.coherent => Guard::Init,
        RuntimeKind::Docker | RuntimeKind::Process | RuntimeKind::External => Guard::HostProcess,
    }
}

fn rule_met(volume: &Volume, host: &Host, (guard, needed): (Guard, Guard), cut: Cut) -> Result<(), Unfit> {
    let (id, takeover) = (volume.id.clone(), volume.spec.takeover);
    match takeover {
        // Dead processes still have dirty pages: either the driver cuts them off, or the owner states that they cannot hurt.
        Takeover::AfterExpiry if cut == Cut::None && !volume.spec.coherent => Err(Unfit::NotGuarded { volume: id, takeover, guard, cut }),
        Takeover::AfterExpiry if guard < needed => Err(Unfit::NotGuarded { volume: id, takeover, guard, cut }),
        Takeover::AfterFence if volume.spec.can_fence() => {
            let nameless = volume.spec.bars_host() && host.spec.seen_by_storage().is_empty();
            if nameless { Err(Unfit::NoStorageAddress { volume: id }) } else { Ok(()) }
        }
        Takeover::AfterFence if host.spec.fence_agents.is_empty() => Err(Unfit::NoFence { volume: id }),
        Takeover::AfterExpiry | Takeover::AfterFence | Takeover::Manual => Ok(()),
    }
}

/// Whether the host is where a requested move or drain may take the container from the host that has it. A wish, not a rule: it decides
/// whether a running instance is stopped for it, but never keeps a container down.
///
/// # Errors
/// Why the host is not what was asked for, or does not fit.
pub fn relocatable(state: &ClusterState, container: &Container, host: &Host) -> Result<(), Unfit> {
    if let Some(Relocation::Move { to: Some(to) }) = &container.relocation
        && *to != host.id
    {
        return Err(Unfit::MoveElsewhere { to: to.clone() });
    }
    if last_host(state, container) == Some(&host.id) {
        return Err(Unfit::MoveAway);
    }
    fits(state, container, host)
}

/// The hosts and why each is no target of the move or drain; empty when one is.
#[must_use]
pub fn why_not_elsewhere(state: &ClusterState, container: &Container) -> Vec<(HostId, Unfit)> {
    let mut reasons = Vec::new();
    for host in state.hosts() {
        match relocatable(state, container, host) {
            Ok(()) => return Vec::new(),
            Err(why) => reasons.push((host.id.clone(), why)),
        }
    }
    reasons
}

/// The host that has the container now, or had it last.
fn last_host<'a>(state: &'a ClusterState, container: &'a Container) -> Option<&'a HostId> {
    match state.lease_of_container(&container.id) {
        Some(lease) => Some(&lease.host),
        None => container.last_lease.as_ref().map(|last| &last.host),
    }
}

fn constraints(container: &Container, host: &Host) -> Result<(), Unfit> {
    for constraint in &container.spec.constraints {
        let actual =
            if constraint.key == "host" { Some(host.id.as_str()) } else { host.spec.labels.get(&constraint.key).map(String::as_str) };
        if (actual == Some(constraint.value.as_str())) != constraint.equal {
            return Err(Unfit::Constraint { constraint: constraint.clone() });
        }
    }
    Ok(())
}

fn neighbours(state: &ClusterState, container: &Container, host: &Host) -> Result<(), Unfit> {
    for lease in others(state, container, host) {
        if container.spec.anti_affinity.contains(&lease.container) || lease.spec.anti_affinity.contains(&container.id) {
            return Err(Unfit::AntiAffinity { other: lease.container.clone() });
        }
        for port in &container.spec.ports {
            if lease.spec.ports.iter().any(|taken| collide(port, taken)) {
                return Err(Unfit::PortTaken { port: port.host_port, by: lease.container.clone() });
            }
        }
    }
    Ok(())
}

/// Whether two published ports cannot both be bound on one host. An empty address means all of them.
#[must_use]
pub fn collide(a: &Port, b: &Port) -> bool {
    let all = |address: &str| matches!(address, "" | "0.0.0.0" | "::");
    a.host_port == b.host_port
        && a.protocol == b.protocol
        && (a.host_address == b.host_address || all(&a.host_address) || all(&b.host_address))
}

fn room(state: &ClusterState, container: &Container, host: &Host) -> Result<(), Unfit> {
    let used = reserved(state, container, host);
    if let (Some(needed), Some(capacity)) = (container.spec.limits.cpu_millis, host.spec.capacity.cpu_millis) {
        let free = capacity.saturating_sub(used.cpu_millis.unwrap_or(0));
        if needed > free {
            return Err(Unfit::Cpu { needed, free });
        }
    }
    if let (Some(needed), Some(capacity)) = (container.spec.limits.memory_bytes, host.spec.capacity.memory_bytes) {
        let free = capacity.saturating_sub(used.memory_bytes.unwrap_or(0));
        if needed > free {
            return Err(Unfit::Memory { needed, free });
        }
    }
    Ok(())
}

/// What the un-ended leases of other containers reserve on the host. An expired one still counts: it may still run.
fn reserved(state: &ClusterState, container: &Container, host: &Host) -> Capacity {
    let mut sum = Capacity { cpu_millis: Some(0), memory_bytes: Some(0) };
    for lease in others(state, container, host) {
        sum.cpu_millis = sum.cpu_millis.map(|s| s.saturating_add(lease.spec.limits.cpu_millis.unwrap_or(0)));
        sum.memory_bytes = sum.memory_bytes.map(|s| s.saturating_add(lease.spec.limits.memory_bytes.unwrap_or(0)));
    }
    sum
}

fn others<'a>(state: &'a ClusterState, container: &'a Container, host: &'a Host) -> impl Iterator<Item = &'a Lease> + 'a {
    state.leases_of_host(&host.id).filter(move |lease| lease.container != container.id)
}

/// The best host for the container, or why none fits (every host with its reason, by name).
///
/// Prefers, in this order: where a restart or move was asked to take it; not the host it just gave up on; fewest leases (spread); name.
///
/// # Errors
/// One reason for each host.
pub fn choose(state: &ClusterState, container: &Container) -> Result<HostId, Vec<(HostId, Unfit)>> {
    let mut reasons = Vec::new();
    let mut best: Option<(Score, &HostId)> = None;
    for host in state.hosts() {
        match fits(state, container, host) {
            Ok(()) => {
                let candidate = (score(state, container, host), &host.id);
                if best.as_ref().is_none_or(|b| candidate < *b) {
                    best = Some(candidate);
                }
            }
            Err(why) => reasons.push((host.id.clone(), why)),
        }
    }
    best.map(|(_, id)| id.clone()).ok_or(reasons)
}

/// Lower is better; compared field by field.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Score {
    not_as_asked: bool,
    gave_up_there: bool,
    leases: usize,
}

fn score(state: &ClusterState, container: &Container, host: &Host) -> Score {
    let last = container.last_lease.as_ref().filter(|last| last.host == host.id);
    let gave_up = last.is_some_and(|last| match &last.ended {
        Ended::Released { exit: Some(exit) } => exit.code < 0,
        Ended::Withdrawn { .. } => true,
        Ended::Released { exit: None } | Ended::Fenced { .. } => false,
    });
    Score {
        not_as_asked: match &container.relocation {
            Some(Relocation::Restart) => last.is_none(),
            Some(Relocation::Move { to: Some(to) }) => *to != host.id,
            Some(Relocation::Move { to: None }) => last.is_some(),
            None => false,
        },
        gave_up_there: gave_up,
        leases: others(state, container, host).count(),
    }
}
