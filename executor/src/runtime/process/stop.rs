//! Stop and kill, on the executor's side. Must never return `Ok` while a process of the instance is left: the kernel's word
//! (empty control group, dead first process) and the shim's record are both waited for, within a bound.

use std::io::{self, ErrorKind};
use std::time::Duration;

use rustix::process::Signal;

use super::create::{close, refused};
use super::folder::Phase;
use super::record::{Process, Running, Started};
use super::{ProcessRuntime, io_error, signals};
use crate::runtime::{InstanceKey, RuntimeError, kill};

/// How long the kernel may take to end the killed (a process in an uninterruptible wait ends when its wait does).
const DEATH: Duration = Duration::from_secs(15);
const LOOK: Duration = Duration::from_millis(5);
/// How many looks a shim may take to write the end of a dead instance down before it is killed too: 3 s at least.
const RECORD_ROUNDS: u32 = 600;

impl ProcessRuntime {
    pub(super) async fn stop_instance(&self, key: &InstanceKey, grace: Duration) -> Result<(), RuntimeError> {
        // What is only being started gets the signal when it can take it; a start that hangs does not hold up the stop.
        if self.running_handle(key).await.is_err() {
            return self.kill_instance(key).await;
        }
        let Some(Phase::Running(_, running)) = self.phase(key).await? else { return self.kill_instance(key).await };
        let stored = self.shared.folder(key).stored().map_err(io_error("stop", key))?;
        let signal = stored.spec.stop_signal.as_deref().and_then(signals::parse).unwrap_or(Signal::TERM);
        // The guard hands it on; an instance from before there were guards has its command noted.
        let Process { pid, start_ticks } = running.command.unwrap_or(running.init);
        let sent = kill::signal(pid, start_ticks, signal).map_err(io_error("stop", key))?;
        if sent && let Ok(ended) = tokio::time::timeout(grace, self.ended(key)).await {
            return ended;
        }
        self.kill_instance(key).await
    }

    async fn ended(&self, key: &InstanceKey) -> Result<(), RuntimeError> {
        loop {
            match self.phase(key).await? {
                None | Some(Phase::Exited(_)) => return Ok(()),
                Some(Phase::Created | Phase::Starting(_) | Phase::Running(_, _)) => tokio::time::sleep(LOOK).await,
            }
        }
    }

    pub(super) async fn kill_instance(&self, key: &InstanceKey) -> Result<(), RuntimeError> {
        match tokio::time::timeout(DEATH, self.kill_until_ended(key)).await {
            Ok(result) => result,
            Err(_) => {
                let late = io::Error::new(ErrorKind::TimedOut, format!("processes are left {} ms after SIGKILL", DEATH.as_millis()));
                Err(io_error("kill", key)(late))
            }
        }
    }

    async fn kill_until_ended(&self, key: &InstanceKey) -> Result<(), RuntimeError> {
        let mut rounds_gone = 0;
        loop {
            match self.phase(key).await? {
                None | Some(Phase::Exited(_)) => return Ok(()),
                // `Refused`: a shim was faster, and there is somebody to kill in the next round.
                Some(Phase::Created) => match close(&self.shared.folder(key), key) {
                    Ok(()) | Err(RuntimeError::Refused { .. }) => {}
                    Err(error) => return Err(error),
                },
                // Its first process, if there is one, waits for its word and dies with it.
                Some(Phase::Starting(shim)) => kill_shim(key, &shim)?,
                Some(Phase::Running(shim, running)) => {
                    if self.kill_running(key, &running)? {
                        // Only the record is missing. A shim that does not write it is stuck or stopped.
                        rounds_gone += 1;
                        if rounds_gone > RECORD_ROUNDS {
                            tracing::warn!(instance = %key.instance_name(), "shim does not record the end: killed");
                            kill_shim(key, &shim)?;
                        }
                    }
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Kills; whether nothing was left to kill.
    fn kill_running(&self, key: &InstanceKey, running: &Running) -> Result<bool, RuntimeError> {
        let handle = self.shared.folder(key).kill_handle(running).map_err(io_error("kill", key))?;
        if kill::is_gone(&handle)? {
            return Ok(true);
        }
        kill::kill_now(&handle)?;
        Ok(false)
    }
}

fn kill_shim(key: &InstanceKey, started: &Started) -> Result<(), RuntimeError> {
    let shim = started.shim.ok_or_else(|| refused(key, "has no shim"))?;
    kill::signal(shim.pid, shim.start_ticks, Signal::KILL).map(|_| ()).map_err(io_error("kill", key))
}
