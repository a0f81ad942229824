//! One guard with its page, in a folder of its own. Whatever it started is killed when it goes. Used by the tests of the guard as a program.

use std::fs;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use berth_guard::arguments::{Arguments, Hook};
use berth_guard::page::{Deadline, Owner, PageWriter};
use berth_guard::status::{self, HookKind, Phase};

const TOKEN: u64 = 7;
const BOUND: Duration = Duration::from_secs(20);
/// Later than any test ends.
pub const FAR: Deadline = Deadline::At(u64::MAX - 1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One process among others.
    Plain,
    /// As [`Self::Plain`], by somebody who ignores the death of children.
    ChildrenIgnored,
    /// PID 1 of a pid namespace with a /proc of its own; needs root.
    First,
}

/// Runs `test` in every mode that this user may have.
pub fn each_mode(test: impl Fn(Mode)) {
    test(Mode::Plain);
    if rustix::process::geteuid().is_root() {
        test(Mode::First);
    } else {
        assert!(std::env::var_os("CI").is_none(), "CI may not skip: as PID 1 needs root");
        println!("SKIPPED as PID 1: needs root");
    }
}

pub struct Bench {
    mode: Mode,
    folder: tempfile::TempDir,
    page: PageWriter,
}

impl Bench {
    pub fn new(mode: Mode, deadline: Deadline) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let page = PageWriter::create(&folder.path().join("page"), &Owner::here(TOKEN).unwrap(), deadline).unwrap();
        status::create(&folder.path().join("status")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, folder.path().join("fifo"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        Self { mode, folder, page }
    }

    pub fn folder(&self) -> PathBuf {
        fs::canonicalize(self.folder.path()).unwrap()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    pub fn fifo(&self) -> PathBuf {
        self.path("fifo")
    }

    pub fn page(&self) -> &PageWriter {
        &self.page
    }

    /// The page with other bytes, as a new file.
    pub fn replace_page(&self, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = fs::read(self.path("page")).unwrap();
        change(&mut bytes);
        fs::remove_file(self.path("page")).unwrap();
        fs::write(self.path("page"), bytes).unwrap();
    }

    pub fn phase(&self) -> Phase {
        status::read(&self.path("status")).unwrap().expect("the guard writes what it should")
    }

    /// An argument that no other process of this machine has.
    pub fn marker(&self) -> String {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        (80_000_000_000 + u64::from(std::process::id()) * 1_000 + NEXT.fetch_add(1, Ordering::Relaxed)).to_string()
    }

    pub fn start(&self, command: &[&str]) -> Guard {
        self.start_with(&[], command)
    }

    /// Hooks are shell scripts.
    pub fn start_with(&self, hooks: &[(HookKind, u64, &str)], command: &[&str]) -> Guard {
        let mut guard = self.spawn(hooks, command, Stdio::piped());
        guard.collect();
        guard
    }

    /// Its standard error is a pipe that nobody reads.
    pub fn start_unread(&self, command: &[&str]) -> Guard {
        self.spawn(&[], command, Stdio::piped())
    }

    fn spawn(&self, hooks: &[(HookKind, u64, &str)], command: &[&str], output: Stdio) -> Guard {
        let hook = |(kind, timeout_ms, script): &(HookKind, u64, &str)| Hook {
            kind: *kind,
            timeout_ms: *timeout_ms,
            command: ["sh", "-c", script].map(Into::into).to_vec(),
        };
        let arguments = Arguments {
            page: self.path("page"),
            token: TOKEN,
            status: Some(self.path("status")),
            hooks: hooks.iter().map(hook).collect(),
            command: command.iter().map(Into::into).collect(),
        };
        let program = env!("CARGO_BIN_EXE_berth-guard");
        let mut line = match self.mode {
            Mode::Plain => Command::new(program),
            Mode::ChildrenIgnored => {
                let mut line = Command::new("env");
                line.args(["--ignore-signal=CHLD", program]);
                line
            }
            Mode::First => {
                let mut line = Command::new("unshare");
                line.args(["--pid", "--fork", "--mount-proc", "--kill-child", program]);
                line
            }
        };
        line.args(arguments.to_words()).current_dir(self.folder()).env("BERTH_TOKEN", TOKEN.to_string()).env("EMPTY", "");
        let child = line.stdin(Stdio::null()).stdout(output).stderr(Stdio::piped()).spawn().unwrap();
        Guard { mode: self.mode, child, said: Arc::default(), readers: vec![] }
    }
}

pub struct Guard {
    mode: Mode,
    child: Child,
    said: Arc<Mutex<Vec<u8>>>,
    readers: Vec<JoinHandle<()>>,
}

impl Guard {
    fn collect(&mut self) {
        let streams: [Box<dyn Read + Send>; 2] = [Box::new(self.child.stdout.take().unwrap()), Box::new(self.child.stderr.take().unwrap())];
        for mut stream in streams {
            let said = Arc::clone(&self.said);
            self.readers.push(std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(count @ 1..) = stream.read(&mut buffer) {
                    said.lock().unwrap().extend_from_slice(&buffer[..count]);
                }
            }));
        }
    }

    pub fn said(&self) -> String {
        String::from_utf8(self.said.lock().unwrap().clone()).unwrap()
    }

    pub fn wait_for(&mut self, text: &str) {
        eventually(&format!("{text:?} is said"), || {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none() || self.said().contains(text), "it ended with {ended:?} and had said {:?}", self.said());
            self.said().contains(text)
        });
    }

    /// The guard's own pid as this machine counts.
    fn pid(&self) -> i32 {
        let outer = i32::try_from(self.child.id()).unwrap();
        match self.mode {
            Mode::Plain | Mode::ChildrenIgnored => outer,
            Mode::First => children_of(outer).first().copied().expect("unshare has one child"),
        }
    }

    pub fn signal(&self, number: i32) {
        let status = Command::new("kill").args([format!("-{number}"), self.pid().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Its exit code, 128 + signal for a killed one; all its output has been taken then.
    pub fn end(&mut self) -> i32 {
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(begun.elapsed() < BOUND, "it did not end; it had said {:?}", self.said());
            std::thread::sleep(Duration::from_millis(1));
        };
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        status.code().unwrap_or_else(|| 128 + status.signal().unwrap())
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // `unshare --kill-child` takes the namespace along; a plain guard's children are killed one by one.
        let mut doomed = vec![i32::try_from(self.child.id()).unwrap()];
        let mut at = 0;
        while at < doomed.len() {
            doomed.extend(children_of(doomed[at]));
            at += 1;
        }
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            for pid in doomed.into_iter().filter_map(rustix::process::Pid::from_raw) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        let _ = self.child.wait();
    }
}

fn children_of(parent: i32) -> Vec<i32> {
    let pids = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok()) == Some(parent)
    })
    .collect()
}

/// Living processes that carry `marker` as an argument of their own program (not within a script).
pub fn processes_with(marker: &str) -> usize {
    let carries = |path: &Path| {
        let arguments = fs::read(path.join("cmdline")).unwrap_or_default();
        arguments.split(|byte| *byte == 0).any(|argument| argument == marker.as_bytes())
    };
    fs::read_dir("/proc").unwrap().flatten().filter(|entry| carries(&entry.path())).count()
}

pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < BOUND, "not within {BOUND:?}: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
