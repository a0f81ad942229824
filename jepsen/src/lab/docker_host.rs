//! A machine with Docker: private `/run` and `/etc/docker`, and a dockerd of its own whose socket a client outside can reach.
//! Used by tests; must never talk to the dockerd of the machine that carries the lab.

use crate::lab::machine::{Machine, State};
use crate::lab::poll::wait_until;
use crate::lab::process::{LabProcess, Launch, lock};
use crate::lab::shell::run_within;
use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::ops::Deref;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Tags under which [`crate::lab::postgres_image`] and [`crate::lab::busybox_image`] load.
pub const IMAGE_POSTGRES: &str = "berth-lab/postgres:15";
pub const IMAGE_BUSYBOX: &str = "berth-lab/busybox:1";

const READY_BOUND: Duration = Duration::from_secs(60);
const DOCKER_BOUND: Duration = Duration::from_secs(120);
const LOAD_BOUND: Duration = Duration::from_secs(180);

/// The machine's init: makes the private mounts, reports on stdout, and stays to hold the mount namespace. `/run` is a fresh tmpfs as after a
/// boot, so no pid file, socket or plugin of an earlier life (or of the outer machine) is ever seen.
const HOLD_MOUNTS: &str = r#"
set -e
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/docker /run/lock /run/berth /etc/docker
mount --bind "$1" /etc/docker
hostname "$2"
: > "$3"
exec sleep infinity
"#;

/// What a crash of dockerd leaves in `/run`; with them there it refuses to start, or waits for a containerd that is gone.
const CLEAN_AFTER_CRASH: &str = "rm -f /run/docker.pid /run/docker.sock /run/docker/containerd/containerd.pid";

/// A [`Machine`] that runs dockerd; everything a machine can suffer, it can.
#[derive(Debug, Clone)]
pub struct DockerHost {
    machine: Machine,
}

impl Deref for DockerHost {
    type Target = Machine;

    fn deref(&self) -> &Machine {
        &self.machine
    }
}

impl DockerHost {
    /// Docker's socket as a program inside the machine sees it.
    pub const SOCKET_INSIDE: &'static str = "/run/docker.sock";
    /// Where Docker looks for volume plugin sockets, inside the machine.
    pub const PLUGIN_DIR_INSIDE: &'static str = "/run/docker/plugins";

    pub(super) fn create(machine: Machine) -> Result<Self> {
        for folder in ["docker", "etc-docker"] {
            fs::create_dir_all(machine.dir().join(folder))?;
        }
        machine.start_docker()?;
        Ok(Self { machine })
    }

    /// Docker's socket as a client in the root namespace sees it. It works during a partition: it is a file, not the network.
    pub fn socket(&self) -> PathBuf {
        self.machine.socket()
    }

    /// Runs `docker ARGS` against this host and returns its stdout, trimmed.
    pub fn docker(&self, args: &[&str]) -> Result<String> {
        self.docker_within(DOCKER_BOUND, args)
    }

    /// The same with a bound of its own, for instance against a frozen host.
    pub fn docker_within(&self, bound: Duration, args: &[&str]) -> Result<String> {
        let host = format!("unix://{}", self.socket().display());
        let mut all = vec!["-H", host.as_str()];
        all.extend(args);
        Ok(run_within(bound, "docker", &all, "")?.trim().to_string())
    }

    /// Loads an image archive and gives it `tag` besides the tag in the archive. The image id is the same on every host.
    pub fn load_image(&self, tarball: &Path, tag: &str) -> Result<()> {
        let file = tarball.to_str().context("the image path is not UTF-8")?;
        let said = self.docker_within(LOAD_BOUND, &["load", "--quiet", "--input", file])?;
        let loaded = said.lines().find_map(|l| l.strip_prefix("Loaded image: ")).context("docker load named no image")?;
        if loaded.trim() != tag {
            self.docker(&["tag", loaded.trim(), tag])?;
        }
        Ok(())
    }

    /// `kill -9` of dockerd alone. Its containerd dies with it; shims and containers live on.
    pub fn kill_dockerd(&self) -> Result<()> {
        let taken = lock(&self.machine.inner.state).dockerd.take();
        let Some(dockerd) = taken else { bail!("no dockerd runs on {}", self.machine.name()) };
        dockerd.signal(Signal::KILL)?;
        dockerd.wait(Duration::from_secs(20))?;
        Ok(())
    }

