//! The fence of driver `cephfs` on a real Ceph of one node: the executor's driver mounts, the control node's fence cuts, and the storage is asked what came
//! of it. Run by `make test-ceph` only (feature `ceph`); needs root, FUSE and Ceph's packages, and fails without them.

#![allow(clippy::unwrap_used, reason = "test")]

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use berth_executor::volumes::cephfs::CephfsDriver;
use berth_executor::volumes::cut::servers_of;
use berth_executor::volumes::{DriverContext, Still, VolumeDriver, VolumeRequest, mountinfo};
use berth_jepsen::lab::{Ceph, wait_until};
use berth_raft::fencing::storage::{Cut, RealStorage, StorageFence};
use berth_state::ids::{ContainerId, HostId, LeaseId, Token, VolumeId};
use berth_state::noun::volume::{Driver, Takeover, VolumeSpec};
use rustix::mount::UnmountFlags;
use rustix::process::{Signal, kill_process};

const ADDRESS: &str = "127.0.0.1";
const LONG: Duration = Duration::from_secs(60);
/// Far beyond the moment at which a thawed client would write back.
const QUIET: Duration = Duration::from_secs(8);
const CLIENT: &str = "ceph-fuse";

/// Takes the mounts below a folder apart, also when the test fails. Dropped before the cluster: a client without one hangs.
struct Clients(PathBuf);

impl Drop for Clients {
    fn drop(&mut self) {
        let mounts = mountinfo::all().unwrap_or_default();
        for mount in mounts.iter().rev().filter(|mount| mount.point.starts_with(&self.0)) {
            for server in servers_of(CLIENT, &mount.point) {
                let _ = kill_process(server, Signal::KILL);
            }
            let _ = rustix::mount::unmount(&mount.point, UnmountFlags::DETACH);
        }
    }
}

struct Rig {
    clients: Clients,
    ceph: Ceph,
    options: BTreeMap<String, String>,
    _folder: tempfile::TempDir,
}

impl Rig {
    fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("berth-ceph-").tempdir().unwrap();
        let path = folder.path().canonicalize().unwrap();
        let clients = Clients(path.clone());
        let ceph = timed("Ceph is up", || Ceph::start(&path.join("ceph"), ADDRESS).unwrap());
        let (conf, ring) = (ceph.conf().to_str().unwrap().to_owned(), ceph.keyring().to_str().unwrap().to_owned());
        let given = [("conf", &conf), ("keyring", &ring), ("admin-conf", &conf), ("admin-keyring", &ring)];
        let mut options: BTreeMap<String, String> = given.into_iter().map(|(key, value)| (key.to_owned(), value.clone())).collect();
        options.insert("fence".to_owned(), "evict".to_owned());
        Self { clients, ceph, options, _folder: folder }
    }

    /// Each token on a host of its own.
    fn context(&self, token: u64) -> DriverContext {
        DriverContext::below(&self.clients.0.join(format!("run-{token}")), host(token))
    }

    fn driver(&self, token: u64) -> CephfsDriver {
        CephfsDriver::new(self.context(token))
    }

    fn request(&self, token: u64) -> VolumeRequest {
        VolumeRequest {
            volume: volume(),
            options: self.options.clone(),
            host: host(token),
            container: ContainerId::new("db").unwrap(),
            lease: LeaseId(token),
            token: Token(token),
            read_only: false,
            still: Still::always(),
        }
    }

    async fn mount(&self, token: u64) -> PathBuf {
        let start = now();
        let point = self.driver(token).mount(&self.request(token)).await.unwrap();
        said(start, &format!("mount of token {token}"));
        point
    }

    async fn unmount(&self, token: u64) {
        self.driver(token).unmount(&self.request(token)).await.unwrap();
    }

    async fn fence(&self, token: u64) -> Result<String, String> {
        let start = now();
        let spec = VolumeSpec {
            driver: Driver::Cephfs,
            options: self.options.clone(),
            takeover: Takeover::AfterFence,
            coherent: false,
            lock_delay_ms: 0,
        };
        let cut = Cut { volume: volume(), spec, host: host(token), address: ADDRESS.to_owned(), token: Token(token) };
        let result = RealStorage.cut(&cut).await;
        said(start, &format!("fence of token {token}: {result:?}"));
        result
    }

    fn signal(&self, token: u64, signal: Signal) {
        let servers = servers_of(CLIENT, &self.context(token).mount_point(&volume(), Token(token)));
        assert_eq!(servers.len(), 1);
        kill_process(servers[0], signal).unwrap();
    }
}

fn volume() -> VolumeId {
    VolumeId::new("pg").unwrap()
}

fn host(token: u64) -> HostId {
    HostId::new(&format!("h{token}")).unwrap()
}

#[allow(clippy::disallowed_methods, reason = "a measure for the test's output")]
fn now() -> Instant {
    Instant::now()
}

fn said(start: Instant, what: &str) {
    println!("{:>7.2}s {what}", start.elapsed().as_secs_f64());
}

fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let start = now();
    let result = work();
    said(start, what);
    result
}

