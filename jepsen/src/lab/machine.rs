//! One machine of the lab: a network namespace, a freezer cgroup, and for Docker hosts a mount namespace. Starts programs and
//! carries out faults. Used by tests and nemeses through cheap clones; the lab owns the teardown.
//!
//! Power: a machine that is off has no network and no process. What it had in `/run` is gone, what it had on disk
//! ([`Machine::dir`]) stays. One thing differs from a real power cut: all machines share this kernel's page cache, so a write
//! without fsync survives.

use crate::lab::cage::Cage;
use crate::lab::identity::{LabId, MachineNumber};
use crate::lab::network;
use crate::lab::poll::wait_until;
use crate::lab::process::{LabProcess, Launch, lock};
use crate::lab::shell::run_command;
use anyhow::{Context, Result, bail, ensure};
use std::ffi::OsString;
use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const JOIN_BOUND: Duration = Duration::from_secs(20);
const REAP_BOUND: Duration = Duration::from_secs(10);

/// Joins the cgroup named by its first argument, then becomes the rest: the pid stays the one that was spawned.
const JOIN_THEN_EXEC: &str = r#"procs="$1"; shift; echo $$ > "$procs" && exec "$@""#;

#[derive(Debug, Clone)]
pub struct Machine {
    pub(super) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) lab: LabId,
    pub(super) name: String,
    pub(super) number: MachineNumber,
    pub(super) cage: Cage,
    dir: PathBuf,
    log_dir: PathBuf,
    kept: Arc<AtomicBool>,
    pub(super) state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) power: bool,
    /// A process that holds the private mount namespace while the machine is on; only Docker hosts have one.
    pub(super) mounts: Option<LabProcess>,
    pub(super) dockerd: Option<LabProcess>,
    /// Everything ever spawned and not yet reaped.
    children: Vec<Arc<Mutex<Child>>>,
}

impl Machine {
    /// Makes the machine and switches its network on.
    pub(super) fn create(lab: LabId, name: &str, number: MachineNumber, kept: Arc<AtomicBool>) -> Result<Self> {
        let dir = lab.dir().join("machines").join(name);
        let log_dir = lab.dir().join("logs").join(name);
        for folder in [&dir, &log_dir] {
            fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        let cage = Cage::create(lab, name)?;
        let state = Mutex::new(State::default());
        let machine = Self { inner: Arc::new(Inner { lab, name: name.to_string(), number, cage, dir, log_dir, kept, state }) };
        machine.power_on()?;
        Ok(machine)
    }

    pub fn name(&self) -> &str {
        &self.inner.name
    }

    pub fn ip(&self) -> Ipv4Addr {
        self.inner.number.ip(self.inner.lab)
    }

    /// The machine's own disk: survives [`Machine::kill_host`], visible at the same path everywhere.
    pub fn dir(&self) -> &Path {
        &self.inner.dir
    }

    pub fn log_dir(&self) -> &Path {
        &self.inner.log_dir
    }

    pub fn is_on(&self) -> bool {
        lock(&self.inner.state).power
    }

    /// The machine's `/` as seen from outside; `None` while it is off, and for machines without mounts of their own.
    pub fn root(&self) -> Option<PathBuf> {
        let state = lock(&self.inner.state);
        state.mounts.as_ref().map(|holder| PathBuf::from(format!("/proc/{}/root", holder.pid())))
    }

    /// Every process of the machine by pid: containers, dockerd, executor, all that was spawned.
    pub fn pids(&self) -> Vec<i32> {
        self.inner.cage.pids()
    }

    /// Starts a program inside the machine's namespaces and cgroup; `name` names its log. It gets a process group of its own.
    pub fn spawn(&self, name: &str, launch: &Launch) -> Result<LabProcess> {
        let mut state = lock(&self.inner.state);
        ensure!(state.power, "machine {} is off: boot it first", self.name());
        let enter = self.enter_args(&state);
        self.spawn_entering(&mut state, name, launch, enter)
    }

    /// Runs a program inside the machine to its end and returns its stdout.
    pub fn run(&self, bound: Duration, launch: &Launch) -> Result<String> {
        let enter = {
            let state = lock(&self.inner.state);
            ensure!(state.power, "machine {} is off: boot it first", self.name());
            self.enter_args(&state)
        };
        run_command(bound, self.command(launch, &enter), "")
    }

    fn enter_args(&self, state: &State) -> Vec<OsString> {
        let mut args: Vec<OsString> = vec!["nsenter".into()];
        let mut net = OsString::from("--net=");
        net.push(network::netns_path(self.inner.lab, self.name()));
        args.push(net);
        if let Some(holder) = &state.mounts {
            args.extend(["--mount", "--uts"].map(|ns| OsString::from(format!("{ns}=/proc/{}/ns/{}", holder.pid(), kernel_name(ns)))));
        }
        args.push("--".into());
        args
    }

    pub(super) fn spawn_entering(&self, state: &mut State, name: &str, launch: &Launch, enter: Vec<OsString>) -> Result<LabProcess> {
        let log = launch.log.clone().unwrap_or_else(|| self.inner.log_dir.join(format!("{name}.log")));
        let out = File::options().create(true).append(true).open(&log).with_context(|| format!("cannot open log {}", log.display()))?;
        let mut command = self.command(launch, &enter);
        command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out).process_group(0);
        let child = command.spawn().with_context(|| format!("cannot start {name} in {}", self.name()))?;
        let process = LabProcess::new(name, child, log, self.inner.kept.clone())?;
        state.children.retain(|child| matches!(lock(child).try_wait(), Ok(None)));
        state.children.push(process.child.clone());
        // Once it is in the cage, no freeze or kill of the machine can miss it.
        wait_until("the new process to enter its cgroup", JOIN_BOUND, || {
            Ok(self.inner.cage.pids().contains(&process.pid()) || !process.is_alive())
        })?;
        Ok(process)
    }

