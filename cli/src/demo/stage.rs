//! The demo's cluster: its processes, started, killed and taken down. Used by the story. Whatever happens in between, nothing of it is left
//! when this is dropped.

use std::fs::OpenOptions;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::Context;
use berth_executor::runtime::process::{Enforcement, ProcessConfig, ProcessRuntime};
use berth_executor::runtime::{Runtime, RuntimeError};
use berth_state::ids::ClusterId;
use tokio::process::{Child, Command};

use super::census::{self, Member};
use super::ports;
use super::scratch::Scratch;
use crate::output::say;

/// Time to live of a lease: short, so that the demo is.
pub const TTL_MS: u64 = 4_000;
/// From a third of it to a third more than it passes until another node leads: soon enough for the holder to renew its lease in time.
const ELECTION_TIMEOUT: &str = "300ms";

/// One control node.
pub struct Node {
    pub id: u64,
    pub address: SocketAddr,
    child: Option<Child>,
}

/// One host: its executor, and what that runs.
pub struct Host {
    pub name: String,
    child: Option<Child>,
}

pub struct Stage {
    /// The berth binary: this very one.
    binary: PathBuf,
    cluster: ClusterId,
    pub nodes: Vec<Node>,
    pub hosts: Vec<Host>,
    down: bool,
    /// Last: removed when the processes are gone.
    pub scratch: Scratch,
}

impl Stage {
    /// Sets the stage; nothing runs yet.
    ///
    /// # Errors
    /// No free port, no randomness, or this binary cannot be found.
    pub fn new(scratch: Scratch, nodes: usize, hosts: usize) -> anyhow::Result<Self> {
        let binary = std::env::current_exe().context("where is the berth binary?")?;
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
        let nodes = (1..).zip(ports::free(nodes)?).map(|(id, address)| Node { id, address, child: None }).collect();
        let hosts = (1..=hosts).map(|number| Host { name: format!("h{number}"), child: None }).collect();
        Ok(Self { binary, cluster: ClusterId(id), nodes, hosts, down: false, scratch })
    }

    #[must_use]
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    #[must_use]
    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// `ADDRESS,ADDRESS,…` of the control nodes.
    #[must_use]
    pub fn endpoints(&self) -> String {
        let addresses: Vec<_> = self.nodes.iter().map(|node| node.address.to_string()).collect();
        addresses.join(",")
    }

    /// Starts a control node that does not run.
    ///
    /// # Errors
    /// The process cannot be started.
    pub fn start_node(&mut self, id: u64) -> anyhow::Result<()> {
        let members: Vec<_> = self.nodes.iter().map(|node| format!("{}={}", node.id, node.address)).collect();
        let cluster = self.cluster.to_string();
        let name = format!("node-{id}");
        let mut command = self.command("server", &name)?;
        let node = self.node(id)?;
        command.args(["--node-id", &id.to_string(), "--listen", &node.address.to_string()]);
        command.args([
            "--cluster-id",
            &cluster,
            "--initial-members",
            &members.join(","),
            "--ttl",
            &format!("{TTL_MS}ms"),
            "--election-timeout",
            ELECTION_TIMEOUT,
        ]);
        command.arg("--data-dir").arg(self.scratch.data(&name));
        let child = command.spawn().with_context(|| format!("{name} cannot be started"))?;
        self.node(id)?.child = Some(child);
        Ok(())
    }

    /// Starts the executor of a host that has none.
    ///
    /// # Errors
    /// The process cannot be started.
    pub fn start_host(&mut self, name: &str) -> anyhow::Result<()> {
        let mut command = self.command("executor", name)?;
        command.args(["--host", name, "--endpoints", &self.endpoints(), "--register", "--runtime", "process"]);
        command.arg("--data-dir").arg(self.scratch.data(name)).arg("--process-root").arg(self.process_root(name));
        // Two demos at once have hosts of the same names.
        command.arg("--run").arg(self.scratch.data(name).join("run"));
        let child = command.spawn().with_context(|| format!("the executor of {name} cannot be started"))?;
        self.host(name)?.child = Some(child);
        Ok(())
    }

    /// SIGKILL to one control node.
    ///
    /// # Errors
    /// It does not run, or cannot be killed.
    pub async fn kill_node(&mut self, id: u64) -> anyhow::Result<()> {
        let child = self.node(id)?.child.take();
        let mut child = child.with_context(|| format!("node {id} does not run"))?;
        child.kill().await.with_context(|| format!("node {id} cannot be killed"))
    }

