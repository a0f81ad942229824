//! Berth with its defaults: on each host a control node and an executor, one container on a volume of driver `path` over the shared directory. Called by the
//! faults through [`System`]; speaks to Berth by its command line only.

use crate::compare::image::IMAGE;
use crate::compare::interrupt::until;
use crate::compare::stage::{HOSTS, STOP_SIGNAL, Stage};
use crate::compare::system::{Leader, System};
use crate::e2e::Cli;
use crate::lab::{DockerHost, LabProcess, Launch};
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

const PORT: u16 = 7400;
const LONG: Duration = Duration::from_secs(60);
const CONTAINER: &str = "writer";
/// All nodes of one group share it; there is one group in a lab.
const CLUSTER_ID: &str = "000000000000000000000000be270c01";

pub(super) struct Berth {
    binary: PathBuf,
    servers: BTreeMap<String, LabProcess>,
    executors: Vec<LabProcess>,
}

impl Berth {
    pub(super) fn start(stage: &Stage, binary: &Path) -> Result<Self> {
        ensure!(binary.is_file(), "{} is not there: build it first (make build)", binary.display());
        let mut berth = Self { binary: binary.to_path_buf(), servers: BTreeMap::new(), executors: Vec::new() };
        for (id, host) in (1..).zip(stage.hosts()) {
            berth.start_server(stage, id, host)?;
        }
        until("a leader of the control nodes", LONG, || Ok(berth.leader(stage, None).is_some()))?;
        for host in stage.hosts() {
            berth.start_executor(stage, host)?;
        }
        let cli = berth.cli(stage, None);
        for host in HOSTS {
            until(&format!("host {host} to be live"), LONG, || Ok(cli.host_health(host).is_ok_and(|h| h.as_deref() == Some("live"))))?;
        }
        Ok(berth)
    }

    fn start_server(&mut self, stage: &Stage, id: u64, host: &DockerHost) -> Result<()> {
        let address = endpoint(host);
        let members: Vec<String> = (1..).zip(stage.hosts()).map(|(id, host): (u64, _)| format!("{id}={}", endpoint(host))).collect();
        let members = members.join(",");
        let dir = host.dir().join("berth-node").display().to_string();
        let id = id.to_string();
        let args = ["server", "--node-id", &id, "--listen", &address, "--advertise", &address, "--cluster-id", CLUSTER_ID];
        let args = [&args[..], &["--initial-members", &members, "--data-dir", &dir]].concat();
        self.servers.insert(host.name().to_string(), self.spawn(stage, host, "server", &args)?);
        Ok(())
    }

    fn start_executor(&mut self, stage: &Stage, host: &DockerHost) -> Result<()> {
        let dir = host.dir().join("berth").display().to_string();
        let endpoints = endpoints(stage, None);
        let args = ["executor", "--host", host.name(), "--endpoints", &endpoints, "--register", "--data-dir", &dir];
        let args = [&args[..], &["--docker-socket", DockerHost::SOCKET_INSIDE]].concat();
        self.executors.push(self.spawn(stage, host, "executor", &args)?);
        Ok(())
    }

    fn spawn(&self, stage: &Stage, host: &DockerHost, name: &str, args: &[&str]) -> Result<LabProcess> {
        stage.note(&format!("{}: berth {}", host.name(), args.join(" ")));
        host.spawn(name, &Launch::new(&self.binary).args(args))
    }

    /// Asks the control nodes of every host but `except`.
    fn cli(&self, stage: &Stage, except: Option<&str>) -> Cli {
        Cli::new(self.binary.clone(), endpoints(stage, except))
    }

    fn set_up(&self, stage: &Stage, args: &[&str]) -> Result<()> {
        stage.note(&format!("berth {}", args.join(" ")));
        self.cli(stage, None).run(args).map(|_| ())
    }
}

impl System for Berth {
    fn leader(&self, stage: &Stage, except: Option<&str>) -> Option<Leader> {
        // Without a quorum `berth status` ends with an exit code of its own, that is with nobody leading.
        let status = self.cli(stage, except).json(&["status"]).ok()?;
        let leader = &status["leader"];
        let node = leader["node"].as_u64()?;
        let host = HOSTS.get(usize::try_from(node).ok()?.checked_sub(1)?)?;
        Some(Leader { host: (*host).to_string(), term: leader["term"].as_u64() })
    }

    fn run_writer_on(&mut self, stage: &Stage, host: &str) -> Result<()> {
        let others: Vec<&str> = HOSTS.iter().copied().filter(|other| *other != host).collect();
        for other in &others {
            self.set_up(stage, &["host", "cordon", other])?;
        }
        let path = format!("path={}", stage.data().display());
        let add = ["volume", "add", "data", "--driver", "path", "--option", &path, "--takeover", "after-expiry", "--coherent"];
        self.set_up(stage, &add)?;
        let add = ["container", "add", CONTAINER, "--image", IMAGE, "--volume", "data:/data"];
        self.set_up(stage, &[&add[..], &STOP_SIGNAL].concat())?;
        let cli = self.cli(stage, None);
        let placed = until("the container to run", LONG, || Ok(cli.placed(CONTAINER)?.is_some_and(|p| p.host == host)));
        placed.with_context(|| cli.run(&["why", CONTAINER]).unwrap_or_else(|e| format!("{e:#}")))?;
        for other in &others {
            self.set_up(stage, &["host", "uncordon", other])?;
        }
        Ok(())
    }

    fn kill_leader(&mut self, _stage: &Stage, host: &str) -> Result<()> {
        let server = self.servers.remove(host).with_context(|| format!("{host} has no control node"))?;
        server.kill9()?;
        Ok(())
    }
}

fn endpoint(host: &DockerHost) -> String {
    format!("{}:{PORT}", host.ip())
}

fn endpoints(stage: &Stage, except: Option<&str>) -> String {
    let asked = stage.hosts().iter().filter(|host| Some(host.name()) != except);
    asked.map(endpoint).collect::<Vec<_>>().join(",")
}
