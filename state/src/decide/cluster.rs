//! Decisions on the cluster itself. Called only by `decide`.

use crate::command::{ChangeSettings, InitCluster, RaiseFormat};
use crate::decide::{Decision, check};
use crate::event::Fact;
use crate::noun::cluster::FORMAT;
use crate::rejection::Rejection;
use crate::state::ClusterState;

pub(super) fn init(state: &ClusterState, cmd: &InitCluster) -> Result<Decision, Rejection> {
    if let Some(cluster) = state.cluster() {
        // Every first leader proposes it; the log order of the first decides.
        if cluster.id == cmd.cluster {
            return Ok(Decision::unchanged());
        }
        return Err(Rejection::AlreadyInitialized { cluster: cluster.id });
    }
    check::settings(&cmd.settings)?;
    Ok(Decision::one(Fact::ClusterInitialized { cluster: cmd.cluster, format: FORMAT, settings: cmd.settings }))
}

pub(super) fn change_settings(state: &ClusterState, cmd: &ChangeSettings) -> Result<Decision, Rejection> {
    check::settings(&cmd.settings)?;
    if state.settings() == cmd.settings {
        return Ok(Decision::unchanged());
    }
    Ok(Decision::one(Fact::SettingsChanged { settings: cmd.settings }))
}

pub(super) fn raise_format(state: &ClusterState, cmd: &RaiseFormat) -> Result<Decision, Rejection> {
    let current = state.need_cluster()?.format;
    if cmd.format == current {
        return Ok(Decision::unchanged());
    }
    if cmd.format < current {
        return Err(Rejection::FormatRefused { format: cmd.format, why: format!("it is {current} already and never goes back") });
    }
    if cmd.format > FORMAT {
        return Err(Rejection::FormatRefused {
            format: cmd.format,
            why: format!("this build knows formats up to {FORMAT}: upgrade every node first"),
        });
    }
    Ok(Decision::one(Fact::FormatRaised { format: cmd.format }))
}