    /// As if the host lost its power: SIGKILL to its executor and to every process of its instances, in one go. Returns who died.
    ///
    /// # Errors
    /// One of them cannot be killed.
    pub async fn cut_power(&mut self, name: &str) -> anyhow::Result<Vec<Member>> {
        let child = self.host(name)?.child.take();
        let mut child = child.with_context(|| format!("host {name} does not run"))?;
        let killed = census::kill_all(&self.scratch.data(name)).with_context(|| format!("host {name} cannot be killed"))?;
        child.wait().await.with_context(|| format!("the executor of {name} is not reaped"))?;
        Ok(killed)
    }

    /// What holds instances together on this machine, and what would need root.
    ///
    /// # Errors
    /// The process runtime does not work here at all.
    pub fn enforcement(&self) -> Result<Enforcement, RuntimeError> {
        let runtime = ProcessRuntime::new(self.runtime_config("probe", self.scratch.data("probe")))?;
        Ok(runtime.enforcement().clone())
    }

    /// The parts that have ended by themselves: each with what it said last.
    pub fn dead_parts(&mut self) -> Vec<String> {
        let nodes = self.nodes.iter_mut().map(|node| (format!("node-{}", node.id), &mut node.child));
        let hosts = self.hosts.iter_mut().map(|host| (host.name.clone(), &mut host.child));
        let mut dead = vec![];
        for (name, child) in nodes.chain(hosts) {
            if let Some(Ok(Some(status))) = child.as_mut().map(Child::try_wait) {
                let said = std::fs::read_to_string(self.scratch.log(&name)).unwrap_or_default();
                let last: Vec<_> = said.lines().rev().take(3).collect();
                dead.push(format!("{name} ended ({status}): {}", last.into_iter().rev().collect::<Vec<_>>().join("\n  ")));
            }
        }
        dead
    }

    /// Ends every process of the demo and removes what the kernel kept of them. Safe to repeat.
    ///
    /// # Errors
    /// Something is left; the text says what.
    pub fn take_down(&mut self) -> anyhow::Result<()> {
        let killed = census::kill_all(self.scratch.path());
        // Reaped by dropping: tokio collects the dead.
        self.nodes.iter_mut().for_each(|node| node.child = None);
        self.hosts.iter_mut().for_each(|host| host.child = None);
        killed.context("not everything could be ended")?;
        if self.down {
            return Ok(());
        }
        self.remove_instances()?;
        self.down = true;
        Ok(())
    }

    /// Removes the instances' records through their runtime: that also removes their control groups.
    fn remove_instances(&self) -> anyhow::Result<()> {
        let configs: Vec<_> = self.hosts.iter().map(|host| self.runtime_config(&host.name, self.process_root(&host.name))).collect();
        let configs = configs.into_iter().filter(|config| config.root.is_dir());
        let work = async {
            for config in configs {
                let runtime = ProcessRuntime::new(config)?;
                for instance in runtime.list().await? {
                    runtime.kill(&instance.key).await?;
                    runtime.remove(&instance.key).await?;
                }
            }
            Ok::<(), RuntimeError>(())
        };
        // On a thread and an event loop of its own: the caller may be unwinding.
        let done = std::thread::scope(|scope| {
            let thread = scope.spawn(|| anyhow::Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)?));
            thread.join()
        });
        done.map_err(|_| anyhow::anyhow!("removing the instances panicked"))?.context("instances cannot be removed")
    }

    fn runtime_config(&self, host: &str, root: PathBuf) -> ProcessConfig {
        ProcessConfig { root, cluster: self.cluster.to_string(), host: host.to_owned(), berth_binary: self.binary.clone() }
    }

    fn process_root(&self, host: &str) -> PathBuf {
        self.scratch.data(host).join("run")
    }

    fn node(&mut self, id: u64) -> anyhow::Result<&mut Node> {
        self.nodes.iter_mut().find(|node| node.id == id).with_context(|| format!("there is no node {id}"))
    }

    fn host(&mut self, name: &str) -> anyhow::Result<&mut Host> {
        self.hosts.iter_mut().find(|host| host.name == name).with_context(|| format!("there is no host {name}"))
    }

    /// A part of the demo, not started yet: out of the reach of the terminal's Ctrl-C and of the user's own settings.
    fn command(&self, part: &str, name: &str) -> anyhow::Result<Command> {
        let path = self.scratch.log(name);
        let log =
            OpenOptions::new().create(true).append(true).open(&path).with_context(|| format!("{}: cannot be written", path.display()))?;
        let mut command = Command::new(&self.binary);
        command.arg(part).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0).kill_on_drop(true);
        for (variable, _) in std::env::vars_os().filter(|(variable, _)| variable.to_string_lossy().starts_with("BERTH_")) {
            command.env_remove(variable);
        }
        Ok(command)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Err(error) = self.take_down() {
            self.scratch.keep();
            say(&format!("berth: the demo could not take everything down, see {}: {error:#}", self.scratch.path().display()));
        }
    }
}
