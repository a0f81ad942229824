//! A run folder, leases in it, instances in control groups of their own, and an executor that can be killed.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use berth_executor::clock::{HolderClock, SystemHolderClock};
use berth_executor::hostguard::facts::Facts;
use berth_executor::hostguard::folder::RunFolder;
use berth_executor::hostguard::order::{FORMAT, Needs, Order};
use berth_executor::hostguard::status::Status;
use berth_executor::hostguard::{HostGuardClient, HostGuardConfig, KillTarget, WatchdogConfig};
use berth_executor::runtime::kill;
use berth_executor::volumes::{CutPlan, mountinfo};
use berth_guard::page::{Deadline, Owner, PageWriter};
use rustix::process::{Pid, Signal, kill_process};

/// First argument that turns this program into an executor that puts one lease under guard and then does nothing until it is killed.
pub const PLAY_EXECUTOR: &str = "play-executor";

/// What this machine lacks for these tests.
pub fn missing() -> Option<&'static str> {
    if !rustix::process::geteuid().is_root() {
        return Some("this is not root");
    }
    if unified().is_none() { Some("there is no cgroup v2") } else { None }
}

fn unified() -> Option<PathBuf> {
    mountinfo::all().ok()?.into_iter().find(|mount| mount.file_system == "cgroup2").map(|mount| mount.point)
}

pub fn now_ns() -> u64 {
    SystemHolderClock::new().unwrap().now().0
}

/// A number that no other test uses.
pub fn unique() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    70_000_000_000 + u64::from(std::process::id()) * 1_000 + NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Polls, with a bound that no healthy machine reaches.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..3_000 {
        if holds() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("not within 30 s: {what}");
}

pub fn pause_ms(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

/// One test's run folder. Dropping it ends its guard.
pub struct Bench {
    pub folder: tempfile::TempDir,
    pub run: RunFolder,
    watchdog: Option<WatchdogConfig>,
}

impl Bench {
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("berth-host-guard-").tempdir().unwrap();
        let run = RunFolder::make(&folder.path().join("run")).unwrap();
        Self { folder, run, watchdog: None }
    }

    pub fn with_watchdog(device: &Path, timeout_s: u32) -> Self {
        let mut bench = Self::new();
        bench.watchdog = Some(WatchdogConfig { device: device.to_owned(), timeout_s: Some(timeout_s) });
        bench
    }

    /// As an executor that starts: with the guard it started or adopted.
    pub fn client(&self) -> (HostGuardClient, Status) {
        let client = client(self.run.path(), self.watchdog.clone());
        let status = client.ensure().unwrap_or_else(|error| panic!("{error}; log:\n{}", self.log()));
        (client, status)
    }

    pub fn page(&self, token: u64, deadline: Deadline) -> PageWriter {
        page(&self.run, token, deadline)
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.run.log()).unwrap_or_default()
    }

    pub fn status(&self) -> Status {
        Status::read(&self.run.status()).unwrap()
    }

    pub fn facts(&self, token: u64) -> Option<Facts> {
        Facts::read(&self.run, token)
    }

    /// Until the guard says that all is dead and cut.
    pub fn verified(&self, token: u64) -> Facts {
        eventually("dead and cut", || self.facts(token).is_some_and(|facts| facts.verified_ns.is_some()));
        self.facts(token).unwrap()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if let Some(status) = Status::read(&self.run.status()).filter(|status| status.lives().unwrap_or(false)) {
            let _ = kill::signal(status.pid, status.start_ticks, Signal::KILL);
        }
        let folder = self.folder.path().canonicalize().unwrap();
        for mount in mountinfo::all().unwrap_or_default().iter().rev().filter(|mount| mount.point.starts_with(&folder)) {
            let _ = rustix::mount::unmount(&mount.point, rustix::mount::UnmountFlags::DETACH);
        }
        if std::thread::panicking() {
            println!("the guard's log:\n{}", self.log());
        }
    }
}

