//! A whole cluster with one container that writes into one volume, and the eyes on it. Made anew for each case; scenarios do things to it. Owns the teardown
//! through the lab inside; must never help Berth along.

use crate::e2e::{Cluster, ClusterPlan, HostMachine, Placed, berth_binary};
use crate::fencing::image;
use crate::fencing::kind::{DriverKind, Rule};
use crate::fencing::power::PowerSwitch;
use crate::fencing::stamps::{Ns, Stamps};
use crate::fencing::tap::{Heard, Tap, grants, host_of};
use crate::fencing::watch::{Storage, Watch, WatchedHost};
use crate::lab::{DockerHost, GlusterServer, Lab, Machine, wait_until};
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(90);
/// Nothing is done before the writers have stamped so often.
const STEADY_STAMPS: usize = 400;
/// A new holder counts once it has stamped so often.
const TAKEN_OVER: usize = 20;
const WRITER_NAME: &str = "fence-writer";
pub const CONTAINER: &str = "writer";
pub const VOLUME: &str = "data";
const HOSTS: usize = 3;
const NODES: u64 = 3;

/// What a case runs on.
#[derive(Debug, Clone, Copy)]
pub struct RigPlan {
    pub driver: DriverKind,
    pub rule: Rule,
    pub ttl: Duration,
    /// Each host gets a power switch with an agent of ours: whether it lies, and how often it fails first.
    pub power: Option<Power>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Power {
    pub fails: u32,
    /// Says "done" and does nothing.
    pub lies: bool,
}

pub struct Rig {
    pub plan: RigPlan,
    tap: Tap,
    watch: Watch,
    _power: Option<PowerSwitch>,
    pub gluster: Option<GlusterServer>,
    storage: Storage,
    /// Where the container was before the fault, and under which token.
    pub holder: String,
    pub token: u64,
    pub leader: u64,
    fault: Option<Ns>,
    /// What stands for a lease's token in the stamps of writers that are told none, and that token.
    aliases: BTreeMap<u64, u64>,
    /// A takeover was waited for in vain, whatever came later.
    missed: Cell<bool>,
    /// Last, so that the lab ends when everything else is gone.
    pub cluster: Cluster,
}

impl Rig {
    /// Everything up, the container on the first host, its writers stamping, one more started by `docker exec`.
    pub fn start(plan: RigPlan) -> Result<Self> {
        let mut rig = Self::start_without_container(plan)?;
        rig.add_container()?;
        rig.await_steady()?;
        rig.exec_writer(&rig.holder.clone(), rig.token)?;
        rig.allow_all()?;
        Ok(rig)
    }

    /// The cluster, its volume and the eyes.
    pub fn start_without_container(plan: RigPlan) -> Result<Self> {
        let rig = Self::start_empty(plan)?;
        rig.add_volume()?;
        Ok(rig)
    }

    fn start_empty(plan: RigPlan) -> Result<Self> {
        let binary = berth_binary()?;
        let writer = binary.with_file_name(WRITER_NAME);
        ensure!(writer.is_file(), "{} is not there: build it first (cargo build --workspace --bins)", writer.display());
        let lab = Lab::new("fencing")?;
        let layer = image::layer(&writer, &lab.dir())?;
        let gluster = (plan.driver == DriverKind::Glusterfs).then(|| GlusterServer::start(&lab, "storage", VOLUME)).transpose()?;
        let with_gluster = gluster.is_some();
        let cluster_plan = ClusterPlan { name: "fencing", nodes: NODES, hosts: HOSTS, ttl: plan.ttl };
        let mut environment = Vec::new();
        if let Some(server) = &gluster {
            let folder = lab.dir().join("programs");
            server.make_remote_control(&folder)?;
            environment
                .push(("PATH".to_owned(), format!("{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", folder.display())));
        }
        let cluster = Cluster::start_with(lab, cluster_plan, environment, |host| {
            if with_gluster {
                GlusterServer::prepare_client(host)?;
            }
            image::give_to(host, &layer)
        })?;
        let storage = storage_of(plan, &cluster, gluster.as_ref())?;
        let endpoints: Vec<String> = cluster.node_ips().iter().map(|ip| format!("{ip}:7400")).collect();
        let tap = Tap::start(&binary, &endpoints.join(","))?;
        let watch = Watch::start(storage.clone(), watched(&cluster));
        let power = plan.power.map(|power| PowerSwitch::install(&cluster, power)).transpose()?;
        let leader = cluster.wait_for_leader(|_| true)?;
        let rig = Self {
            plan,
            tap,
            watch,
            _power: power,
            gluster,
            storage,
            holder: String::new(),
            token: 0,
            leader,
            fault: None,
            aliases: BTreeMap::new(),
            missed: Cell::new(false),
            cluster,
        };
        Ok(rig)
    }

