//! Exec, on the executor's side: runs `berth shim enter` and takes its output. Must never wait longer than it was told, nor for a
//! background process that the command left with the pipe in its hands.

use std::io;
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;
use tokio::process::{Child, Command};

use super::create::refused;
use super::entry::SHIM_COMMAND;
use super::folder::Phase;
use super::{ProcessRuntime, io_error};
use crate::runtime::{ExecOutput, InstanceKey, RuntimeError};

/// What is kept of the output.
const OUTPUT_BYTES: usize = 4096;
/// How long the rest of the output is waited for when the command has ended.
const REST: Duration = Duration::from_millis(200);

impl ProcessRuntime {
    pub(super) async fn exec_in_instance(&self, key: &InstanceKey, argv: &[String], timeout: Duration) -> Result<ExecOutput, RuntimeError> {
        if argv.is_empty() {
            return Err(RuntimeError::InvalidSpec { what: "exec", reason: "the command is empty".to_owned() });
        }
        match self.phase(key).await? {
            Some(Phase::Running(_, _)) => {}
            Some(Phase::Starting(_)) => {
                self.running_handle(key).await?;
            }
            None | Some(Phase::Created | Phase::Exited(_)) => return Err(refused(key, "does not run: a command needs a running instance")),
        }
        let (mut output, mut child) = self.spawn_enter(key, argv).map_err(io_error("exec", key))?;
        let mut kept = vec![];
        let ended = tokio::time::timeout(timeout, run(&mut child, &mut output, &mut kept)).await;
        match ended {
            Ok(result) => {
                let code = result.map_err(io_error("exec", key))?;
                kept.truncate(OUTPUT_BYTES);
                Ok(ExecOutput { code, output: cut(&kept) })
            }
            Err(_) => {
                // `run` was dropped and its standard input with it: that tells it to kill the command, and it ends.
                let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
                tokio::spawn(async move { child.wait().await.map(|_| ()) });
                Err(RuntimeError::ExecTimeout { instance: key.instance_name(), timeout_ms })
            }
        }
    }

    fn spawn_enter(&self, key: &InstanceKey, argv: &[String]) -> io::Result<(Receiver, Child)> {
        let (reader, writer) = io::pipe()?;
        let output = Receiver::from_owned_fd(OwnedFd::from(reader))?;
        let child = Command::new(&self.shared.config.berth_binary)
            .args([SHIM_COMMAND, "enter"])
            .arg(self.shared.folder(key).path())
            .args(argv)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(writer.try_clone()?)
            .stderr(writer)
            .kill_on_drop(false)
            .spawn()?;
        Ok((output, child))
    }
}

/// Reads until the command has ended; keeps the beginning and throws the rest away, so that the command is never held up.
/// `Child::wait` would close standard input, which means "give up": it is kept open until the end.
async fn run(child: &mut Child, output: &mut Receiver, kept: &mut Vec<u8>) -> io::Result<i32> {
    let stdin = child.stdin.take();
    let result = async {
        let mut open = true;
        let status = loop {
            tokio::select! {
                status = child.wait() => break status?,
                more = read(output, kept), if open => open = more?,
            }
        };
        let rest = async {
            while open {
                open = read(output, kept).await?;
            }
            Ok::<(), io::Error>(())
        };
        if let Ok(result) = tokio::time::timeout(REST, rest).await {
            result?;
        }
        Ok(status.code().unwrap_or(137))
    }
    .await;
    drop(stdin);
    result
}

async fn read(output: &mut Receiver, kept: &mut Vec<u8>) -> io::Result<bool> {
    let mut buffer = [0; 4096];
    let count = output.read(&mut buffer).await?;
    let room = OUTPUT_BYTES.saturating_sub(kept.len());
    kept.extend_from_slice(&buffer[..count.min(room)]);
    Ok(count > 0)
}

/// As text of at most [`OUTPUT_BYTES`], although a replaced byte grows to three.
fn cut(kept: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(kept).into_owned();
    text.truncate(text.floor_char_boundary(OUTPUT_BYTES));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binary_output_does_not_exceed_the_limit() {
        let text = cut(&[0xff; OUTPUT_BYTES]);
        assert!(text.len() <= OUTPUT_BYTES && text.len() > OUTPUT_BYTES - 3);
    }
}