    fn command(&self, launch: &Launch, enter: &[OsString]) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", JOIN_THEN_EXEC, "join"]).arg(self.inner.cage.procs_file());
        command.args(enter).arg(&launch.command).args(&launch.args);
        command.env_clear().current_dir("/").env("HOME", "/root").env("LANG", "C.UTF-8");
        command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.envs(launch.env.iter().map(|(k, v)| (k, v)));
        command
    }

    /// Pulls the cable; everything inside runs on.
    pub fn partition(&self) -> Result<()> {
        self.check_on()?;
        network::set_link(self.inner.lab, self.inner.number, false)
    }

    /// Plugs the cable in again and forgets all one-way drops.
    pub fn heal(&self) -> Result<()> {
        self.check_on()?;
        network::set_link(self.inner.lab, self.inner.number, true)?;
        network::clear_drops(self.inner.lab, self.name())
    }

    /// From now on no packet of this machine reaches `ip`; the other way still works.
    pub fn drop_to(&self, ip: Ipv4Addr) -> Result<()> {
        self.check_on()?;
        network::drop_outgoing(self.inner.lab, self.name(), ip)
    }

    /// From now on no packet of `ip` is heard here; the other way still works.
    pub fn drop_from(&self, ip: Ipv4Addr) -> Result<()> {
        self.check_on()?;
        network::drop_incoming(self.inner.lab, self.name(), ip)
    }

    /// Stops every process at once, as a paused virtual machine. The network stays: the kernel still answers pings and
    /// acknowledges packets, and after the thaw all go on where they were.
    pub fn freeze(&self) -> Result<()> {
        self.check_on()?;
        self.inner.cage.freeze()
    }

    pub fn thaw(&self) -> Result<()> {
        self.inner.cage.thaw()
    }

    pub fn is_frozen(&self) -> bool {
        self.inner.cage.is_frozen()
    }

    /// Power cut as the others see it: silence at once (no FIN, no RST), and every process, dockerd and containers included, gone.
    pub fn kill_host(&self) -> Result<()> {
        let mut state = lock(&self.inner.state);
        state.power = false;
        network::unplug(self.inner.lab, self.inner.number)?;
        self.inner.cage.kill_everything()?;
        // The mount namespace died with its last process, and all mounts in it with the namespace.
        state.mounts = None;
        state.dockerd = None;
        reap(&mut state)?;
        network::remove_machine_net(self.inner.lab, self.name(), self.inner.number)
    }

    /// Power on after [`Machine::kill_host`]: fresh network and `/run`; a Docker host's dockerd is started and answers on return.
    pub fn boot(&self) -> Result<()> {
        let docker = self.inner.dir.join("docker").exists();
        self.power_on()?;
        if docker {
            self.start_docker()?;
        }
        Ok(())
    }

    fn power_on(&self) -> Result<()> {
        let mut state = lock(&self.inner.state);
        if state.power {
            bail!("machine {} is on already", self.name());
        }
        network::create_machine_net(self.inner.lab, self.name(), self.inner.number)?;
        state.power = true;
        Ok(())
    }

    pub(super) fn check_on(&self) -> Result<()> {
        ensure!(self.is_on(), "machine {} is off: boot it first", self.name());
        Ok(())
    }
}

fn kernel_name(option: &str) -> &'static str {
    if option == "--mount" { "mnt" } else { "uts" }
}

/// Collects the exit status of all that this program spawned in the machine, so that no zombie stays.
fn reap(state: &mut State) -> Result<()> {
    let children = std::mem::take(&mut state.children);
    wait_until("the machine's killed processes to be reaped", REAP_BOUND, || {
        Ok(children.iter().all(|child| !matches!(lock(child).try_wait(), Ok(None))))
    })?;
    Ok(())
}
