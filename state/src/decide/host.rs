//! Decisions on hosts. Called only by `decide`.

use crate::command::{AddHost, RemoveHost, SetHealth, SetScheduling, UpdateHost};
use crate::decide::{Decision, check};
use crate::event::Fact;
use crate::ids::{HostId, Version};
use crate::noun::host::HostSpec;
use crate::noun::secrets::HIDDEN;
use crate::outcome::Made;
use crate::rejection::Rejection;
use crate::state::ClusterState;

pub(super) fn add(state: &ClusterState, cmd: &AddHost) -> Result<Decision, Rejection> {
    if state.host(&cmd.host).is_some() {
        return Err(Rejection::HostExists { host: cmd.host.clone() });
    }
    check::limit("hosts", state.hosts.len(), check::MAX_HOSTS)?;
    check::host(&cmd.spec)?;
    let fact = |spec| Fact::HostAdded { host: cmd.host.clone(), spec };
    changed(&cmd.host, &cmd.spec, Version(1), fact)
}

pub(super) fn update(state: &ClusterState, cmd: &UpdateHost) -> Result<Decision, Rejection> {
    let host = state.need_host(&cmd.host)?;
    let version = check::next_version("host", host.id.as_str(), cmd.version, host.version)?;
    let spec = cmd.spec.with_secrets_of(&host.spec);
    check::host(&spec)?;
    let fact = |spec| Fact::HostUpdated { host: cmd.host.clone(), version, spec };
    changed(&cmd.host, &spec, version, fact)
}

/// The event log is kept for ever and may be exported by anyone who reads it: the fact has the names of secrets only; their values go into the state
/// beside it.
fn changed(host: &HostId, spec: &HostSpec, version: Version, fact: impl FnOnce(HostSpec) -> Fact) -> Result<Decision, Rejection> {
    let secrets = spec.fence_agents.iter().flat_map(|agent| &agent.secrets.0);
    if let Some((name, _)) = secrets.into_iter().find(|(_, value)| *value == HIDDEN) {
        let reason = format!("{name}: {HIDDEN} means as it was, and there was none: give its value");
        return Err(Rejection::Invalid { field: "fence_agents.secrets".to_owned(), reason });
    }
    let secrets = spec.fence_agents.iter().map(|agent| agent.secrets.clone()).collect();
    Ok(Decision::Host { facts: vec![fact(spec.shown())], made: Made::Version(version), host: host.clone(), secrets })
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
    // Else nobody could say any more that these holders are gone, and their bars would stay for ever.
    if let Some(holder) = host.fenced.first() {
        return Err(Rejection::HostFenced { host: host.id.clone(), token: holder.token });
    }
    if let Some(volume) = state.volumes().find(|v| v.bar(&host.id).is_some()) {
        return Err(Rejection::VolumeBarred { volume: volume.id.clone(), host: host.id.clone() });
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
