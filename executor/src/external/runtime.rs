//! Claimed leases as a runtime: to the manager, one lease is one instance, which "runs" while it may be used and has "exited" once nobody uses it any more.
//! Creating and starting it starts no process. Called by steps and observer.

use std::time::Duration;

use async_trait::async_trait;
use berth_state::ids::Token;
use futures::StreamExt;
use futures::stream::BoxStream;
use rustix::process::Signal;

use super::names::Kind;
use super::table::{Entry, External, Phase};
use crate::runtime::kill::{self, cgroup_is_empty};
use crate::runtime::{
    ExecOutput, InstanceKey, InstanceSpec, InstanceState, KillAhead, KillHandle, LogChunk, LogOptions, Observed, Runtime, RuntimeError,
};

const LOOK: Duration = Duration::from_millis(50);
/// An engine that has restarted sends no more events; then it is asked for them again.
const EVENTS_AGAIN: Duration = Duration::from_secs(1);

fn io_error(operation: &'static str, key: &InstanceKey, source: std::io::Error) -> RuntimeError {
    RuntimeError::Io { operation, instance: key.instance_name(), source }
}

fn observed(entry: &Entry) -> Observed {
    let state = match &entry.phase {
        Phase::Created => InstanceState::Created,
        Phase::Open => InstanceState::Running,
        Phase::Over(exit) => InstanceState::Exited { code: exit.code, reason: exit.reason.clone() },
    };
    Observed { key: entry.key.clone(), cluster: entry.cluster.clone(), lease: entry.lease, state }
}

/// Nobody yet: what runs is registered as it is seen.
fn handle(entry: &Entry) -> KillHandle {
    KillHandle { cgroup: entry.cgroup.clone(), pid: 0, start_ticks: 0, process_group: false }
}

impl External {
    fn of(&self, key: &InstanceKey) -> Option<Entry> {
        self.get(Token(key.token)).filter(|entry| entry.key == *key)
    }

    async fn stop_command(&self, entry: &Entry, grace: Duration) {
        let Some(cgroup) = &entry.cgroup else { return };
        let text = std::fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
        let pids = text.lines().filter_map(|line| line.parse::<u32>().ok());
        // The guard is the oldest: it hands the signal on to the command.
        let oldest = pids.filter_map(|pid| Some((kill::start_ticks(pid).ok()??, pid))).min();
        if let Some((ticks, pid)) = oldest {
            let _ = kill::signal(pid, ticks, Signal::TERM);
        }
        let ended = async {
            while !cgroup_is_empty(cgroup).unwrap_or(false) {
                tokio::time::sleep(LOOK).await;
            }
        };
        let _ = tokio::time::timeout(grace, ended).await;
    }
}

#[async_trait]
impl Runtime for External {
    fn name(&self) -> &'static str {
        "external"
    }

    async fn probe(&self) -> Result<(), RuntimeError> {
        Ok(())
    }

    async fn list(&self) -> Result<Vec<Observed>, RuntimeError> {
        self.look().await;
        Ok(self.lock().values().map(observed).collect())
    }

    async fn inspect(&self, key: &InstanceKey) -> Result<Option<Observed>, RuntimeError> {
        Ok(self.of(key).as_ref().map(observed))
    }

    async fn create(&self, spec: &InstanceSpec) -> Result<(), RuntimeError> {
        if self.put(spec) {
            return Ok(());
        }
        let reason = format!("{} is no claimed lease of this version", spec.key.container);
        Err(RuntimeError::InvalidSpec { what: "container", reason })
    }

    async fn start(&self, key: &InstanceKey) -> Result<KillHandle, RuntimeError> {
        let token = Token(key.token);
        let entry = self.of(key).ok_or_else(|| io_error("open", key, std::io::ErrorKind::NotFound.into()))?;
        match entry.kind {
            Kind::Docker => self.make_links(token).map_err(|source| io_error("open", key, source))?,
            Kind::Run => {
                if let Some(cgroup) = &entry.cgroup {
                    std::fs::create_dir_all(cgroup).map_err(|source| io_error("make the control group of", key, source))?;
                }
            }
        }
        if let Some(entry) = self.lock().get_mut(&token).filter(|entry| entry.phase == Phase::Created) {
            entry.phase = Phase::Open;
        }
        self.announce();
        Ok(handle(&entry))
    }

    async fn kill_handle(&self, key: &InstanceKey) -> Result<Option<KillHandle>, RuntimeError> {
        Ok(self.of(key).as_ref().map(handle))
    }

    async fn kill_ahead(&self, key: &InstanceKey) -> Result<Vec<KillAhead>, RuntimeError> {
        Ok(self.of(key).and_then(|entry| entry.cgroup).map(KillAhead::Group).into_iter().collect())
    }

    async fn stop(&self, key: &InstanceKey, grace: Duration) -> Result<(), RuntimeError> {
        let Some(entry) = self.close(Token(key.token), 143, "stopped: its lease was revoked") else { return Ok(()) };
        match (entry.kind, &self.engine) {
            (Kind::Run, _) => self.stop_command(&entry, grace).await,
            (Kind::Docker, Some(engine)) => {
                futures::future::join_all(entry.users.iter().map(|id| engine.stop(id, grace))).await;
            }
            (Kind::Docker, None) => {}
        }
        self.kill(key).await
    }

    async fn kill(&self, key: &InstanceKey) -> Result<(), RuntimeError> {
        let Some(entry) = self.close(Token(key.token), 137, "killed: its lease was lost") else { return Ok(()) };
        self.silence(&entry).await
    }

    async fn remove(&self, key: &InstanceKey) -> Result<(), RuntimeError> {
        if self.of(key).is_some() {
            self.drop_entry(Token(key.token));
        }
        Ok(())
    }

    async fn exec(&self, key: &InstanceKey, _: &[String], _: Duration) -> Result<ExecOutput, RuntimeError> {
        Err(io_error("run a command in", key, std::io::ErrorKind::Unsupported.into()))
    }

    async fn logs(&self, key: &InstanceKey, _: LogOptions) -> Result<BoxStream<'static, Result<LogChunk, RuntimeError>>, RuntimeError> {
        Err(io_error("read the log of", key, std::io::ErrorKind::Unsupported.into()))
    }

    async fn changed(&self, at_most: Duration) {
        let mut changes = self.changes();
        let events = async {
            loop {
                let stream = match &self.engine {
                    Some(engine) => engine.events().await,
                    None => return std::future::pending().await,
                };
                if let Some(mut stream) = stream
                    && let Some(Ok(_)) = stream.next().await
                {
                    return;
                }
                tokio::time::sleep(EVENTS_AGAIN).await;
            }
        };
        let wait = async {
            tokio::select! {
                _ = changes.changed() => {}
                () = events => {}
            }
        };
        let _ = tokio::time::timeout(at_most.min(Duration::from_millis(500)), wait).await;
    }
}
