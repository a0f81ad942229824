//! Start, on the executor's side. Must never spawn a shim for an instance that has been started before; where two calls or two
//! executors race, the shim's claim decides.

use std::io;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::cgroup::{self, Limits};
use super::create::refused;
use super::entry::SHIM_COMMAND;
use super::folder::{InstanceFolder, Phase};
use super::record::{Plan, Stored};
use super::{ProcessRuntime, Shared, io_error};
use crate::runtime::{InstanceKey, KillHandle, RuntimeError};

/// How long a shim may take to say that the command runs.
const START: Duration = Duration::from_secs(10);
/// How often a folder is looked at while a shim is about to write to it.
const LOOK: Duration = Duration::from_millis(10);

impl ProcessRuntime {
    pub(super) async fn start_instance(&self, key: &InstanceKey) -> Result<KillHandle, RuntimeError> {
        let folder = self.shared.folder(key);
        match self.phase(key).await? {
            None => return Err(refused(key, "does not exist: create it first")),
            Some(Phase::Exited(exit)) => return Err(refused(key, format!("has ended ({}) and is never started again", exit.reason))),
            Some(Phase::Starting(_) | Phase::Running(_, _)) => return self.started_handle(key).await,
            Some(Phase::Created) => {}
        }
        let owned = key.clone();
        let stored = self.blocking(move |shared| prepare(shared, &shared.folder(&owned)).map_err(io_error("start", &owned))).await?;
        let child = spawn_shim(&self.shared, &folder, &stored).map_err(io_error("start", key))?;
        match tokio::time::timeout(START, first_line(child)).await {
            Ok(Ok(line)) if line.trim_end() == "running" => {
                let running = folder.running().map_err(io_error("start", key))?;
                let running = running.ok_or_else(|| io_error("start", key)(io::Error::other("running.json is missing")))?;
                folder.kill_handle(&running).map_err(io_error("start", key))
            }
            Ok(Ok(line)) if line.starts_with("refused ") => Err(refused(key, line.trim_end().trim_start_matches("refused "))),
            // The shim ended without a word. Perhaps another one was faster.
            Ok(_) if matches!(self.phase(key).await?, Some(Phase::Starting(_) | Phase::Running(_, _))) => self.started_handle(key).await,
            Ok(_) => {
                let complaint = std::fs::read_to_string(folder.path().join("shim.log")).unwrap_or_default();
                Err(refused(key, format!("its shim failed: {}", complaint.trim_end())))
            }
            Err(_) => {
                self.kill_instance(key).await?;
                Err(refused(key, format!("did not start within {} ms and was killed", START.as_millis())))
            }
        }
    }

    pub(super) async fn phase(&self, key: &InstanceKey) -> Result<Option<Phase>, RuntimeError> {
        let key = key.clone();
        self.blocking(move |shared| shared.folder(&key).phase().map_err(io_error("inspect", &key))).await
    }

    /// The handle of what runs or is about to; `None` when it does not run.
    pub(super) async fn running_handle(&self, key: &InstanceKey) -> Result<Option<KillHandle>, RuntimeError> {
        let late = |_| refused(key, "is being started and does not get on: kill it");
        tokio::time::timeout(START, self.settled_handle(key)).await.map_err(late)?
    }

    async fn settled_handle(&self, key: &InstanceKey) -> Result<Option<KillHandle>, RuntimeError> {
        loop {
            match self.phase(key).await? {
                None | Some(Phase::Created | Phase::Exited(_)) => return Ok(None),
                Some(Phase::Running(_, running)) => {
                    return self.shared.folder(key).kill_handle(&running).map(Some).map_err(io_error("inspect", key));
                }
                Some(Phase::Starting(_)) => tokio::time::sleep(LOOK).await,
            }
        }
    }

    async fn started_handle(&self, key: &InstanceKey) -> Result<KillHandle, RuntimeError> {
        self.running_handle(key).await?.ok_or_else(|| refused(key, "has ended and is never started again"))
    }
}

/// Makes the control groups and writes the plan down.
fn prepare(shared: &Shared, folder: &InstanceFolder) -> io::Result<Stored> {
    let stored = folder.stored()?;
    let spec = &stored.spec;
    let limits = Limits { cpu_millis: spec.cpu_millis, memory_bytes: spec.memory_bytes };
    let scope = cgroup::scope(&shared.config.cluster, &shared.config.host);
    let groups = cgroup::create(&shared.hierarchies, &scope, &spec.key.instance_name(), limits)?;
    let enforcement = &shared.enforcement;
    let unenforced = [
        ("cpu limit", spec.cpu_millis.is_some() && !enforcement.cpu_limit),
        ("memory limit", spec.memory_bytes.is_some() && !enforcement.memory_limit),
        ("read-only volume", spec.mounts.iter().any(|mounted| mounted.read_only) && !enforcement.read_only_mounts),
    ];
    for (what, _) in unenforced.iter().filter(|(_, missing)| *missing) {
        tracing::warn!(container = %spec.key.container, token = spec.key.token, what, "not enforced on this host");
    }
    folder.write_plan(&Plan {
        isolation: enforcement.isolation,
        own_proc: enforcement.own_proc,
        read_only_mounts: enforcement.read_only_mounts,
        cgroup: groups.cgroup,
        shim_cgroup: groups.shim_cgroup,
        limits_v1: groups.limits_v1,
    })?;
    Ok(stored)
}

fn spawn_shim(shared: &Shared, folder: &InstanceFolder, stored: &Stored) -> io::Result<Child> {
    let complaints = std::fs::OpenOptions::new().create(true).append(true).open(folder.path().join("shim.log"))?;
    Command::new(&shared.config.berth_binary)
        .args([SHIM_COMMAND, "run"])
        .arg(folder.path())
        .arg(&stored.id)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(complaints)
        .kill_on_drop(false)
        .spawn()
}

/// What the shim says first. It is reaped in the background when it ends, if this executor still lives then.
async fn first_line(mut child: Child) -> io::Result<String> {
    let stdout = child.stdout.take();
    tokio::spawn(async move {
        if let Err(error) = child.wait().await {
            tracing::warn!(%error, "shim not reaped");
        }
    });
    let mut line = String::new();
    if let Some(stdout) = stdout {
        BufReader::new(stdout).read_line(&mut line).await?;
    }
    Ok(line)
}