    pub fn berth(&self, args: &[&str]) -> Result<String> {
        self.cluster.cli().run(args)
    }

    /// The directory that every host sees at this path.
    pub fn shared(&self) -> PathBuf {
        self.cluster.lab().shared_dir()
    }

    pub fn add_volume(&self) -> Result<()> {
        let server = self.gluster.as_ref().map(|server| server.ip().to_string());
        let options = self.plan.driver.options(&self.shared(), server.as_deref(), self.plan.rule);
        let mut args = vec!["volume", "add", VOLUME, "--driver", self.plan.driver.word(), "--takeover", self.plan.rule.word()];
        args.extend(options.iter().map(String::as_str));
        self.berth(&args).map(drop)
    }

    /// Adds the container so that the first host gets it.
    pub fn add_container(&mut self) -> Result<()> {
        let names = self.cluster.host_names();
        for other in &names[1..] {
            self.berth(&["host", "cordon", other])?;
        }
        let mount = format!("{VOLUME}:/data");
        self.berth(&["container", "add", CONTAINER, "--image", image::IMAGE, "--volume", &mount, "--stop-signal", "SIGKILL"])?;
        Ok(())
    }

    /// From here on every host may take the container.
    pub fn allow_all(&self) -> Result<()> {
        for other in &self.cluster.host_names()[1..] {
            self.berth(&["host", "uncordon", other])?;
        }
        Ok(())
    }

    pub fn await_steady(&mut self) -> Result<()> {
        let mut placed: Option<Placed> = None;
        let waited = wait_until("the writers to write", LONG, || {
            placed = self.cluster.cli().placed(CONTAINER)?;
            let Some(placed) = &placed else { return Ok(false) };
            sleep(Duration::from_millis(100));
            Ok(self.stamps().is_ok_and(|stamps| stamps.count(placed.token.0) >= STEADY_STAMPS))
        });
        if let Err(late) = waited {
            bail!("{late:#}\n{}", self.berth(&["why", CONTAINER]).unwrap_or_else(|e| format!("{e:#}")));
        }
        let placed = placed.context("not placed")?;
        (self.holder, self.token) = (placed.host, placed.token.0);
        Ok(())
    }

    /// One more writer, which is no child of the instance's first process.
    pub fn exec_writer(&self, host: &str, token: u64) -> Result<()> {
        let docker = &self.cluster.host(host)?.docker;
        let id = docker.docker(&["ps", "--quiet", "--filter", &format!("ancestor={}", image::IMAGE)])?;
        let id = id.lines().next().context("no container runs")?.to_string();
        let token = format!("BERTH_TOKEN={token}");
        docker.docker(&["exec", "--detach", "--env", &token, &id, image::PROGRAM, "one", "/data", "exec", "buffered"])?;
        wait_until("the writer started by docker exec", LONG, || {
            Ok(self.stamps()?.writers.get(&self.token).is_some_and(|writers| *writers >= 5))
        })?;
        Ok(())
    }

    /// Notes that the newest lease of `host` is the one of the writers that stamp under `alias`.
    pub fn alias_newest(&mut self, alias: u64, host: &str) -> Result<()> {
        let heard = self.heard();
        let tokens = grants(&heard).into_keys().filter(|token| host_of(&heard, *token).as_deref() == Some(host));
        self.aliases.insert(alias, tokens.max().with_context(|| format!("{host} was granted nothing"))?);
        Ok(())
    }

    /// The lease of a token in the stamps.
    pub fn lease_of(&self, token: u64) -> u64 {
        self.aliases.get(&token).copied().unwrap_or(token)
    }

    /// Until when each token in the stamps might be used.
    pub fn deadlines(&self) -> BTreeMap<u64, Ns> {
        let of_pages = self.watch.deadlines();
        let aliased = self.aliases.iter().filter_map(|(alias, token)| Some((*alias, *of_pages.get(token)?)));
        of_pages.clone().into_iter().chain(aliased).collect()
    }

    /// Marks the moment of the fault.
    pub fn fault_now(&mut self) {
        self.fault = Some(Ns::now());
    }

    pub fn fault(&self) -> Ns {
        self.fault.unwrap_or_default()
    }

    pub fn machine(&self) -> Result<Machine> {
        let docker = self.docker()?;
        Ok(Machine::clone(&docker))
    }

    /// The host that had the container before the fault.
    pub fn docker(&self) -> Result<DockerHost> {
        Ok(self.cluster.host(&self.holder)?.docker.clone())
    }

    pub fn node_machine(&self, id: u64) -> Result<Machine> {
        let name = format!("n{id}");
        self.cluster.lab().machines().into_iter().find(|m| m.name() == name).with_context(|| format!("no machine {name}"))
    }

    pub fn ttl(&self) -> Duration {
        self.plan.ttl
    }

