//! The guard as a container's first process: its entry point and its three files, bound in one by one, so that any image will do, one with nothing in it too.
//! Called by `create`, `start` and `found`.

use std::path::{Path, PathBuf};

use berth_guard::status::{self, Phase};
use bollard::models::ContainerInspectResponse;

use super::DockerRuntime;
use super::call_error::CallError;
use super::engine::CALL_LIMIT;
use crate::runtime::guarded::{self, Seen};
use crate::runtime::spec::{GuardSpec, MountSpec};
use crate::runtime::{InstanceSpec, InstanceState, RuntimeError};

const GUARD: &str = "/.berth/guard";
const PAGE: &str = "/.berth/page";
const STATUS: &str = "/.berth/status";

/// What an image would run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ImageCommand {
    pub(super) entrypoint: Vec<String>,
    pub(super) cmd: Vec<String>,
}

impl DockerRuntime {
    /// # Errors
    /// [`RuntimeError::ImageMissing`], or the engine's failure.
    pub(super) async fn image_command(&self, spec: &InstanceSpec, name: &str) -> Result<ImageCommand, RuntimeError> {
        let image = spec.image.clone();
        match self.engine.call(CALL_LIMIT, |docker| async move { docker.inspect_image(&image).await }).await {
            Ok(found) => {
                let config = found.config.unwrap_or_default();
                Ok(ImageCommand { entrypoint: config.entrypoint.unwrap_or_default(), cmd: config.cmd.unwrap_or_default() })
            }
            Err(CallError::Status { code: 404, .. }) => Err(RuntimeError::ImageMissing { image: spec.image.clone() }),
            Err(error) => Err(error.into_runtime("inspect the image of", name)),
        }
    }
}

/// The guard, and behind it what the container would have run without one: the image's entry point with the spec's command or else the image's.
pub(super) fn entrypoint(spec: &InstanceSpec, image: &ImageCommand) -> Result<Vec<String>, RuntimeError> {
    let command = if spec.command.is_empty() { &image.cmd } else { &spec.command };
    let command: Vec<String> = image.entrypoint.iter().chain(command).cloned().collect();
    if command.is_empty() {
        let reason = format!("image {} has none of its own: state it", spec.image);
        return Err(RuntimeError::InvalidSpec { what: "command", reason });
    }
    let seen = Seen { page: PAGE.into(), status: STATUS.into() };
    let words = guarded::arguments(&spec.key, &spec.guard, seen, command);
    let words = words.into_iter().map(|word| word.into_string().expect("made of strings"));
    Ok(std::iter::once(GUARD.to_owned()).chain(words).collect())
}

pub(super) fn mounts(guard: &GuardSpec) -> [MountSpec; 3] {
    let mount = |source: &Path, target: &str, read_only| MountSpec { source: source.to_owned(), target: target.into(), read_only };
    [mount(&guard.binary, GUARD, true), mount(&guard.page, PAGE, true), mount(&guard.status, STATUS, false)]
}

/// What is known of a container's guard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Guarded {
    /// On this host; `None`: it has no guard.
    status: Option<PathBuf>,
    program: String,
}

impl Guarded {
    pub(super) fn of(inspected: &ContainerInspectResponse) -> Self {
        let mounts = inspected.mounts.iter().flatten();
        let status = mounts.filter(|mount| mount.destination.as_deref() == Some(STATUS)).find_map(|mount| mount.source.clone());
        let words = inspected.config.iter().flat_map(|config| config.entrypoint.iter().flatten());
        // The hooks before it may contain the same word; for a message that is good enough.
        let program = words.skip_while(|word| *word != "--").nth(1).cloned().unwrap_or_default();
        Self { status: status.map(PathBuf::from), program }
    }

    /// What the guard says; `None`: nothing, or no guard.
    pub(super) fn phase(&self) -> Option<Phase> {
        status::read(self.status.as_ref()?).ok().flatten()
    }

    /// With the guard's own reason, where it was the guard that ended it.
    pub(super) fn explain(&self, state: InstanceState) -> InstanceState {
        match state {
            InstanceState::Exited { code, reason } => {
                let own = self.phase().and_then(|phase| guarded::own_end(phase, code, &self.program));
                InstanceState::Exited { code, reason: own.unwrap_or(reason) }
            }
            InstanceState::Created | InstanceState::Running => state,
        }
    }
}
