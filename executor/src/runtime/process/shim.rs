//! The shim: the parent of one instance, in a session of its own so that it outlives the executor. Spawned by `start`; takes the
//! right to start the instance, makes its first process (`init`), keeps its output, and writes its end down. Single-threaded: a
//! user namespace cannot be entered otherwise. Must never start a second first process, and never end before the instance has.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions};

use super::folder::InstanceFolder;
use super::log_writer::LogWriter;
use super::record::{Exit, Plan, Process, Running, Started};
use super::{cgroup, procfs, signals};

/// Exit code of an instance that could not be started at all (Docker's).
const NOT_STARTED: i32 = 125;
/// How long the next output of a dead instance is waited for, where somebody outside holds its pipes and they do not end.
const DRAIN_WAIT: Duration = Duration::from_millis(100);
/// How often, at most: more than fit into two pipes.
const DRAIN_ROUNDS: u32 = 64;

/// Runs the shim of the instance in `folder`. The first line on standard output is for the executor: `running`, or `refused` and why.
pub(super) fn run(folder: &OsStr, id: &OsStr) -> io::Result<()> {
    // Fails only for the leader of a group, and then the executor's session is not shared anyway.
    let _ = rustix::process::setsid();
    let folder = InstanceFolder::new(folder.into());
    let stored = folder.stored()?;
    if OsStr::new(&stored.id) != id {
        return Err(io::Error::other("the instance was removed and made anew"));
    }
    let plan = folder.plan()?.ok_or_else(|| io::Error::other("plan.json is missing"))?;
    let own = procfs::process(std::process::id())?;
    // Durable before anything runs: from here on nobody else starts this instance, ever.
    folder.claim(&Started { boot_id: procfs::boot_id()?, shim: own })?;
    if let Some(cgroup) = &plan.shim_cgroup {
        // Without it the shim is only less safe from a service manager that empties the executor's group.
        let _ = cgroup::join(cgroup);
    }

    let mut log = LogWriter::new(folder.log());
    let (exit, told) = match hold(&folder, &plan, &mut log) {
        Ok(end) => end,
        Err(error) => (Exit { code: NOT_STARTED, reason: format!("not started: {error}") }, false),
    };
    log.finish();
    folder.write_exit(&exit)?;
    if !told {
        reply(&format!("refused {}", exit.reason));
    }
    Ok(())
}

/// Everything between the claim and the end. The flag: whether the executor was told that it runs.
fn hold(folder: &InstanceFolder, plan: &Plan, log: &mut LogWriter) -> io::Result<(Exit, bool)> {
    let (stdout, stdout_end) = io::pipe()?;
    let (stderr, stderr_end) = io::pipe()?;
    let (mut control, control_end) = UnixStream::pair()?;
    plan.isolation.enter()?;
    let mut init = spawn_init(folder.path(), control_end.into(), stdout_end.into(), stderr_end.into())?;

    let mut instance = Instance { folder, plan, running: None, told: false, last_words: vec![] };
    if let Some(process) = procfs::process(init.id())? {
        let running = Running { init: process, command: None };
        // Durable before the command exists: whoever finds this folder can kill what is about to run.
        folder.write_running(&running)?;
        instance.running = Some(running);
        // A first process that is dead already is noticed below.
        let _ = control.write_all(b"g");
    }
    let mut streams = [Some(stdout), Some(stderr)];
    let mut control = Some(control);
    while control.is_some() {
        if let Err(error) = pump(&mut streams, &mut control, log, &mut instance, None) {
            eprintln!("berth shim: cannot watch the instance any more, killing it: {error}");
            init.kill()?;
            break;
        }
    }
    let status = init.wait()?;
    if !plan.isolation.has_pid_namespace() {
        hunt_down_leftovers()?;
    }
    for _ in 0..DRAIN_ROUNDS {
        if streams.iter().all(Option::is_none) || !pump(&mut streams, &mut control, log, &mut instance, Some(DRAIN_WAIT))? {
            break;
        }
    }
    Ok((instance.end(status.code()), instance.told))
}

fn spawn_init(folder: &Path, control: OwnedFd, stdout: OwnedFd, stderr: OwnedFd) -> io::Result<Child> {
    // The command object holds our copies of the descriptors; it must go, or their end would never be seen.
    Command::new(std::env::current_exe()?)
        .args([OsStr::new("shim"), OsStr::new("init"), folder.as_os_str()])
        .env_clear()
        .current_dir("/")
        .stdin(control)
        .stdout(stdout)
        .stderr(stderr)
        .process_group(0)
        .spawn()
}

struct Instance<'a> {
    folder: &'a InstanceFolder,
    plan: &'a Plan,
    running: Option<Running>,
    told: bool,
    /// What init has said so far and not been understood yet.
    last_words: Vec<u8>,
}

