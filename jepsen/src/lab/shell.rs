//! Runs external programs (ip, nft, docker, tar) to their end, within a bound. Used by the lab only; an error carries what the
//! program said on stderr, and no program outlives its bound.

use crate::lab::poll::wait_until;
use anyhow::{Context, Result, bail};
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Enough for every network and namespace tool, even on a machine busy with compiling.
const TOOL_BOUND: Duration = Duration::from_secs(30);

/// Runs a short tool and returns its stdout.
pub(super) fn run(program: &str, args: &[&str]) -> Result<String> {
    run_within(TOOL_BOUND, program, args, "")
}

/// Runs a short tool with `input` on its stdin.
pub(super) fn run_with_input(program: &str, args: &[&str], input: &str) -> Result<String> {
    run_within(TOOL_BOUND, program, args, input)
}

/// Runs a program that may take up to `bound`, then kills it.
pub(super) fn run_within(bound: Duration, program: &str, args: &[&str], input: &str) -> Result<String> {
    let mut command = Command::new(program);
    command.args(args);
    run_command(bound, command, input)
}

/// The same for a prepared command; its stdio is replaced.
pub(crate) fn run_command(bound: Duration, mut command: Command, input: &str) -> Result<String> {
    let shown = show(&command);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot start `{shown}`: is it installed?"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that ends without reading its input closes the pipe; its exit status tells the story.
        let _ = stdin.write_all(input.as_bytes());
    }
    let out = drain(child.stdout.take());
    let err = drain(child.stderr.take());
    let ended = wait_until(&shown, bound, || Ok(child.try_wait()?.is_some()));
    if let Err(late) = ended {
        end(&mut child);
        return Err(late.context(format!("killed, it had said: {}", collect(&err).trim())));
    }
    let status = child.wait()?;
    let stdout = collect(&out);
    if !status.success() {
        bail!("`{shown}` ended with {status}: {}", collect(&err).trim());
    }
    Ok(stdout)
}

fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// Reads a pipe on a thread of its own, so that neither pipe can fill up and stop the program.
fn drain(pipe: Option<impl Read + Send + 'static>) -> mpsc::Receiver<Vec<u8>> {
    let (tx, rx) = mpsc::sync_channel(1);
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut bytes);
        }
        let _ = tx.send(bytes);
    });
    rx
}

/// What the pipe carried. Bounded, because a grandchild may hold the pipe open for ever.
fn collect(rx: &mpsc::Receiver<Vec<u8>>) -> String {
    let bytes = rx.recv_timeout(Duration::from_secs(2)).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn show(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|a| a.to_string_lossy().into_owned()));
    words.join(" ")
}
