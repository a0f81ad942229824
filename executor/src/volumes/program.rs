//! Runs a helper program with a bound on its time and its output. Used by drivers, and by the cut at the deadline: so it needs no async runtime. The program
//! gets a process group of its own, and all of it is killed when its time is over.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

/// Of each stream; a program that says more is not read further.
const MAX_OUTPUT: u64 = 256 * 1024;
/// How often an end is looked for.
const POLL: Duration = Duration::from_millis(5);
/// Where programs of the system are, whatever PATH this process was started with.
const FOLDERS: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    #[error("program {program} is not on this host")]
    Missing { program: String },
    #[error("cannot run {program}")]
    Run {
        program: String,
        #[source]
        source: io::Error,
    },
    #[error("{program} did not end within {seconds} s and was killed")]
    TooSlow { program: String, seconds: u64 },
    #[error("{program} failed ({status}): {said}")]
    Failed { program: String, status: ExitStatus, said: String },
    #[error("{program} gave an answer that cannot be read: {why}")]
    Answer { program: String, why: String },
}

/// What it said, and how it ended.
#[derive(Debug)]
pub struct Output {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

impl Output {
    /// The end of what it said on stderr, or else on stdout, in one line.
    #[must_use]
    pub fn said(&self) -> String {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).split_whitespace().collect::<Vec<_>>().join(" ");
        let (errors, output) = (text(&self.stderr), text(&self.stdout));
        let said = if errors.is_empty() { output } else { errors };
        match said.char_indices().rev().nth(400) {
            Some((at, _)) => format!("…{}", &said[at..]),
            None if said.is_empty() => "it said nothing".to_owned(),
            None => said,
        }
    }
}

/// The file of a program of the system.
#[must_use]
pub fn find(name: &str) -> Option<PathBuf> {
    if name.starts_with('/') {
        return Some(PathBuf::from(name)).filter(|path| executable(path));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let listed = std::env::split_paths(&path).filter(|folder| folder.is_absolute());
    listed.chain(FOLDERS.iter().map(PathBuf::from)).map(|folder| folder.join(name)).find(|file| executable(file))
}

fn executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// Runs it to its end. Blocks, for `at_most` and the moment of a kill.
///
/// # Errors
/// It is not there, cannot be run, or does not end in time. Its exit status is the caller's to judge.
pub fn run<A: AsRef<std::ffi::OsStr>>(program: &str, arguments: &[A], input: &[u8], at_most: Duration) -> Result<Output, ProgramError> {
    let missing = || ProgramError::Missing { program: program.to_owned() };
    let failed = |source| ProgramError::Run { program: program.to_owned(), source };
    let file = find(program).ok_or_else(missing)?;
    let mut command = Command::new(file);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // What a program prints is read: in a language that does not change.
    command.env("LC_ALL", "C");
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut child = command.spawn().map_err(failed)?;
    feed(&mut child, input);
    let (stdout, stderr) = (collect(child.stdout.take()), collect(child.stderr.take()));
    let Some(status) = wait(&mut child, at_most).map_err(failed)? else {
        kill(&mut child);
        return Err(ProgramError::TooSlow { program: program.to_owned(), seconds: at_most.as_secs() });
    };
    // A daemon that it left behind may keep the streams open: what has been said by now counts.
    Ok(Output { status, stdout: said(&stdout), stderr: said(&stderr) })
}

/// [`run`], and anything but success is an error.
///
/// # Errors
/// As [`run`], and its failure.
pub fn succeed<A: AsRef<std::ffi::OsStr>>(program: &str, arguments: &[A], at_most: Duration) -> Result<Output, ProgramError> {
    let output = run(program, arguments, &[], at_most)?;
    if output.status.success() {
        return Ok(output);
    }
    Err(ProgramError::Failed { program: program.to_owned(), status: output.status, said: output.said() })
}

/// On a thread: a program that does not read would block us.
fn feed(child: &mut Child, input: &[u8]) {
    let (stdin, input) = (child.stdin.take(), input.to_vec());
    let _ = std::thread::Builder::new().name("berth-stdin".to_owned()).spawn(move || {
        if let Some(mut stdin) = stdin {
            // It may have ended without reading: then its status tells.
            let _ = stdin.write_all(&input);
        }
    });
}

fn collect(stream: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    // One message: the whole of it.
    let (sender, receiver) = sync_channel(1);
    let _ = std::thread::Builder::new().name("berth-output".to_owned()).spawn(move || {
        let mut bytes = Vec::new();
        if let Some(stream) = stream {
            let _ = stream.take(MAX_OUTPUT).read_to_end(&mut bytes);
        }
        let _ = sender.send(bytes);
    });
    receiver
}

fn said(stream: &Receiver<Vec<u8>>) -> Vec<u8> {
    stream.recv_timeout(Duration::from_millis(200)).unwrap_or_default()
}

#[allow(clippy::disallowed_methods, reason = "called on threads that may block; no clock of the protocol, it only bounds a helper program")]
fn wait(child: &mut Child, at_most: Duration) -> io::Result<Option<ExitStatus>> {
    let begun = std::time::Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if begun.elapsed() >= at_most {
            return Ok(None);
        }
        std::thread::sleep(POLL);
    }
}

/// The whole group. A process that hangs in the kernel dies when it comes back; it is not waited for longer than a moment.
fn kill(child: &mut Child) {
    if let Some(group) = Pid::from_raw(i32::try_from(child.id()).unwrap_or(0)) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    let _ = wait(child, Duration::from_millis(500));
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test: it bounds its own waiting")]
mod tests {
    use super::*;

    #[test]
    fn input_goes_in_and_output_comes_out() {
        let output = run("sh", &["-c", "cat; echo oops >&2; exit 3"], b"hello", Duration::from_secs(10)).unwrap();
        assert_eq!((output.stdout.as_slice(), output.status.code()), (&b"hello"[..], Some(3)));
        assert_eq!(output.said(), "oops");
    }

    #[test]
    fn a_program_that_hangs_is_killed_with_its_children() {
        let folder = tempfile::tempdir().unwrap();
        let late = folder.path().join("late");
        let script = format!("(sleep 1; echo x > {}) & sleep 60", late.display());
        let error = run("sh", &["-c", &script], &[], Duration::from_millis(100)).unwrap_err();
        assert!(matches!(error, ProgramError::TooSlow { .. }), "{error}");
        std::thread::sleep(Duration::from_millis(1_300));
        assert!(!late.exists(), "its child lived on");
    }

    #[test]
    fn a_daemon_that_it_leaves_behind_is_not_waited_for() {
        let output = run("sh", &["-c", "echo up; sleep 3 & exit 0"], &[], Duration::from_secs(2)).unwrap();
        assert!(output.status.success());
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = succeed("berth-no-such-program", &[""; 0], Duration::from_secs(1)).unwrap_err();
        assert!(error.to_string().contains("berth-no-such-program"), "{error}");
    }
}
