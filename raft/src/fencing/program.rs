//! A child process with a bound on time and output, in a process group of its own that is killed when the time is over or the task is dropped.
//! Used by the agents and the storage fences; must never outlive the task that runs it.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

const FOLDERS: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
/// Of each stream; what comes later is not read.
const MAX_READ: u64 = 1 << 20;

#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    #[error("program {program} is not on this control node")]
    Missing { program: String },
    #[error("cannot run {program}")]
    Run {
        program: String,
        #[source]
        source: std::io::Error,
    },
    #[error("{program} did not end within {ms} ms and was killed")]
    TooSlow { program: String, ms: u128 },
}

#[derive(Debug)]
pub struct Ran {
    /// `None`: ended by a signal.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// What it said, in one line.
    #[must_use]
    pub fn said(&self) -> String {
        let all = format!("{} {}", self.stderr, self.stdout);
        let line = all.split_whitespace().collect::<Vec<_>>().join(" ");
        if line.is_empty() { "it said nothing".to_owned() } else { line }
    }
}

/// Kills the whole group when dropped: a task that is given up leaves nothing behind.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            // Gone already is as good.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

#[must_use]
pub fn find(name: &str) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let runs = |path: &PathBuf| std::fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0);
    if name.starts_with('/') {
        return Some(PathBuf::from(name)).filter(runs);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let listed = std::env::split_paths(&path).filter(|folder| folder.is_absolute());
    listed.chain(FOLDERS.iter().map(PathBuf::from)).map(|folder| folder.join(name)).find(runs)
}

/// # Errors
/// Not there, cannot be run, or too slow. The exit code is the caller's to judge.
pub async fn run(program: &str, arguments: &[String], input: &str, at_most: Duration) -> Result<Ran, ProgramError> {
    let path = find(program).ok_or_else(|| ProgramError::Missing { program: program.to_owned() })?;
    let failed = |source| ProgramError::Run { program: program.to_owned(), source };
    let mut command = Command::new(path);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
    let mut child = command.spawn().map_err(failed)?;
    let _group = Group(child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)));
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let work = async {
        let write = async {
            if let Some(mut pipe) = stdin {
                // One that does not read its input has its own reasons.
                let _ = pipe.write_all(input.as_bytes()).await;
            }
        };
        let ((), out, err, status) = tokio::join!(write, read(stdout), read(stderr), child.wait());
        status.map(|status| Ran { code: status.code(), stdout: out, stderr: err })
    };
    match tokio::time::timeout(at_most, work).await {
        Ok(ran) => ran.map_err(failed),
        Err(_) => Err(ProgramError::TooSlow { program: program.to_owned(), ms: at_most.as_millis() }),
    }
}

async fn read(pipe: Option<impl tokio::io::AsyncRead + Unpin>) -> String {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        let _ = pipe.take(MAX_READ).read_to_end(&mut bytes).await;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
