//! Which processes belong to the demo, and their end. Called for a power cut of one host and when everything is taken down. Must never
//! touch a process that the demo did not start: it has to run the berth binary, as one of the parts the demo is made of, and to name
//! the demo's own scratch folder, which nobody else has.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use berth_executor::hostguard::HOST_GUARD_COMMAND;
use berth_executor::runtime::kill;
use berth_executor::runtime::process::SHIM_COMMAND;
use rustix::process::Signal;

/// Subcommands of this binary that the demo starts, itself or through an executor.
const PARTS: [&str; 5] = ["server", "executor", HOST_GUARD_COMMAND, SHIM_COMMAND, "witness"];
/// How often, and how far apart, the dying are looked for: 5 s together.
const LOOKS: u32 = 500;
const LOOK: Duration = Duration::from_millis(10);

/// A process that cannot be taken for a later one with the same number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub pid: u32,
    pub start_ticks: u64,
    /// Which part of the demo it is.
    pub part: String,
}

/// The demo's living processes that name something in `folder`, in their arguments or as their working directory. Executors first:
/// who kills in this order leaves them no time to act on what they see.
///
/// # Errors
/// /proc cannot be read.
pub fn members(folder: &Path) -> io::Result<Vec<Member>> {
    let own = Program::of("/proc/self".as_ref())?;
    let mut members = vec![];
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // What vanishes while it is looked at is no member.
        let Ok(arguments) = std::fs::read(entry.path().join("cmdline")) else { continue };
        let arguments: Vec<OsString> = arguments.split(|byte| *byte == 0).map(|bytes| OsString::from_vec(bytes.to_vec())).collect();
        let Some(part) = arguments.get(1).and_then(|part| part.to_str()).filter(|part| PARTS.contains(part)) else { continue };
        let same_binary = Program::of(&entry.path()).is_ok_and(|program| program.is_same(&own));
        let works_there = std::fs::read_link(entry.path().join("cwd")).is_ok_and(|at| at.starts_with(folder));
        if !same_binary || !(works_there || arguments.iter().any(|argument| names(argument.as_bytes(), folder))) {
            continue;
        }
        if let Some(start_ticks) = kill::start_ticks(pid)? {
            members.push(Member { pid, start_ticks, part: part.to_owned() });
        }
    }
    members.sort_by_key(|member| (member.part != "executor", member.pid));
    Ok(members)
}

/// The file that a process runs.
struct Program {
    path: PathBuf,
    file: (u64, u64),
}

impl Program {
    fn of(process: &Path) -> io::Result<Self> {
        let exe = process.join("exe");
        let (path, file) = (std::fs::read_link(&exe)?, std::fs::metadata(&exe)?);
        // What the kernel says of a file that was replaced meanwhile, as by a build.
        let path = path.as_os_str().as_bytes();
        let path = path.strip_suffix(b" (deleted)").unwrap_or(path);
        Ok(Self { path: OsString::from_vec(path.to_vec()).into(), file: (file.dev(), file.ino()) })
    }

    /// The same file, or another one in its place: executors start what is there when they start it.
    fn is_same(&self, other: &Self) -> bool {
        self.file == other.file || self.path == other.path
    }
}

/// Whether the argument is a path in `folder`, or ends in one (`--data-dir=…`).
fn names(argument: &[u8], folder: &Path) -> bool {
    let folder = folder.as_os_str().as_bytes();
    argument
        .windows(folder.len())
        .enumerate()
        .any(|(at, window)| window == folder && matches!(argument.get(at + folder.len()), None | Some(b'/')))
}

/// Kills all of them, in one go, and comes back when none lives. What it did not find but one of the dying had just started, it kills
/// as well.
///
/// # Errors
/// /proc cannot be read, or one cannot be killed within 5 s.
#[allow(clippy::disallowed_methods, reason = "also called while everything else unwinds; the kernel offers nothing to wait for")]
pub fn kill_all(folder: &Path) -> io::Result<Vec<Member>> {
    let mut killed: Vec<Member> = vec![];
    for _ in 0..LOOKS {
        let living = members(folder)?;
        if living.is_empty() {
            return Ok(killed);
        }
        for member in living {
            kill::signal(member.pid, member.start_ticks, Signal::KILL)?;
            if !killed.contains(&member) {
                killed.push(member);
            }
        }
        std::thread::sleep(LOOK);
    }
    let left: Vec<_> = members(folder)?.iter().map(|member| format!("{} (process {})", member.part, member.pid)).collect();
    Err(io::Error::other(format!("cannot be killed: {}", left.join(", "))))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test")]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_path_in_the_folder_counts_and_a_longer_name_does_not() {
        let folder = Path::new("/tmp/demo-x");
        for yes in ["/tmp/demo-x", "/tmp/demo-x/h1", "--data-dir=/tmp/demo-x/h1"] {
            assert!(names(yes.as_bytes(), folder), "{yes}");
        }
        for no in ["/tmp/demo-xy", "/tmp/demo-", "", "/tmp"] {
            assert!(!names(no.as_bytes(), folder), "{no}");
        }
    }

    #[test]
    fn another_program_is_left_alone_though_it_looks_like_a_part_in_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("executor"), "read line\n").unwrap();
        // Its arguments are `sh executor FOLDER`, and it works in the folder; only it is not this binary.
        let mut command = Command::new("sh");
        let mut foreign = command.arg("executor").arg(folder.path()).current_dir(folder.path()).stdin(Stdio::piped()).spawn().unwrap();
        assert_eq!(kill_all(folder.path()).unwrap(), []);
        assert!(foreign.try_wait().unwrap().is_none(), "a foreign process was killed");
        foreign.kill().unwrap();
        foreign.wait().unwrap();
    }
}
