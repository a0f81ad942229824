//! What the tests of the runtime `docker` share: a real engine or a printed reason for skipping, images made without a
//! registry, and a guard that removes every container of a test whatever became of it. Called by `runtime_docker.rs`.
//!
//! Needs a running dockerd and the Debian packages busybox-static and tar.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test: it bounds its own waiting")]
#![allow(dead_code, reason = "each test program uses its part")]

pub mod proxy;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use berth_executor::runtime::docker::{DockerConfig, DockerRuntime};
use berth_executor::runtime::{InstanceKey, InstanceSpec, InstanceState, LogOptions, Runtime};
use bollard::Docker;
use bollard::query_parameters::{CreateImageOptionsBuilder, ListContainersOptionsBuilder, RemoveContainerOptionsBuilder};
use futures::StreamExt;
use tokio::sync::Mutex;

use crate::guard_support::Guards;

/// Longest wait for anything that must happen.
pub const BOUND: Duration = Duration::from_secs(20);
pub const IMAGE: &str = "berth-test-busybox:1";
/// The same with an entry point of its own, `/bin/echo entry`.
pub const ENTRY_IMAGE: &str = "berth-test-entry:1";
const BUSYBOX: &str = "/bin/busybox";
const APPLETS: [&str; 13] = ["sh", "sleep", "setsid", "touch", "env", "echo", "cat", "dd", "nc", "true", "ls", "kill", "mkdir"];

/// The socket under test: `DOCKER_HOST` where it names one, else the usual place.
pub fn socket() -> PathBuf {
    let named = std::env::var("DOCKER_HOST").ok().and_then(|host| host.strip_prefix("unix://").map(PathBuf::from));
    named.unwrap_or_else(|| "/var/run/docker.sock".into())
}

pub async fn engine() -> Docker {
    let socket = socket();
    let docker = Docker::connect_with_unix(socket.to_str().unwrap(), 120, bollard::API_DEFAULT_VERSION).unwrap();
    docker.negotiate_version().await.unwrap()
}

/// One test's own cluster on the real engine. Dropping it removes every container of that cluster.
pub struct Rig {
    pub runtime: DockerRuntime,
    pub config: DockerConfig,
    pub guards: Guards,
}

impl Rig {
    /// `None` (with the reason printed) where this machine has no Docker; where `CI` is set nothing may be skipped.
    pub async fn new(test: &str) -> Option<Self> {
        if let Err(reason) = ready().await {
            assert!(std::env::var_os("CI").is_none(), "{test} cannot run and CI may not skip it: {reason}");
            println!("SKIPPED {test}: {reason}");
            return None;
        }
        let config = DockerConfig { socket: socket(), cluster: format!("{:032x}", unique()), host: "host-a".to_owned() };
        Some(Self { runtime: DockerRuntime::new(config.clone()), config, guards: Guards::new() })
    }

    /// An instance of this rig that runs `script` in a shell.
    pub fn spec(&self, script: &str) -> InstanceSpec {
        let token = unique();
        let key = InstanceKey { container: "rig".to_owned(), token, attempt: 1 };
        InstanceSpec {
            guard: self.guards.spec(&key),
            key,
            cluster: self.config.cluster.clone(),
            host: self.config.host.clone(),
            lease: token + 7,
            image: IMAGE.to_owned(),
            command: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
            environment: BTreeMap::new(),
            mounts: vec![],
            ports: vec![],
            cpu_millis: None,
            memory_bytes: None,
            stop_signal: None,
            privileged: false,
        }
    }

