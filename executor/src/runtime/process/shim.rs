//! The shim: the parent of one instance, in a session of its own so that it outlives the executor. Spawned by `start`; takes the
//! right to start the instance, makes its first process (`init`), keeps its output, and writes its end down. Single-threaded: a
//! user namespace cannot be entered otherwise. Must never start a second first process, and never end before the instance has.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use berth_guard::status::{self, Phase};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, pidfd_open};

use super::folder::InstanceFolder;
use super::log_writer::LogWriter;
use super::record::{Exit, Plan, Running, Started};
use super::{cgroup, procfs, signals};
use crate::runtime::{InstanceSpec, guarded};

/// Exit code of an instance that could not be started at all (Docker's).
const NOT_STARTED: i32 = 125;
/// Exit code of an instance whose first process was killed.
const KILLED: i32 = 137;
/// How often the guard's status is looked at until it has begun.
const STATUS_LOOK: Duration = Duration::from_millis(2);
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
    let (exit, told) = match hold(&folder, &plan, &stored.spec, &mut log) {
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
fn hold(folder: &InstanceFolder, plan: &Plan, spec: &InstanceSpec, log: &mut LogWriter) -> io::Result<(Exit, bool)> {
    let (stdout, stdout_end) = io::pipe()?;
    let (stderr, stderr_end) = io::pipe()?;
    let (mut control, control_end) = UnixStream::pair()?;
    plan.isolation.enter()?;
    let mut init = spawn_init(folder.path(), control_end.into(), stdout_end.into(), stderr_end.into())?;
    let death = pidfd_open(Pid::from_child(&init), PidfdFlags::empty())?;

    let mut instance = Instance { plan, spec, told: false, last_words: vec![] };
    if let Some(process) = procfs::process(init.id())? {
        // Durable before the command exists: whoever finds this folder can kill what is about to run. The guard, which this process becomes, hands
        // signals on, so its number is all that a stop needs.
        folder.write_running(&Running { init: process, command: None })?;
        // A first process that is dead already is noticed below.
        let _ = control.write_all(b"g");
    }
    let mut open = Open { streams: [Some(stdout), Some(stderr)], control: Some(control), death: Some(death) };
    while open.death.is_some() {
        // The guard tells by its status file, which wakes nobody.
        let at_most = if instance.told { None } else { Some(STATUS_LOOK) };
        if let Err(error) = open.pump(log, &mut instance, at_most) {
            eprintln!("berth shim: cannot watch the instance any more, killing it: {error}");
            init.kill()?;
            break;
        }
        instance.look();
    }
    let status = init.wait()?;
    if !plan.isolation.has_pid_namespace() {
        hunt_down_leftovers()?;
    }
    open.death = None;
    for _ in 0..DRAIN_ROUNDS {
        if open.streams.iter().all(Option::is_none) || !open.pump(log, &mut instance, Some(DRAIN_WAIT))? {
            break;
        }
    }
    Ok((instance.end(status), instance.told))
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
    plan: &'a Plan,
    spec: &'a InstanceSpec,
    told: bool,
    /// What init said: only ever why it could not become the guard.
    last_words: Vec<u8>,
}

impl Instance<'_> {
    fn phase(&self) -> Option<Phase> {
        status::read(&self.spec.guard.status).ok().flatten()
    }

    /// Tells the executor as soon as the guard has begun.
    fn look(&mut self) {
        if !self.told && self.phase().is_some_and(guarded::has_begun) {
            self.told = true;
            reply("running");
        }
    }

    fn end(&self, status: ExitStatus) -> Exit {
        let memory = if cgroup::ran_out_of_memory(self.plan) { "out of memory: " } else { "" };
        let said = String::from_utf8_lossy(&self.last_words);
        let words: Vec<&str> = said.trim_end().splitn(3, ' ').collect();
        if let (Some(&"failed"), Some(code)) = (words.first(), words.get(1).and_then(|number| number.parse().ok())) {
            return Exit { code, reason: words.get(2).copied().unwrap_or("not started").to_owned() };
        }
        let Some(code) = status.code() else {
            return Exit { code: KILLED, reason: format!("{memory}killed with all its processes") };
        };
        let program = self.spec.command.first().map_or("", String::as_str);
        let reason = match self.phase() {
            Some(Phase::Killed(signal)) if code == 128 + i32::from(signal) => {
                format!("{memory}killed by {}", signals::describe(signal.into()))
            }
            Some(phase) => guarded::own_end(phase, code, program).unwrap_or_else(|| format!("exited with code {code}")),
            None => format!("exited with code {code}"),
        };
        Exit { code, reason }
    }
}

/// What the shim listens to; each becomes `None` when it has ended.
struct Open {
    streams: [Option<io::PipeReader>; 2],
    control: Option<UnixStream>,
    /// Readable when the first process is dead.
    death: Option<OwnedFd>,
}

impl Open {
    /// Waits until one of them has something, and takes it; whether there was something.
    fn pump(&mut self, log: &mut LogWriter, instance: &mut Instance<'_>, at_most: Option<Duration>) -> io::Result<bool> {
        let ready = self.wait_ready(at_most)?;
        let mut buffer = [0; 64 << 10];
        for (index, stream) in self.streams.iter_mut().enumerate() {
            if let Some(reader) = stream.as_mut().filter(|_| ready[index]) {
                match reader.read(&mut buffer) {
                    Ok(0) => *stream = None,
                    Ok(count) => log.push(index == 1, &buffer[..count]),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(_) => *stream = None,
                }
            }
        }
        if let Some(reader) = self.control.as_mut().filter(|_| ready[2]) {
            match reader.read(&mut buffer) {
                Ok(0) => self.control = None,
                Ok(count) => instance.last_words.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The other end was closed with our word unread.
                Err(_) => self.control = None,
            }
        }
        if ready[3] {
            self.death = None;
        }
        Ok(ready.contains(&true))
    }

    fn wait_ready(&self, at_most: Option<Duration>) -> io::Result<[bool; 4]> {
        let streams = self.streams.iter().map(|stream| stream.as_ref().map(AsFd::as_fd));
        let others = [self.control.as_ref().map(AsFd::as_fd), self.death.as_ref().map(AsFd::as_fd)];
        let open: Vec<_> = streams.chain(others).enumerate().filter_map(|(index, fd)| Some((index, fd?))).collect();
        let mut fds: Vec<_> = open.iter().map(|(_, fd)| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
        let timeout = at_most.map(|at_most| Timespec { tv_sec: 0, tv_nsec: i64::from(at_most.subsec_nanos()) });
        let mut ready = [false; 4];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(ready),
            Err(error) => return Err(error.into()),
        }
        for (fd, (index, _)) in fds.iter().zip(&open) {
            ready[*index] = !fd.revents().is_empty();
        }
        Ok(ready)
    }
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
