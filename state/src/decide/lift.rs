//! Decisions on lifting bars (L15, I14): a host that the storage keeps out is let in again only after every token cut there has proof of death, and
//! the storage call comes after that entry. Called only by `decide`.

use crate::command::{FinishLift, StartLift};
use crate::decide::Decision;
use crate::event::Fact;
use crate::ids::{HostId, VolumeId};
use crate::noun::volume::Bar;
use crate::rejection::Rejection;
use crate::state::ClusterState;

pub(super) fn start(state: &ClusterState, cmd: &StartLift) -> Result<Decision, Rejection> {
    let bar = need_bar(state, &cmd.volume, &cmd.host)?;
    if let Some(token) = bar.tokens.first() {
        return refuse(cmd.volume.clone(), cmd.host.clone(), format!("token {token} was cut there and is not known to be gone"));
    }
    if bar.lifting.is_some() {
        return Ok(Decision::unchanged());
    }
    Ok(Decision::one(Fact::CutLiftStarted { volume: cmd.volume.clone(), host: cmd.host.clone(), newest: bar.newest }))
}

pub(super) fn finish(state: &ClusterState, cmd: &FinishLift) -> Result<Decision, Rejection> {
    let bar = need_bar(state, &cmd.volume, &cmd.host)?;
    if bar.lifting.is_none() {
        return refuse(cmd.volume.clone(), cmd.host.clone(), "no lift was started".to_owned());
    }
    if bar.newest != cmd.newest {
        return refuse(cmd.volume.clone(), cmd.host.clone(), format!("token {} was cut there since", bar.newest));
    }
    Ok(Decision::one(Fact::CutLifted { volume: cmd.volume.clone(), host: cmd.host.clone(), newest: cmd.newest }))
}

fn need_bar<'a>(state: &'a ClusterState, volume: &VolumeId, host: &HostId) -> Result<&'a Bar, Rejection> {
    let bar = state.need_volume(volume)?.bar(host);
    bar.ok_or_else(|| Rejection::NotBarred { volume: volume.clone(), host: host.clone() })
}

fn refuse(volume: VolumeId, host: HostId, why: String) -> Result<Decision, Rejection> {
    Err(Rejection::LiftRefused { volume, host, why })
}
