//! A whole cluster as processes: control nodes and Docker hosts in machines of one lab, each with its own network. Made by the end-to-end test; the lab
//! inside owns the teardown. Starts and kills processes and says where things are; it must never help Berth along.

use crate::e2e::binary::berth_binary;
use crate::e2e::cli::Cli;
use crate::lab::{DockerHost, IMAGE_POSTGRES, Lab, LabProcess, Launch, Machine, default_cache_dir, postgres_image, wait_until};
use anyhow::{Context, Result, anyhow, ensure};
use rustix::process::Signal;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

const NODE_PORT: u16 = 7400;
const LONG: Duration = Duration::from_secs(60);

/// What to build.
#[derive(Debug, Clone)]
pub struct ClusterPlan {
    pub name: &'static str,
    pub nodes: u64,
    pub hosts: usize,
    /// Time to live of leases.
    pub ttl: Duration,
}

/// A control node's machine and process.
#[derive(Debug)]
struct NodeMachine {
    id: u64,
    machine: Machine,
    process: Option<LabProcess>,
}

/// A Docker host and the executor in it.
#[derive(Debug)]
pub struct HostMachine {
    pub docker: DockerHost,
    executor: Option<LabProcess>,
}

impl HostMachine {
    pub fn name(&self) -> &str {
        self.docker.name()
    }

    pub fn ip(&self) -> Ipv4Addr {
        self.docker.ip()
    }
}

#[derive(Debug)]
pub struct Cluster {
    binary: PathBuf,
    plan: ClusterPlan,
    cli: Cli,
    nodes: Vec<NodeMachine>,
    hosts: Vec<HostMachine>,
    /// Of daemons that are started from now on.
    environment: Vec<(String, String)>,
    /// Last, so that it is torn down when everything else is gone.
    lab: Lab,
}

impl Cluster {
    /// Builds it, and returns when a leader is there and every host is live. Each Docker host has the Postgres image.
    pub fn start(plan: ClusterPlan) -> Result<Self> {
        let image = postgres_image(&default_cache_dir())?;
        Self::start_in(Lab::new(plan.name)?, plan, |host| host.load_image(&image, IMAGE_POSTGRES))
    }

    /// The same in a lab that has machines already; `prepare` makes each Docker host ready before its executor starts.
    pub fn start_in(lab: Lab, plan: ClusterPlan, prepare: impl Fn(&DockerHost) -> Result<()> + Sync) -> Result<Self> {
        Self::start_with(lab, plan, Vec::new(), prepare)
    }

    /// The same, with this in the environment of every daemon.
    pub fn start_with(
        lab: Lab,
        plan: ClusterPlan,
        environment: Vec<(String, String)>,
        prepare: impl Fn(&DockerHost) -> Result<()> + Sync,
    ) -> Result<Self> {
        let binary = berth_binary()?;
        let prepare = &prepare;
        let names: Vec<String> = (1..=plan.hosts).map(|n| format!("h{n}")).collect();
        let dockers = lab.add_docker_hosts(&names.iter().map(String::as_str).collect::<Vec<_>>())?;
        let loads: Vec<_> = thread::scope(|scope| {
            let loads: Vec<_> = dockers.iter().map(|host| scope.spawn(move || prepare(host))).collect();
            loads.into_iter().map(|load| load.join().unwrap_or_else(|_| Err(anyhow!("preparing a host panicked")))).collect()
        });
        loads.into_iter().collect::<Result<Vec<()>>>()?;
        let machine = |id| Ok(NodeMachine { id, machine: lab.add_node_machine(&format!("n{id}"))?, process: None });
        let nodes = (1..=plan.nodes).map(machine).collect::<Result<Vec<_>>>()?;
        let endpoints: Vec<String> = nodes.iter().map(|node| endpoint(&node.machine)).collect();
        let cli = Cli::new(binary.clone(), endpoints.join(","));
        let hosts = dockers.into_iter().map(|docker| HostMachine { docker, executor: None }).collect();
        let mut cluster = Self { binary, plan, cli, nodes, hosts, environment, lab };
        cluster.start_all()?;
        Ok(cluster)
    }

