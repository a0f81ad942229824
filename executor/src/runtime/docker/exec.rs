//! Running a command inside an instance (health checks). Called by the health checker through [`super::DockerRuntime`]. It must
//! never take longer than its time-out plus the cleaning up, and never leave the command running after that.

use std::path::Path;
use std::time::Duration;

use bollard::Docker;
use bollard::exec::{CreateExecOptions, StartExecOptions, StartExecResults};
use futures::StreamExt;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, pidfd_send_signal};

use super::DockerRuntime;
use super::call_error::{CallError, millis};
use super::engine::{CALL_LIMIT, KILL_CALL_LIMIT};
use super::handle::in_container;
use super::start::refused;
use crate::runtime::{ExecOutput, InstanceKey, RuntimeError};

const OUTPUT_LIMIT: usize = 4096;

impl DockerRuntime {
    pub(super) async fn exec_in(&self, key: &InstanceKey, argv: &[String], timeout: Duration) -> Result<ExecOutput, RuntimeError> {
        let instance = key.instance_name();
        if argv.is_empty() {
            return Err(RuntimeError::InvalidSpec { what: "exec", reason: "the command is empty".to_owned() });
        }
        let found = self.find(key, CALL_LIMIT).await?.filter(|found| found.running() && !found.paused);
        let found = found.ok_or_else(|| refused(key, "it does not run, so nothing can be run inside it"))?;
        let failed = |error: CallError| error.into_runtime("exec in", &instance);

        let options = CreateExecOptions {
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            cmd: Some(argv.to_vec()),
            ..CreateExecOptions::default()
        };
        let container = found.id.clone();
        let create = self.engine.call(timeout.max(KILL_CALL_LIMIT), |docker| async move { docker.create_exec(&container, options).await });
        let exec = create.await.map_err(failed)?.id;
        let docker = self.engine.client_within(CALL_LIMIT).await.map_err(failed)?;
        match tokio::time::timeout(timeout, run(&docker, &exec)).await {
            Ok(outcome) => outcome.map_err(|error| failed(self.engine.failed(&error))),
            Err(_) => {
                self.kill_exec(&exec, &found.id).await;
                Err(RuntimeError::ExecTimeout { instance, timeout_ms: millis(timeout) })
            }
        }
    }

    /// Best effort: the instance's own end takes a survivor along.
    async fn kill_exec(&self, exec: &str, container: &str) {
        let asked = exec.to_owned();
        let inspected = self.engine.call(KILL_CALL_LIMIT, |docker| async move { docker.inspect_exec(&asked).await }).await;
        let inspected = match inspected {
            Ok(inspected) => inspected,
            Err(error) => {
                tracing::warn!(exec, %error, "timed-out command not found, it may still run");
                return;
            }
        };
        let pid = inspected.pid.and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        let (Some(pid), Some(true)) = (pid, inspected.running) else { return };
        if let Err(error) = kill_checked(pid, container) {
            tracing::warn!(exec, ?pid, %error, "timed-out command not killed");
        }
    }
}

/// Kills `pid` and its process group if it is a process of the container.
fn kill_checked(pid: Pid, container: &str) -> Result<(), std::io::Error> {
    // Opened before the check: the descriptor stays with this process even if its number is given away.
    let process = pidfd_open(pid, PidfdFlags::empty())?;
    let groups = std::fs::read_to_string(Path::new("/proc").join(pid.as_raw_nonzero().to_string()).join("cgroup"))?;
    if !in_container(&groups, container) {
        return Err(std::io::Error::other("its pid belongs to another process now"));
    }
    // runc makes each exec a session of its own, so its children are in its group. Group first: a group's number
    // is not reused while its leader lives.
    if let Err(error) = kill_process_group(pid, Signal::KILL) {
        tracing::debug!(?pid, %error, "no process group of its own");
    }
    match pidfd_send_signal(&process, Signal::KILL) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

async fn run(docker: &Docker, exec: &str) -> Result<ExecOutput, bollard::errors::Error> {
    let mut kept = Vec::new();
    let options = StartExecOptions { detach: false, tty: false, output_capacity: None };
    match docker.start_exec(exec, Some(options)).await? {
        StartExecResults::Attached { mut output, input: _input } => {
            // Read to the end even when nothing more is kept: a full pipe would block the command.
            while let Some(chunk) = output.next().await {
                let chunk = chunk?.into_bytes();
                let room = OUTPUT_LIMIT - kept.len();
                kept.extend_from_slice(&chunk[..chunk.len().min(room)]);
            }
        }
        StartExecResults::Detached => {}
    }
    let code = exit_code(docker, exec).await?;
    Ok(ExecOutput { code, output: String::from_utf8_lossy(&kept).into_owned() })
}

/// The output may end a moment before the engine knows the exit code; the caller's time-out bounds the wait.
async fn exit_code(docker: &Docker, exec: &str) -> Result<i32, bollard::errors::Error> {
    const LOOK_EVERY: Duration = Duration::from_millis(10);
    loop {
        let inspected = docker.inspect_exec(exec).await?;
        match (inspected.running, inspected.exit_code) {
            (Some(false), Some(code)) => return Ok(i32::try_from(code).unwrap_or(-1)),
            _ => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}
