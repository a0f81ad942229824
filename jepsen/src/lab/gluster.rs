//! A machine that serves a GlusterFS volume, as real shared storage that can fence: Debian's glusterd with one brick, in namespaces of its own. Used by the fencing
//! report; must never touch a glusterd of the machine that carries the lab. Ends with its machine.

use crate::lab::machine::Machine;
use crate::lab::poll::wait_until;
use crate::lab::process::{LabProcess, Launch};
use crate::lab::site::Lab;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

const READY_BOUND: Duration = Duration::from_secs(60);
const COMMAND_BOUND: Duration = Duration::from_secs(60);

/// What glusterd keeps outside its working folder is private to it. It stays in the foreground, so that its end is seen.
const SERVE: &str = r#"
set -e
mkdir -p /var/lib/glusterd /var/log/glusterfs /run/gluster
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/gluster /run/lock
for pair in "$1/glusterd /var/lib/glusterd" "$1/logs /var/log/glusterfs"; do mkdir -p ${pair% *}; mount --bind $pair; done
exec glusterd --no-daemon --log-level WARNING
"#;

const REMOTE: &str = r#"#!/bin/bash
words=()
for word in "$@"; do case "$word" in --remote-host=*) ;; *) words+=("$word") ;; esac; done
export PATH=/usr/sbin:/usr/bin:/sbin:/bin # else it would find itself
exec nsenter --target PID --mount --net -- gluster "${words[@]}"
"#;

/// Hides glusterd's log folder of the outer machine from one of the lab, so that clients leave nothing there.
const PRIVATE_LOGS: &str =
    r#"[ "$(readlink /proc/self/ns/mnt)" != "$1" ]; mkdir -p /var/log/glusterfs; mount -t tmpfs tmpfs /var/log/glusterfs"#;

/// One server with one volume. A clone of the machine inside suffers partitions and the rest.
#[derive(Debug)]
pub struct GlusterServer {
    machine: Machine,
    daemon: LabProcess,
    brick: PathBuf,
    volume: String,
}

impl GlusterServer {
    /// What it needs on this machine and does not find, in words.
    pub fn missing() -> Option<String> {
        let found = |tool: &str| ["/usr/sbin", "/usr/bin", "/sbin"].iter().any(|dir| Path::new(dir).join(tool).exists());
        let missing: Vec<&str> = ["glusterd", "gluster", "glusterfs"].into_iter().filter(|tool| !found(tool)).collect();
        if !missing.is_empty() {
            return Some(format!("{} not installed (Debian: glusterfs-server glusterfs-client)", missing.join(", ")));
        }
        (!Path::new("/dev/fuse").exists()).then(|| "no /dev/fuse (load the fuse module)".to_string())
    }

    /// A machine `name` that serves `volume`; clients can mount it on return.
    pub fn start(lab: &Lab, name: &str, volume: &str) -> Result<Self> {
        let machine = lab.add_node_machine(name)?;
        let brick = machine.dir().join("brick");
        fs::create_dir_all(&brick).with_context(|| format!("cannot make {}", brick.display()))?;
        let launch =
            Launch::new("unshare").args(["--mount", "--propagation", "private", "--", "sh", "-c", SERVE, "serve"]).arg(machine.dir());
        let daemon = machine.spawn("glusterd", &launch)?;
        let server = Self { machine, daemon, brick, volume: volume.to_string() };
        server.make_volume().with_context(|| format!("glusterd said: {}", server.daemon.log_tail(20)))?;
        Ok(server)
    }

    fn make_volume(&self) -> Result<()> {
        wait_until("glusterd to answer", READY_BOUND, || {
            ensure!(self.daemon.is_alive(), "glusterd ended at its start");
            Ok(self.gluster(&["volume", "list"]).is_ok())
        })?;
        let brick = format!("{}:{}", self.ip(), self.brick.display());
        // The brick lies on the disk of this machine, which glusterd takes for the root disk.
        self.gluster(&["volume", "create", &self.volume, &brick, "force"])?;
        self.gluster(&["volume", "start", &self.volume])?;
        wait_until("the brick to serve", READY_BOUND, || {
            let said = self.gluster(&["volume", "status", &self.volume, "detail"]).unwrap_or_default();
            Ok(said.lines().any(|line| line.starts_with("Online") && line.trim_end().ends_with('Y')))
        })?;
        Ok(())
    }

    /// Runs `gluster ARGS` on the server.
    pub fn gluster(&self, args: &[&str]) -> Result<String> {
        let enter = ["--mount", "--target", &self.daemon.pid().to_string(), "--", "gluster", "--mode=script"].map(str::to_string);
        self.machine.run(COMMAND_BOUND, &Launch::new("nsenter").args(enter).args(args))
    }

    /// Makes `gluster` in `folder` a program that runs the server's own one there, as over ssh: glusterd takes changes from another machine only over TLS, which
    /// this lab has not.
    pub fn make_remote_control(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let script = folder.join("gluster");
        fs::write(&script, REMOTE.replace("PID", &self.daemon.pid().to_string()))?;
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).context("cannot make the program run")
    }

    pub fn ip(&self) -> Ipv4Addr {
        self.machine.ip()
    }

    pub fn volume(&self) -> &str {
        &self.volume
    }

    /// The storage itself: what is in here has arrived.
    pub fn brick(&self) -> &Path {
        &self.brick
    }

    /// Makes a machine with mounts of its own a client that leaves no log behind.
    pub fn prepare_client(client: &Machine) -> Result<()> {
        let outer = fs::read_link("/proc/self/ns/mnt")?;
        client.run(COMMAND_BOUND, &Launch::new("sh").args(["-euc", PRIVATE_LOGS, "private-logs"]).arg(outer))?;
        Ok(())
    }
}