    fn start_all(&mut self) -> Result<()> {
        for id in 1..=self.plan.nodes {
            self.start_node(id)?;
        }
        self.wait_for_leader(|_| true)?;
        for name in self.host_names() {
            self.new_boot(&name)?;
            self.start_executor(&name)?;
        }
        self.host_names().iter().try_for_each(|name| self.wait_for_host(name))
    }

    pub fn cli(&self) -> &Cli {
        &self.cli
    }

    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    pub fn ttl(&self) -> Duration {
        self.plan.ttl
    }

    pub fn host_names(&self) -> Vec<String> {
        self.hosts.iter().map(|host| host.name().to_string()).collect()
    }

    pub fn node_ids(&self) -> Vec<u64> {
        self.nodes.iter().map(|node| node.id).collect()
    }

    pub fn node_ips(&self) -> Vec<Ipv4Addr> {
        self.nodes.iter().map(|node| node.machine.ip()).collect()
    }

    pub fn hosts(&self) -> &[HostMachine] {
        &self.hosts
    }

    pub fn host(&self, name: &str) -> Result<&HostMachine> {
        self.hosts.iter().find(|host| host.name() == name).with_context(|| format!("this cluster has no host {name}"))
    }

    /// The machines of the Docker hosts.
    pub fn host_machines(&self) -> Vec<Machine> {
        self.hosts.iter().map(|host| Machine::clone(&host.docker)).collect()
    }

    /// Starts a control node that does not run.
    pub fn start_node(&mut self, id: u64) -> Result<()> {
        let members: Vec<String> = self.nodes.iter().map(|node| format!("{}={}", node.id, endpoint(&node.machine))).collect();
        let cluster_id = format!("{:032x}", 0xbe27_0000_u64 + u64::from(std::process::id()));
        let ttl = format!("{}ms", self.plan.ttl.as_millis());
        let (binary, environment) = (self.binary.clone(), self.environment.clone());
        let node = self.node(id)?;
        let address = endpoint(&node.machine);
        let launch = Launch::new(&binary).args(["server", "--node-id", &id.to_string(), "--listen", &address, "--advertise", &address]);
        let launch = launch.args(["--cluster-id", &cluster_id, "--initial-members", &members.join(","), "--ttl", &ttl]);
        let launch = launch.arg("--data-dir").arg(node.machine.dir().join("berth"));
        let launch = environment.into_iter().fold(launch, |launch, (key, value)| launch.env(key, value));
        ensure!(node.process.as_ref().is_none_or(|p| !p.is_alive()), "node {id} runs already");
        node.process = Some(node.machine.spawn("server", &launch)?);
        Ok(())
    }

    /// `kill -9` of a control node's process.
    pub fn kill_node(&mut self, id: u64) -> Result<()> {
        let process = self.node(id)?.process.take();
        process.with_context(|| format!("node {id} does not run"))?.kill9()?;
        Ok(())
    }

    /// Starts the executor of a host that has none.
    pub fn start_executor(&mut self, name: &str) -> Result<()> {
        let endpoints: Vec<String> = self.nodes.iter().map(|node| endpoint(&node.machine)).collect();
        let launch = Launch::new(&self.binary).args(["executor", "--host", name, "--endpoints", &endpoints.join(","), "--register"]);
        let launch = self.environment.iter().fold(launch, |launch, (key, value)| launch.env(key, value));
        let host = self.host_mut(name)?;
        let launch = launch.args(["--docker-socket", DockerHost::SOCKET_INSIDE, "--address", &host.ip().to_string()]);
        let launch = launch.args(["--docker-plugin", DockerHost::PLUGIN_DIR_INSIDE]);
        let launch = launch.arg("--data-dir").arg(host.docker.dir().join("berth")).arg("--run").arg(host.docker.dir().join("berth-run"));
        ensure!(host.executor.as_ref().is_none_or(|p| !p.is_alive()), "the executor of {name} runs already");
        host.executor = Some(host.docker.spawn("executor", &launch)?);
        Ok(())
    }