/// Writes numbered lines, each synced, until that fails; then tries what else a late writer may do. Leaves a file dirty from the start.
const WRITER: &str = r#"
import os, sys
point, token, report = sys.argv[1], sys.argv[2], open(sys.argv[3], "w", 1)
dirty = os.open(point + "/dirty", os.O_CREAT | os.O_WRONLY)
os.write(dirty, b"d" * (4 << 20))
log = os.open(point + "/log", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
number = 0
def attempt(what, act):
    try:
        act()
        report.write("done %s\n" % what)
    except OSError as error:
        report.write("failed %s: %s\n" % (what, error))
try:
    while True:
        os.write(log, b"%s %d\n" % (token.encode(), number + 1))
        os.fdatasync(log)
        number += 1
        report.write("%d\n" % number)
except OSError as error:
    report.write("failed log: %s\n" % error)
attempt("write to the dirty file", lambda: (os.write(dirty, b"late"), os.fsync(dirty)))
attempt("new file", lambda: open(point + "/late", "w").close())
report.write("end\n")
"#;

/// A process of its own: a program that has files of a frozen client open cannot even start another one, because that closes them there, which waits.
struct Writer {
    child: Child,
    report: PathBuf,
}

impl Writer {
    fn start(rig: &Rig, point: &Path, token: u64) -> Self {
        let report = rig.clients.0.join(format!("report-{token}"));
        let mut command = Command::new("python3");
        let child = command.args(["-c", WRITER]).arg(point).arg(token.to_string()).arg(&report).stdin(Stdio::null()).spawn().unwrap();
        Self { child, report }
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.report).unwrap_or_default()
    }

    fn synced(&self) -> u64 {
        self.text().lines().filter_map(|line| line.parse().ok()).max().unwrap_or(0)
    }

    fn gets_beyond(&self, number: u64) {
        wait_until("the writer to go on", LONG, || Ok(self.synced() > number)).unwrap();
        assert!(!self.text().contains("failed"), "the writer has failed");
    }

    /// All it tried after the fence failed.
    fn has_failed(&self) {
        wait_until("the writer to end", LONG, || Ok(self.text().ends_with("end\n"))).unwrap();
        let text = self.text();
        let said: Vec<&str> = text.lines().filter(|line| line.starts_with("failed") || line.starts_with("done")).collect();
        println!("         {}", said.join("\n         "));
        assert!(said.len() == 3 && said.iter().all(|line| line.starts_with("failed")));
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Not waited for: it may hang in a client that is killed next.
        let _ = self.child.kill();
    }
}

fn line(token: u64, number: u64) -> String {
    format!("{token} {number}\n")
}

fn lines(token: u64, up_to: u64) -> String {
    (1..=up_to).map(|number| line(token, number)).collect()
}

/// What a client finds that has nothing cached.
async fn stored(rig: &Rig, token: u64) -> (String, Vec<u8>) {
    let point = rig.mount(token).await;
    let found = (fs::read_to_string(point.join("log")).unwrap(), fs::read(point.join("dirty")).unwrap_or_default());
    rig.unmount(token).await;
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fenced_client_never_writes_again_and_the_next_holder_does() {
    let rig = Rig::new();

    // The control: without a fence, a frozen client writes again when it is thawed. A fence that does nothing is seen below by the same eyes.
    let point = rig.mount(4).await;
    let writer = Writer::start(&rig, &point, 4);
    writer.gets_beyond(3);
    rig.signal(4, Signal::STOP);
    rig.signal(4, Signal::CONT);
    writer.gets_beyond(writer.synced() + 3);
    // The fence of a live client, that is not frozen.
    rig.fence(4).await.unwrap();
    writer.has_failed();
    rig.driver(4).cut(&rig.request(4)).await.unwrap();

    let point = rig.mount(5).await;
    fs::remove_file(point.join("log")).unwrap();
    let writer = Writer::start(&rig, &point, 5);
    writer.gets_beyond(20);
    rig.signal(5, Signal::STOP);
    let synced = writer.synced();
    rig.fence(5).await.unwrap();

    // The next holder, while the old one is frozen.
    let next = rig.mount(6).await;
    let log = fs::read_to_string(next.join("log")).unwrap();
    assert!(log.starts_with(&lines(5, synced)), "what was synced is there: {synced} lines");
    fs::write(next.join("log"), line(6, 1)).unwrap();
    File::open(next.join("log")).unwrap().sync_all().unwrap();
    fs::write(next.join("dirty"), "of token 6").unwrap();
    File::open(next.join("dirty")).unwrap().sync_all().unwrap();

    rig.signal(5, Signal::CONT);
    writer.has_failed();
    assert!(!next.join("late").exists());
    tokio::time::sleep(QUIET).await;

    // The same token once more does no harm to the next one.
    assert!(rig.fence(5).await.unwrap().starts_with("no client is mounted at pg-5"));
    OpenOptions::new()
        .append(true)
        .open(next.join("log"))
        .and_then(|mut file| file.write_all(line(6, 2).as_bytes()).and_then(|()| file.sync_all()))
        .unwrap();
    assert_eq!(stored(&rig, 7).await, (lines(6, 2), b"of token 6".to_vec()), "read by a client without a cache");
    rig.driver(5).cut(&rig.request(5)).await.unwrap();
    rig.unmount(6).await;
    let blocked = rig.ceph.order(&["osd", "blocklist", "ls"]).unwrap();
    println!("         {}", blocked.replace('\n', "\n         "));
}