    /// Stops or resumes dockerd alone.
    pub fn signal_dockerd(&self, signal: Signal) -> Result<()> {
        let state = lock(&self.machine.inner.state);
        let dockerd = state.dockerd.as_ref().with_context(|| format!("no dockerd runs on {}", self.machine.name()))?;
        ensure!(dockerd.signal(signal)?, "dockerd of {} has ended", self.machine.name());
        Ok(())
    }

    /// Starts dockerd again after [`DockerHost::kill_dockerd`]; it answers on return.
    pub fn start_dockerd(&self) -> Result<()> {
        self.machine.start_docker()
    }

    pub fn dockerd_pid(&self) -> Option<i32> {
        lock(&self.machine.inner.state).dockerd.as_ref().filter(|d| d.is_alive()).map(LabProcess::pid)
    }
}

impl Machine {
    fn socket(&self) -> PathBuf {
        self.dir().join("docker.sock")
    }

    /// Mount namespace (unless it is there) and dockerd; returns when dockerd answers.
    pub(super) fn start_docker(&self) -> Result<()> {
        let mut state = lock(&self.inner.state);
        ensure!(state.power, "machine {} is off: boot it first", self.name());
        if state.dockerd.as_ref().is_some_and(LabProcess::is_alive) {
            bail!("dockerd runs on {} already", self.name());
        }
        if state.mounts.as_ref().is_none_or(|m| !m.is_alive()) {
            state.mounts = Some(self.hold_mounts(&mut state)?);
        }
        drop(state);
        self.run(DOCKER_BOUND, &Launch::new("sh").args(["-c", CLEAN_AFTER_CRASH]))?;
        let _ = fs::remove_file(self.socket());
        let dockerd = self.spawn("dockerd", &self.dockerd_launch())?;
        let socket = self.socket();
        let ready = wait_until("dockerd to answer", READY_BOUND, || {
            ensure!(dockerd.is_alive(), "dockerd ended at its start");
            Ok(answers_ping(&socket))
        });
        ready.with_context(|| format!("dockerd of {}:\n{}", self.name(), dockerd.log_tail(40)))?;
        lock(&self.inner.state).dockerd = Some(dockerd);
        Ok(())
    }

    fn hold_mounts(&self, state: &mut State) -> Result<LabProcess> {
        let mark = self.dir().join("mounts-ready");
        let _ = fs::remove_file(&mark);
        let mut enter: Vec<OsString> = vec!["nsenter".into()];
        let mut net = OsString::from("--net=");
        net.push(crate::lab::network::netns_path(self.inner.lab, self.name()));
        enter.push(net);
        enter.extend(["--", "unshare", "--mount", "--uts", "--propagation", "private", "--"].map(OsString::from));
        let launch = Launch::new("sh").args(["-c", HOLD_MOUNTS, "hold-mounts"]);
        let launch = launch.arg(self.dir().join("etc-docker")).arg(self.name()).arg(&mark);
        let holder = self.spawn_entering(state, "mounts", &launch, enter)?;
        let ready = wait_until("the machine's private mounts", READY_BOUND, || {
            ensure!(holder.is_alive(), "making the mounts failed");
            Ok(mark.exists())
        });
        ready.with_context(|| format!("machine {}: {}", self.name(), holder.log_tail(20)))?;
        Ok(holder)
    }

    fn dockerd_launch(&self) -> Launch {
        let lab = self.inner.lab;
        Launch::new("dockerd")
            .arg("--data-root")
            .arg(self.dir().join("docker"))
            .args(["--exec-root", "/run/docker", "--pidfile", "/run/docker.pid"])
            .args(["--host", "unix:///run/docker.sock", "--host", &format!("unix://{}", self.socket().display())])
            .args(["--bip", &self.inner.number.docker_bip(lab)])
            .args(["--cgroup-parent", &format!("/{}/{}", lab.cgroup(), self.name())])
            // A registry on the bridge address (plain HTTP) serves all hosts of the lab.
            .args(["--insecure-registry", &lab.subnet()])
    }
}

/// One HTTP request over the socket; cheaper by far than a `docker version` for each try.
fn answers_ping(socket: &Path) -> bool {
    let Ok(mut stream) = UnixStream::connect(socket) else { return false };
    let bounded = stream.set_read_timeout(Some(Duration::from_secs(2))).is_ok();
    if !bounded || stream.write_all(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n").is_err() {
        return false;
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).is_ok() && answer.starts_with("HTTP/1.") && answer.contains(" 200 ")
}