impl Instance<'_> {
    /// Takes complete lines from init; the last one, about its end, stays for [`Self::end`].
    fn hear(&mut self, said: &[u8]) {
        self.last_words.extend_from_slice(said);
        let text = String::from_utf8_lossy(&self.last_words).into_owned();
        let Some((line, rest)) = text.split_once('\n') else { return };
        let Some(inner) = line.strip_prefix("running ").and_then(|pid| pid.parse().ok()) else { return };
        self.last_words = rest.as_bytes().to_vec();
        if let Err(error) = self.note_command(inner) {
            // It can be killed all the same, only not stopped gently.
            eprintln!("berth shim: the command's pid is not noted: {error}");
        }
        self.told = true;
        reply("running");
    }

    fn note_command(&mut self, inner: u32) -> io::Result<()> {
        let Some(running) = &mut self.running else { return Ok(()) };
        running.command = find_command(self.plan, running.init, inner)?;
        self.folder.write_running(running)
    }

    fn end(&self, init_code: Option<i32>) -> Exit {
        let out_of_memory = cgroup::ran_out_of_memory(self.plan);
        let said = String::from_utf8_lossy(&self.last_words);
        let words: Vec<&str> = said.trim_end().splitn(3, ' ').collect();
        let number = words.get(1).and_then(|number| number.parse().ok());
        match (words.first(), number) {
            (Some(&"exited"), Some(code)) => Exit { code, reason: format!("exited with code {code}") },
            (Some(&"signalled"), Some(signal)) => {
                let memory = if out_of_memory { "out of memory: " } else { "" };
                Exit { code: 128 + signal, reason: format!("{memory}killed by {}", signals::describe(signal)) }
            }
            (Some(&"failed"), Some(code)) => Exit { code, reason: words.get(2).copied().unwrap_or("not started").to_owned() },
            (_, _) if out_of_memory => Exit { code: 137, reason: "out of memory: killed with all its processes".to_owned() },
            (_, _) if init_code.is_none() => Exit { code: 137, reason: "killed with all its processes".to_owned() },
            (_, _) => Exit { code: NOT_STARTED, reason: format!("its first process ended with {init_code:?} and did not say why") },
        }
    }
}

fn find_command(plan: &Plan, init: Process, inner: u32) -> io::Result<Option<Process>> {
    if plan.isolation.has_pid_namespace() { procfs::child_by_inner_pid(init.pid, inner) } else { procfs::process(inner) }
}

/// Waits until one of the streams has something, and takes it; whether there was something. A stream that ended becomes `None`.
fn pump(
    streams: &mut [Option<io::PipeReader>; 2],
    control: &mut Option<UnixStream>,
    log: &mut LogWriter,
    instance: &mut Instance<'_>,
    at_most: Option<Duration>,
) -> io::Result<bool> {
    let ready = wait_ready(streams, control.as_ref(), at_most)?;
    let mut buffer = [0; 64 << 10];
    for (index, stream) in streams.iter_mut().enumerate() {
        if let Some(reader) = stream.as_mut().filter(|_| ready[index]) {
            match reader.read(&mut buffer) {
                Ok(0) => *stream = None,
                Ok(count) => log.push(index == 1, &buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => *stream = None,
            }
        }
    }
    if let Some(reader) = control.as_mut().filter(|_| ready[2]) {
        match reader.read(&mut buffer) {
            Ok(0) => *control = None,
            Ok(count) => instance.hear(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // The other end was closed with our word unread.
            Err(_) => *control = None,
        }
    }
    Ok(ready.contains(&true))
}

fn wait_ready(streams: &[Option<io::PipeReader>; 2], control: Option<&UnixStream>, at_most: Option<Duration>) -> io::Result<[bool; 3]> {
    let mut fds = vec![];
    let mut which = vec![];
    for (index, stream) in streams.iter().enumerate() {
        if let Some(stream) = stream {
            fds.push(PollFd::new(stream, PollFlags::IN));
            which.push(index);
        }
    }
    if let Some(control) = control {
        fds.push(PollFd::new(control, PollFlags::IN));
        which.push(2);
    }
    let timeout = at_most.map(|at_most| Timespec { tv_sec: 0, tv_nsec: i64::from(at_most.subsec_nanos()) });
    let mut ready = [false; 3];
    match poll(&mut fds, timeout.as_ref()) {
        Ok(_) => {}
        Err(Errno::INTR) => return Ok(ready),
        Err(error) => return Err(error.into()),
    }
    for (fd, index) in fds.iter().zip(which) {
        ready[index] = !fd.revents().is_empty();
    }
    Ok(ready)
}

/// Without a pid namespace: everything that outlived init has become the shim's own child (it is a subreaper) and is killed,
/// and so are the children that these leave behind, until there is none.
#[allow(clippy::disallowed_methods, reason = "the shim is a process of one thread, with nothing else to do meanwhile")]
fn hunt_down_leftovers() -> io::Result<()> {
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some(_)) | Err(Errno::INTR) => continue,
            Err(Errno::CHILD) => return Ok(()),
            Ok(None) => {}
            Err(error) => return Err(error.into()),
        }
        for pid in procfs::children_of(std::process::id())? {
            // Our own child, not reaped: its number is nobody else's.
            if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The executor may be dead by now; then nobody needs the answer.
fn reply(line: &str) {
    let mut stdout = io::stdout();
    let _ = writeln!(stdout, "{}", line.replace('\n', " "));
    let _ = stdout.flush();
}