pub fn client(run: &Path, watchdog: Option<WatchdogConfig>) -> HostGuardClient {
    let berth_binary = std::env::current_exe().unwrap();
    let config = HostGuardConfig { run: run.to_owned(), berth_binary, watchdog, margin_ms: 500 };
    HostGuardClient::new(config, Arc::new(SystemHolderClock::new().unwrap())).unwrap()
}

fn page(run: &RunFolder, token: u64, deadline: Deadline) -> PageWriter {
    std::fs::create_dir_all(run.lease(token)).unwrap();
    PageWriter::create(&run.page(token), &Owner::here(token).unwrap(), deadline).unwrap()
}

pub fn in_ms(ms: u64) -> Deadline {
    Deadline::At(now_ns() + ms * 1_000_000)
}

/// As the steps of a workload do it: what to cut first, then whom to kill.
pub fn order(client: &HostGuardClient, token: u64, kills: Vec<KillTarget>, cuts: Vec<CutPlan>) {
    let container = "db".to_owned();
    let order = Order { format: FORMAT, token, lease: token, container, margin_ms: 0, needs: Needs::HostGuard, kills: vec![], cuts };
    client.order(order).unwrap();
    client.aim(token, kills).unwrap();
}

/// Processes in a control group of their own. Killed when dropped.
pub struct Instance {
    pub group: PathBuf,
    child: Option<Child>,
}

impl Instance {
    /// Nothing runs yet.
    pub fn named(name: &str) -> Self {
        let group = unified().unwrap().join("berth").join("tests").join(name);
        Self { group, child: None }
    }

    /// A shell that runs `script`, and a child of it in another session.
    pub fn running(script: &str) -> Self {
        let mut instance = Self::named(&format!("host-guard-{}", unique()));
        instance.start(script);
        instance
    }

    pub fn start(&mut self, script: &str) {
        std::fs::create_dir_all(&self.group).unwrap();
        let joined = format!("echo 0 > {}/cgroup.procs; setsid sleep 1000 & {script}", self.group.display());
        self.child = Some(Command::new("sh").args(["-c", &joined]).stdin(Stdio::null()).spawn().unwrap());
        eventually("the instance's two processes", || self.alive() >= 2);
    }

    pub fn target(&self) -> KillTarget {
        KillTarget::group(self.group.clone())
    }

    /// Living processes in the group; the dead whom nobody has reaped are none.
    pub fn alive(&self) -> usize {
        let text = std::fs::read_to_string(self.group.join("cgroup.procs")).unwrap_or_default();
        text.lines().filter(|pid| kill::start_ticks(pid.parse().unwrap()).unwrap().is_some()).count()
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let _ = std::fs::write(self.group.join("cgroup.kill"), "1");
        if let Some(mut child) = self.child.take() {
            let _ = child.wait();
        }
        for _ in 0..100 {
            if !self.group.exists() || std::fs::remove_dir(&self.group).is_ok() {
                break;
            }
            pause_ms(10);
        }
    }
}

/// An executor process that has put one lease under guard. Killed when dropped.
pub struct Executor {
    child: Child,
}

impl Executor {
    /// `cuts`: what is mounted under the lease. Returns when the guard has its order.
    pub fn play(bench: &Bench, token: u64, ms: u64, group: &Path, cuts: &[CutPlan]) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg(PLAY_EXECUTOR).arg(bench.run.path()).args([token.to_string(), ms.to_string()]).arg(group);
        let mut child = command.arg(serde_json::to_string(cuts).unwrap()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "under guard\n", "log:\n{}", bench.log());
        Self { child }
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `play-executor <run> <token> <ms> <group> <cuts>`.
pub fn play_executor(args: impl Iterator<Item = OsString>) -> ExitCode {
    let args: Vec<String> = args.map(|argument| argument.into_string().unwrap()).collect();
    let [run, token, ms, group, cuts] = &args[..] else { return ExitCode::FAILURE };
    let token = token.parse().unwrap();
    let client = client(Path::new(run), None);
    client.ensure().unwrap();
    let _page = page(client.run_folder(), token, in_ms(ms.parse().unwrap()));
    order(&client, token, vec![KillTarget::group(group.into())], serde_json::from_str(cuts).unwrap());
    println!("under guard");
    loop {
        std::thread::park();
    }
}
