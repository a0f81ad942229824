//! What an instance is told of the age of its volumes, and when a new volume stops being new. Called by the launch step, and by whoever learns that the init hook
//! has come through; the marker itself is `volumes::birth`'s.

use std::collections::BTreeMap;
use std::path::PathBuf;

use berth_state::ids::{Token, VolumeId};
use tracing::info;

use crate::context::Context;
use crate::step_done::StepError;
use crate::volumes::VolumeError;
use crate::volumes::birth::{self, VolumeState};

impl Context {
    /// Of each mounted volume. An empty one is marked as new by this.
    pub(crate) async fn volume_states(
        &self,
        token: Token,
        sources: &BTreeMap<VolumeId, PathBuf>,
    ) -> Result<BTreeMap<VolumeId, VolumeState>, StepError> {
        let sources = sources.clone();
        let look = move || {
            let state = |(volume, source): (VolumeId, PathBuf)| match birth::look(&source, token) {
                Ok(state) => Ok((volume, state)),
                Err(error) => Err(VolumeError::io(&volume, "look at the age of", &source, error)),
            };
            sources.into_iter().map(state).collect::<Result<_, _>>()
        };
        Ok(tokio::task::spawn_blocking(look).await.map_err(|join| StepError::failed(join.to_string()))??)
    }

    /// The volumes of this lease have been made ready: by the init hook, or by a first start without one. Durable when this returns.
    pub(crate) async fn volumes_initialised(&self, token: Token, sources: BTreeMap<VolumeId, PathBuf>) -> Result<(), StepError> {
        let mark = move || {
            for (volume, source) in sources {
                let failed = |error| VolumeError::io(&volume, "mark as used", &source, error);
                if birth::look(&source, token).map_err(failed)? == VolumeState::New {
                    birth::initialised(&source, token).map_err(failed)?;
                    info!(%token, %volume, "a new volume is in use from now on");
                }
            }
            Ok::<(), VolumeError>(())
        };
        Ok(tokio::task::spawn_blocking(mark).await.map_err(|join| StepError::failed(join.to_string()))??)
    }
}

/// `BERTH_VOLUME_STATE_<NAME>` for each.
pub(crate) fn environment(states: &BTreeMap<VolumeId, VolumeState>) -> impl Iterator<Item = (String, String)> {
    let name = |volume: &VolumeId| volume.as_str().to_ascii_uppercase().replace(['-', '.'], "_");
    states.iter().map(move |(volume, state)| (format!("BERTH_VOLUME_STATE_{}", name(volume)), state.word().to_owned()))
}
