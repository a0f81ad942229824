//! A runtime in memory, which survives the executor as a real one does, the killer that goes with it, and a volume driver that can hang.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use berth_state::ids::ClusterId;
use berth_state::noun::container::RuntimeKind;
use berth_state::noun::session::Cut;
use berth_state::noun::volume::Driver;
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::sync::watch;

use crate::enforcer::Killer;
use crate::runtime::{
    ExecOutput, InstanceKey, InstanceSpec, InstanceState, KillHandle, LogChunk, LogOptions, Observed, Runtime, RuntimeError,
};
use crate::runtimes::RuntimeFactory;
use crate::volumes::{CutMeans, CutPlan, VolumeDriver, VolumeError, VolumeRequest};

#[derive(Default)]
struct Inner {
    instances: BTreeMap<InstanceKey, (u32, InstanceState)>,
    next_pid: u32,
    /// In order: `create c1-11-1`, `start c1-11-1`, `stop …`, `kill …` (through the runtime), `killed …` (by the enforcer).
    log: Vec<String>,
    fail_create: BTreeSet<String>,
    hang_create: BTreeSet<String>,
    hang_start: BTreeSet<String>,
    /// Instances of these ignore every kill.
    immortal: BTreeSet<String>,
    hang_mount: BTreeSet<String>,
    exec_code: i32,
    /// The volume driver finds that something is missing on the host.
    lacks: bool,
}

#[derive(Clone)]
pub struct FakeMachine {
    inner: Arc<Mutex<Inner>>,
    changed: watch::Sender<u64>,
}

fn name(key: &InstanceKey) -> String {
    format!("{}-{}-{}", key.container, key.token, key.attempt)
}

fn killed() -> InstanceState {
    InstanceState::Exited { code: 137, reason: "killed".to_owned() }
}

impl FakeMachine {
    pub fn new() -> Self {
        Self { inner: Arc::default(), changed: watch::Sender::new(0) }
    }

    fn with<R>(&self, act: impl FnOnce(&mut Inner) -> R) -> R {
        let result = act(&mut self.inner.lock().unwrap());
        self.changed.send_modify(|n| *n += 1);
        result
    }

    pub fn log(&self) -> Vec<String> {
        self.inner.lock().unwrap().log.clone()
    }

    pub fn count(&self, line: &str) -> usize {
        self.log().iter().filter(|l| *l == line).count()
    }

    /// Names of running instances, `<container>-<token>-<attempt>`.
    pub fn running(&self) -> Vec<String> {
        let machine = self.inner.lock().unwrap();
        machine.instances.iter().filter(|(_, (_, state))| *state == InstanceState::Running).map(|(key, _)| name(key)).collect()
    }

    pub fn exists(&self, wanted: &str) -> bool {
        self.inner.lock().unwrap().instances.keys().any(|key| name(key) == wanted)
    }

    pub fn exit(&self, wanted: &str, code: i32) {
        self.with(|m| {
            let (_, (_, state)) = m.instances.iter_mut().find(|(key, _)| name(key) == wanted).unwrap();
            *state = InstanceState::Exited { code, reason: String::new() };
        });
    }

    /// An instance of an earlier life.
    pub fn plant(&self, container: &str, token: u64, attempt: u32) {
        let key = InstanceKey { container: container.to_owned(), token, attempt };
        self.with(|m| {
            m.next_pid += 1;
            m.instances.insert(key, (m.next_pid, InstanceState::Running));
        });
    }

    pub fn fail_create(&self, container: &str) {
        self.with(|m| m.fail_create.insert(container.to_owned()));
    }

    pub fn hang_create(&self, container: &str, hang: bool) {
        self.with(|m| if hang { m.hang_create.insert(container.to_owned()) } else { m.hang_create.remove(container) });
    }

    pub fn hang_start(&self, container: &str, hang: bool) {
        self.with(|m| if hang { m.hang_start.insert(container.to_owned()) } else { m.hang_start.remove(container) });
    }

    pub fn hang_mount(&self, volume: &str, hang: bool) {
        self.with(|m| if hang { m.hang_mount.insert(volume.to_owned()) } else { m.hang_mount.remove(volume) });
    }

    pub fn immortal(&self, container: &str, is: bool) {
        self.with(|m| if is { m.immortal.insert(container.to_owned()) } else { m.immortal.remove(container) });
    }

    pub fn lacks(&self, lacks: bool) {
        self.with(|m| m.lacks = lacks);
    }

    pub fn exec_gives(&self, code: i32) {
        self.with(|m| m.exec_code = code);
    }

    fn end(&self, key: &InstanceKey, how: &str) -> Result<(), RuntimeError> {
        self.with(|m| {
            let immortal = m.immortal.contains(&key.container);
            if let Some((_, state)) = m.instances.get_mut(key)
                && *state == InstanceState::Running
            {
                m.log.push(format!("{how} {}", name(key)));
                if immortal {
                    return Err(RuntimeError::Refused { instance: name(key), reason: "it does not die".to_owned() });
                }
                *state = killed();
            }
            Ok(())
        })
    }

    fn observed(key: &InstanceKey, state: &InstanceState) -> Observed {
        Observed { key: key.clone(), cluster: String::new(), lease: key.token, state: state.clone() }
    }

    fn handle(pid: u32) -> KillHandle {
        KillHandle { cgroup: None, pid, start_ticks: 1, process_group: false }
    }
}

