//! Docker Swarm with its defaults: every host a manager, one service with one replica that bind-mounts the shared directory. Called by the faults through
//! [`System`]. Helped where this lab is not what Swarm expects (no registry), hindered nowhere.

use crate::compare::interrupt::until;
use crate::compare::stage::{HOSTS, STOP_SIGNAL, Stage};
use crate::compare::system::{Leader, System};
use anyhow::{Context, Result};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);

pub(super) struct Swarm;

impl Swarm {
    pub(super) fn start(stage: &Stage) -> Result<Self> {
        let [first, others @ ..] = &HOSTS;
        let address = |host: &str| stage.host(host).map(|h| h.ip().to_string());
        stage.docker(first, &["swarm", "init", "--advertise-addr", &address(first)?])?;
        let token = stage.host(first)?.docker(&["swarm", "join-token", "--quiet", "manager"])?;
        let manager = format!("{}:2377", address(first)?);
        for host in others {
            let own = address(host)?;
            stage.note(&format!("docker -H {host} swarm join --token $MANAGER_TOKEN --advertise-addr {own} {manager}"));
            stage.host(host)?.docker(&["swarm", "join", "--token", &token, "--advertise-addr", &own, &manager])?;
        }
        until("three managers that are ready and reachable", LONG, || {
            let nodes = stage.ask_docker(first, &["node", "ls", "--format", "{{.Status}} {{.ManagerStatus}}"]).unwrap_or_default();
            Ok(nodes.lines().filter(|line| matches!(*line, "Ready Leader" | "Ready Reachable")).count() == HOSTS.len())
        })?;
        Ok(Self)
    }
}

impl System for Swarm {
    fn leader(&self, stage: &Stage, except: Option<&str>) -> Option<Leader> {
        let asked = HOSTS.iter().filter(|host| Some(**host) != except);
        let answers = asked.filter_map(|host| stage.ask_docker(host, &["node", "ls", "--format", "{{.Hostname}} {{.ManagerStatus}}"]).ok());
        let leaders = answers.filter_map(|said| said.lines().find_map(|line| line.strip_suffix(" Leader").map(str::to_string)));
        leaders.map(|host| Leader { host, term: None }).next()
    }

    fn run_writer_on(&mut self, stage: &Stage, host: &str) -> Result<()> {
        let others: Vec<&str> = HOSTS.iter().copied().filter(|other| *other != host).collect();
        // Not by a constraint: that would hold at the takeover too.
        for other in &others {
            stage.docker(host, &["node", "update", "--availability", "drain", other])?;
        }
        let mount = format!("type=bind,source={},destination=/data", stage.data().display());
        // By image id: for a tag the engine first asks a registry, which there is none of here, and each start would wait for that.
        let create = ["service", "create", "--detach", "--name", "writer", "--replicas", "1", "--no-resolve-image", "--network", "host"];
        stage.docker(host, &[&create[..], &STOP_SIGNAL, &["--mount", &mount, &stage.image_id]].concat())?;
        let running = ["service", "ps", "writer", "--filter", "desired-state=running", "--format", "{{.Node}} {{.CurrentState}}"];
        let mut said = String::new();
        let placed = until("the service's task to run", LONG, || {
            said = stage.ask_docker(host, &running)?;
            Ok(said.starts_with(&format!("{host} Running")))
        });
        placed.with_context(|| format!("docker service ps: {said}"))?;
        for other in &others {
            stage.docker(host, &["node", "update", "--availability", "active", other])?;
        }
        Ok(())
    }

    fn kill_leader(&mut self, stage: &Stage, host: &str) -> Result<()> {
        // A manager is part of the engine: there is nothing smaller to kill.
        stage.host(host)?.kill_dockerd()
    }
}