    /// Waits for the end of the instance and gives its code and reason.
    pub async fn exited(&self, key: &InstanceKey) -> (i32, String) {
        let started = Instant::now();
        loop {
            match self.state(key).await {
                InstanceState::Exited { code, reason } => return (code, reason),
                InstanceState::Created | InstanceState::Running => {}
            }
            assert!(started.elapsed() < BOUND, "{} did not end; its log: {:?}", key.instance_name(), self.log(key).await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn state(&self, key: &InstanceKey) -> InstanceState {
        self.runtime.inspect(key).await.unwrap().expect("the instance exists").state
    }

    /// Standard output and error so far.
    pub async fn log(&self, key: &InstanceKey) -> String {
        let mut chunks = self.runtime.logs(key, LogOptions { follow: false, tail_lines: None }).await.unwrap();
        let mut text = Vec::new();
        while let Some(chunk) = chunks.next().await {
            text.extend(chunk.unwrap().data);
        }
        String::from_utf8(text).unwrap()
    }

    /// Creates and starts `spec`, and waits until its script has printed `ready`.
    pub async fn start_ready(&self, spec: &InstanceSpec) -> berth_executor::runtime::KillHandle {
        self.runtime.create(spec).await.unwrap();
        let handle = self.runtime.start(&spec.key).await.unwrap();
        self.until_ready(&spec.key).await;
        handle
    }

    pub async fn until_ready(&self, key: &InstanceKey) {
        let started = Instant::now();
        while !self.log(key).await.contains("ready") {
            assert!(started.elapsed() < BOUND, "the script did not print ready: {:?}", self.state(key).await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        sweep(&self.config.cluster);
    }
}

/// Removes every container of a test's cluster, by force, from any context (a panic too).
pub fn sweep(cluster: &str) {
    let label = format!("berth.cluster={cluster}");
    let work = async move {
        let docker = engine().await;
        let filters = HashMap::from([("label".to_owned(), vec![label])]);
        let all = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        for id in docker.list_containers(Some(all)).await.unwrap_or_default().into_iter().filter_map(|one| one.id) {
            let force = RemoveContainerOptionsBuilder::default().v(true).force(true).build();
            if let Err(error) = docker.remove_container(&id, Some(force)).await {
                println!("left behind: {id}: {error}");
            }
        }
    };
    // A thread of its own, because a destructor cannot wait inside the test's runtime.
    let thread = std::thread::spawn(|| tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work));
    if thread.join().is_err() {
        println!("containers of cluster {cluster} may be left behind");
    }
}

/// A number that no other test of this machine uses.
pub fn unique() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    80_000_000_000 + u64::from(std::process::id()) * 1000 + NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Checks for a working engine and makes the images once.
async fn ready() -> Result<(), String> {
    static MADE: Mutex<bool> = Mutex::const_new(false);
    let mut made = MADE.lock().await;
    if *made {
        return Ok(());
    }
    let socket = socket();
    let docker = Docker::connect_with_unix(socket.to_str().unwrap(), 120, bollard::API_DEFAULT_VERSION);
    let docker = docker.map_err(|error| format!("no Docker at {}: {error}", socket.display()))?;
    docker.ping().await.map_err(|error| format!("no Docker answers at {}: {error}", socket.display()))?;
    if !Path::new(BUSYBOX).exists() {
        return Err(format!("{BUSYBOX} is missing: install it (Debian: busybox-static)"));
    }
    let docker = docker.negotiate_version().await.unwrap();
    import(&docker, IMAGE, vec![]).await;
    import(&docker, ENTRY_IMAGE, vec!["ENTRYPOINT [\"/bin/echo\", \"entry\"]".to_owned(), "CMD [\"default\"]".to_owned()]).await;
    *made = true;
    Ok(())
}

/// Makes `image` from the machine's own static busybox unless it is there.
async fn import(docker: &Docker, image: &str, changes: Vec<String>) {
    let root = tempfile::tempdir().unwrap();
    for folder in ["bin", "proc", "dev", "etc", "tmp", "mnt"] {
        std::fs::create_dir(root.path().join(folder)).unwrap();
    }
    std::fs::copy(BUSYBOX, root.path().join("bin/busybox")).unwrap();
    for applet in APPLETS {
        std::os::unix::fs::symlink("busybox", root.path().join("bin").join(applet)).unwrap();
    }
    import_folder(docker, image, root.path(), changes).await;
}

/// Makes an image with one file in it, the static program `/busybox`, unless it is there.
pub async fn bare_image(image: &str, changes: &[&str]) {
    let root = tempfile::tempdir().unwrap();
    std::fs::copy(BUSYBOX, root.path().join("busybox")).unwrap();
    import_folder(&engine().await, image, root.path(), changes.iter().map(|change| (*change).to_owned()).collect()).await;
}

async fn import_folder(docker: &Docker, image: &str, root: &Path, changes: Vec<String>) {
    if docker.inspect_image(image).await.is_ok() {
        return;
    }
    let tar = Command::new("tar").arg("-C").arg(root).args(["--owner=0", "--group=0", "-cf", "-", "."]).output().unwrap();
    assert!(tar.status.success(), "tar: {}", String::from_utf8_lossy(&tar.stderr));
    let (repository, tag) = image.split_once(':').unwrap();
    let options = CreateImageOptionsBuilder::default().from_src("-").repo(repository).tag(tag).changes(changes).build();
    let mut steps = docker.create_image(Some(options), Some(bollard::body_full(tar.stdout.into())), None);
    while let Some(step) = steps.next().await {
        step.unwrap();
    }
    docker.inspect_image(image).await.expect("the imported image is there");
}