#[async_trait]
impl Runtime for FakeMachine {
    fn name(&self) -> &'static str {
        "process"
    }

    async fn probe(&self) -> Result<(), RuntimeError> {
        Ok(())
    }

    async fn list(&self) -> Result<Vec<Observed>, RuntimeError> {
        let machine = self.inner.lock().unwrap();
        Ok(machine.instances.iter().map(|(key, (_, state))| Self::observed(key, state)).collect())
    }

    async fn inspect(&self, key: &InstanceKey) -> Result<Option<Observed>, RuntimeError> {
        Ok(self.inner.lock().unwrap().instances.get(key).map(|(_, state)| Self::observed(key, state)))
    }

    async fn create(&self, spec: &InstanceSpec) -> Result<(), RuntimeError> {
        self.with(|m| m.log.push(format!("create {}", name(&spec.key))));
        while self.inner.lock().unwrap().hang_create.contains(&spec.key.container) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.with(|m| {
            if m.fail_create.contains(&spec.key.container) {
                return Err(RuntimeError::ImageMissing { image: "nothing".to_owned() });
            }
            m.next_pid += 1;
            m.instances.insert(spec.key.clone(), (m.next_pid, InstanceState::Created));
            Ok(())
        })
    }

    async fn start(&self, key: &InstanceKey) -> Result<KillHandle, RuntimeError> {
        while self.inner.lock().unwrap().hang_start.contains(&key.container) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.with(|m| {
            m.log.push(format!("start {}", name(key)));
            let (pid, state) = m.instances.get_mut(key).unwrap();
            *state = InstanceState::Running;
            Ok(Self::handle(*pid))
        })
    }

    async fn kill_handle(&self, key: &InstanceKey) -> Result<Option<KillHandle>, RuntimeError> {
        let machine = self.inner.lock().unwrap();
        Ok(machine.instances.get(key).filter(|(_, state)| *state == InstanceState::Running).map(|(pid, _)| Self::handle(*pid)))
    }

    async fn stop(&self, key: &InstanceKey, _: Duration) -> Result<(), RuntimeError> {
        self.end(key, "stop")
    }

    async fn kill(&self, key: &InstanceKey) -> Result<(), RuntimeError> {
        self.end(key, "kill")
    }

    async fn remove(&self, key: &InstanceKey) -> Result<(), RuntimeError> {
        self.with(|m| m.instances.remove(key));
        Ok(())
    }

    async fn exec(&self, _: &InstanceKey, _: &[String], _: Duration) -> Result<ExecOutput, RuntimeError> {
        Ok(ExecOutput { code: self.inner.lock().unwrap().exec_code, output: String::new() })
    }

    async fn logs(&self, _: &InstanceKey, _: LogOptions) -> Result<BoxStream<'static, Result<LogChunk, RuntimeError>>, RuntimeError> {
        Ok(futures::stream::empty().boxed())
    }

    async fn changed(&self, at_most: Duration) {
        let mut changed = self.changed.subscribe();
        let _ = tokio::time::timeout(at_most.min(Duration::from_millis(50)), changed.changed()).await;
    }
}

impl RuntimeFactory for FakeMachine {
    fn kinds(&self) -> BTreeSet<RuntimeKind> {
        BTreeSet::from([RuntimeKind::Process])
    }

    fn open(&self, _: RuntimeKind, _: ClusterId) -> Result<Arc<dyn Runtime>, RuntimeError> {
        Ok(Arc::new(self.clone()))
    }
}

impl Killer for FakeMachine {
    fn kill(&self, handle: &KillHandle) -> Result<(), RuntimeError> {
        let key = self.inner.lock().unwrap().instances.iter().find(|(_, (pid, _))| *pid == handle.pid).map(|(key, _)| key.clone());
        key.map_or(Ok(()), |key| self.end(&key, "killed"))
    }

    fn is_gone(&self, handle: &KillHandle) -> Result<bool, RuntimeError> {
        let machine = self.inner.lock().unwrap();
        Ok(!machine.instances.values().any(|(pid, state)| *pid == handle.pid && *state == InstanceState::Running))
    }
}

/// Volumes are where option `path` says; what is done to them is in the machine's log.
#[async_trait]
impl VolumeDriver for FakeMachine {
    fn driver(&self) -> Driver {
        Driver::Path
    }

    fn cut_kind(&self) -> Cut {
        Cut::None
    }

    async fn probe(&self) -> Result<(), VolumeError> {
        if self.inner.lock().unwrap().lacks {
            return Err(VolumeError::Needs { driver: Driver::Path, what: "a storage".to_owned(), remedy: "buy one".to_owned() });
        }
        Ok(())
    }

    fn cut_plan(&self, request: &VolumeRequest) -> Result<CutPlan, VolumeError> {
        Ok(CutPlan { volume: request.volume.to_string(), token: request.token.0, mount_point: None, means: CutMeans::None })
    }

    async fn attach(&self, request: &VolumeRequest) -> Result<(), VolumeError> {
        self.with(|m| m.log.push(format!("attach {}", request.volume)));
        Ok(())
    }

    async fn mount(&self, request: &VolumeRequest) -> Result<PathBuf, VolumeError> {
        while self.inner.lock().unwrap().hang_mount.contains(request.volume.as_str()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.with(|m| m.log.push(format!("mount {}", request.volume)));
        Ok(PathBuf::from(&request.options["path"]))
    }

    async fn unmount(&self, request: &VolumeRequest) -> Result<(), VolumeError> {
        self.with(|m| m.log.push(format!("unmount {}", request.volume)));
        Ok(())
    }

    async fn detach(&self, _: &VolumeRequest) -> Result<(), VolumeError> {
        Ok(())
    }

    async fn cut(&self, _: &VolumeRequest) -> Result<(), VolumeError> {
        Ok(())
    }

    async fn snapshot(&self, _: &VolumeRequest, _: &str) -> Result<(), VolumeError> {
        Ok(())
    }
}
