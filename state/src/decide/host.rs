//! Decisions on hosts. Called only by `decide`.

use crate::command::{AddHost, RemoveHost, SetHealth, SetScheduling, UpdateHost};
use crate::decide::{Decision, check};
use crate::event::Fact;
use crate::ids::Version;
use crate::outcome::Made;
use crate::rejection::Rejection;
use crate::state::ClusterState;

pub(super) fn add(state: &ClusterState, cmd: &AddHost) -> Result<Decision, Rejection> {
    if state.host(&cmd.host).is_some() {
        return Err(Rejection::HostExists { host: cmd.host.clone() });
    }
    check::limit("hosts", state.hosts.len(), check::MAX_HOSTS)?;
    check::host(&cmd.spec)?;
    let fact = Fact::HostAdded { host: cmd.host.clone(), spec: cmd.spec.clone() };
    Ok(Decision::Change { facts: vec![fact], made: Made::Version(Version(1)) })
}

pub(super) fn update(state: &ClusterState, cmd: &UpdateHost) -> Result<Decision, Rejection> {
    let host = state.need_host(&cmd.host)?;
    let version = check::next_version("host", host.id.as_str(), cmd.version, host.version)?;
    check::host(&cmd.spec)?;
    let fact = Fact::HostUpdated { host: cmd.host.clone(), version, spec: cmd.spec.clone() };
    Ok(Decision::Change { facts: vec![fact], made: Made::Version(version) })
}

/// L1: a host that an un-ended lease names stays; so does one whose executor is still connected, which would else run unknown to us.
pub(super) fn remove(state: &ClusterState, cmd: &RemoveHost) -> Result<Decision, Rejection> {
    let host = state.need_host(&cmd.host)?;
    if let Some(lease) = state.leases_of_host(&host.id).next() {
        return Err(Rejection::HostHoldsLease {
            host: host.id.clone(),
            lease: lease.id,
            token: lease.token,
            container: lease.container.clone(),
        });
    }
    if let Some(session) = host.session {
        return Err(Rejection::HostHasSession { host: host.id.clone(), session });
    }
    Ok(Decision::one(Fact::HostRemoved { host: cmd.host.clone() }))
}

pub(super) fn set_scheduling(state: &ClusterState, cmd: &SetScheduling) -> Result<Decision, Rejection> {
    let host = state.need_host(&cmd.host)?;
    if host.scheduling == cmd.scheduling {
        return Ok(Decision::unchanged());
    }
    Ok(Decision::one(Fact::HostSchedulingChanged { host: cmd.host.clone(), scheduling: cmd.scheduling }))
}

/// A compare-and-set on the session's last renewal, like Expire: whoever was heard of since is not marked.
pub(super) fn set_health(state: &ClusterState, cmd: &SetHealth) -> Result<Decision, Rejection> {
    let (session, pulse) = state.need_session(cmd.session)?;
    if pulse.renewed != cmd.renewed {
        return Err(Rejection::RenewedSince { object: format!("session {}", cmd.session), named: cmd.renewed, actual: pulse.renewed });
    }
    let host = state.need_host(&session.host)?;
    if host.health == cmd.health {
        return Ok(Decision::unchanged());
    }
    Ok(Decision::one(Fact::HostHealthChanged { host: host.id.clone(), health: cmd.health }))
}