    pub fn pause(&self, time: Duration) {
        sleep(time);
    }

    /// After a boot of a host its `/` is another one.
    pub fn look_again(&self) {
        self.watch.set_hosts(watched(&self.cluster));
    }

    /// Waits until a higher token stamps; says whether one did.
    pub fn await_takeover(&self, bound: Duration) -> bool {
        let waited = wait_until("a takeover", bound, || {
            sleep(Duration::from_millis(20));
            Ok(self.stamps().is_ok_and(|stamps| stamps.of.range(self.token + 1..).any(|(_, own)| own.len() >= TAKEN_OVER)))
        });
        self.missed.set(self.missed.get() || waited.is_err());
        waited.is_ok()
    }

    /// Whether a takeover was waited for in vain.
    pub fn missed(&self) -> bool {
        self.missed.get()
    }

    /// Waits until somebody stamps now, whoever it is.
    pub fn await_writing(&self, bound: Duration) -> bool {
        let since = Ns::now();
        wait_until("stamps", bound, || {
            sleep(Duration::from_millis(20));
            Ok(self.stamps().is_ok_and(|stamps| stamps.of.values().flatten().filter(|stamp| **stamp > since).count() >= TAKEN_OVER))
        })
        .is_ok()
    }

    /// All stamps that are in the volume now.
    pub fn stamps(&self) -> Result<Stamps> {
        match &self.storage {
            Storage::Directory(path) => Stamps::read(path),
            Storage::Image { .. } => {
                // Through the holder's own mount, which is the newest writer's.
                let mut best = Stamps::default();
                for host in self.cluster.hosts() {
                    for pid in host.docker.pids() {
                        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
                        if name.trim() != WRITER_NAME || host.docker.is_frozen() {
                            continue;
                        }
                        let seen = Stamps::read(&PathBuf::from(format!("/proc/{pid}/root/data"))).unwrap_or_default();
                        if newest(&seen) > newest(&best) {
                            best = seen;
                        }
                        break;
                    }
                }
                Ok(best)
            }
        }
    }

    pub fn heard(&self) -> Vec<Heard> {
        self.tap.heard()
    }

    pub fn granted_after(&self) -> bool {
        grants(&self.heard()).range(self.token + 1..).next().is_some()
    }

    pub fn watch(&self) -> &Watch {
        &self.watch
    }

    pub fn why(&self) -> Result<Value> {
        self.cluster.cli().json(&["why", CONTAINER])
    }

    pub fn teardown(self) -> Result<()> {
        let Self { cluster, tap, watch, _power, gluster, .. } = self;
        drop((tap, watch, _power));
        drop(gluster);
        cluster.teardown()
    }
}

fn newest(stamps: &Stamps) -> Option<Ns> {
    stamps.of.values().filter_map(|own| own.last()).max().copied()
}

/// Of a host's executor, by the cluster's own choice.
pub fn run_dir(host: &HostMachine) -> PathBuf {
    host.docker.dir().join("berth-run")
}

fn watched(cluster: &Cluster) -> Vec<WatchedHost> {
    let host = |host: &HostMachine| Some(WatchedHost { run: run_dir(host), root: host.docker.root()? });
    cluster.hosts().iter().filter_map(host).collect()
}

/// Makes what the driver needs on the shared directory.
fn storage_of(plan: RigPlan, cluster: &Cluster, gluster: Option<&GlusterServer>) -> Result<Storage> {
    let shared = cluster.lab().shared_dir();
    Ok(match plan.driver {
        DriverKind::Path => {
            fs::create_dir(shared.join("data"))?;
            Storage::Directory(shared.join("data"))
        }
        DriverKind::Exec => {
            fs::create_dir(shared.join("data"))?;
            let program = shared.join("driver");
            fs::write(&program, EXEC_DRIVER.replace("SHARED", &shared.display().to_string()))?;
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
            Storage::Directory(shared.join("data"))
        }
        DriverKind::Image => {
            fs::create_dir(shared.join("images"))?;
            fs::write(shared.join("images/.berth-images"), "")?;
            Storage::Image { file: shared.join("images/data.img") }
        }
        DriverKind::Glusterfs => Storage::Directory(gluster.context("no GlusterFS server")?.brick().to_path_buf()),
    })
}

/// A directory as a volume. While `slow-HOST` is there, a mount on that host takes as long as its content says.
const EXEC_DRIVER: &str = r#"#!/bin/sh
request=$(cat)
case "$request" in
*'"operation":"mount"'*)
    slow="SHARED/slow-$(hostname)"
    if [ -f "$slow" ]; then : > "SHARED/mounting-$(hostname)"; sleep "$(cat "$slow")"; : > "SHARED/mounted-$(hostname)"; fi
    echo '{"ok":true,"path":"SHARED/data"}' ;;
*) echo '{"ok":true}' ;;
esac
"#;