    /// `kill -9` of a host's executor, and of nothing else.
    pub fn kill_executor(&mut self, name: &str) -> Result<()> {
        let executor = self.host_mut(name)?.executor.take();
        executor.with_context(|| format!("{name} has no executor"))?.kill9()?;
        Ok(())
    }

    /// Sends a signal to a host's executor, and to nothing else.
    pub fn signal_executor(&self, name: &str, signal: Signal) -> Result<()> {
        let executor = self.host(name)?.executor.as_ref().with_context(|| format!("{name} has no executor"))?;
        ensure!(executor.signal(signal)?, "the executor of {name} has ended");
        Ok(())
    }

    /// Sends a signal to a control node's process.
    pub fn signal_node(&self, id: u64, signal: Signal) -> Result<()> {
        let node = self.nodes.iter().find(|node| node.id == id).with_context(|| format!("this cluster has no node {id}"))?;
        let process = node.process.as_ref().with_context(|| format!("node {id} does not run"))?;
        ensure!(process.signal(signal)?, "node {id} has ended");
        Ok(())
    }

    /// The program of daemons that are started from now on.
    pub fn set_binary(&mut self, binary: PathBuf) {
        self.binary = binary;
    }

    /// The environment of daemons that are started from now on.
    pub fn set_environment(&mut self, environment: Vec<(String, String)>) {
        self.environment = environment;
    }

    /// Power on after `kill_host`: another boot, with Docker, and an executor as its init would start it.
    pub fn boot(&mut self, name: &str) -> Result<()> {
        self.host(name)?.docker.boot()?;
        self.new_boot(name)?;
        self.start_executor(name)
    }

    /// Gives a host a boot id of its own, new after each power cut as on a real machine: all machines here share one kernel and its boot id.
    fn new_boot(&self, name: &str) -> Result<()> {
        let docker = &self.host(name)?.docker;
        let outer = std::fs::read_link("/proc/self/ns/mnt")?;
        let launch = Launch::new("sh").args(["-euc", NEW_BOOT, "new-boot"]).arg(docker.dir().join("boot-id")).arg(outer);
        docker.run(LONG, &launch).with_context(|| format!("cannot give {name} a boot id"))?;
        Ok(())
    }

    /// Waits for a leader that `is` right, and returns its number.
    pub fn wait_for_leader(&self, is: impl Fn(u64) -> bool) -> Result<u64> {
        let mut leader = None;
        wait_until("a leader of the control nodes", LONG, || {
            // Until there is one, asking is refused; that is no failure yet.
            leader = self.cli.leader().ok().flatten().map(|leader| leader.node).filter(|id| is(*id));
            Ok(leader.is_some())
        })?;
        leader.context("no leader")
    }

    /// Waits until the host takes part again.
    pub fn wait_for_host(&self, name: &str) -> Result<()> {
        wait_until(&format!("host {name} to be live"), LONG, || {
            Ok(self.cli.host_health(name).is_ok_and(|h| h.as_deref() == Some("live")))
        })?;
        Ok(())
    }

    pub fn teardown(self) -> Result<()> {
        let Self { nodes, hosts, lab, .. } = self;
        drop((nodes, hosts));
        lab.teardown()
    }

    fn node(&mut self, id: u64) -> Result<&mut NodeMachine> {
        self.nodes.iter_mut().find(|node| node.id == id).with_context(|| format!("this cluster has no node {id}"))
    }

    fn host_mut(&mut self, name: &str) -> Result<&mut HostMachine> {
        self.hosts.iter_mut().find(|host| host.name() == name).with_context(|| format!("this cluster has no host {name}"))
    }
}

/// Refuses outside a private mount namespace, where the mount would hit the machine that carries the lab.
const NEW_BOOT: &str = r#"
[ "$(readlink /proc/self/ns/mnt)" != "$2" ]
cat /proc/sys/kernel/random/uuid > "$1"
mount --bind "$1" /proc/sys/kernel/random/boot_id
"#;

fn endpoint(machine: &Machine) -> String {
    format!("{}:{NODE_PORT}", machine.ip())
}
