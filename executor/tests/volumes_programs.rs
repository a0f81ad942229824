//! Driver `exec` with a shell program, and the cut of FUSE servers with a program that stands in for one. Needs root; skipped with a printed reason otherwise.
#![allow(clippy::unwrap_used, reason = "test")]

mod volume_support;

use std::fs;
use std::io::{self, Read};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use berth_executor::volumes::exec::ExecDriver;
use berth_executor::volumes::{
    CutError, CutMeans, CutPlan, CutReport, VolumeDriver, VolumeError, VolumeRequest, cut_now, mountinfo, unmount_now,
};
use volume_support::{Running, Scratch, eventually, request};

fn program(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A storage of tmpfs mounts, which writes down what it was asked.
const STORAGE: &str = r#"#!/bin/sh
read -r request
field() { printf '%s' "$request" | sed -n "s/.*\"$1\":\"\{0,1\}\([^\",}]*\).*/\1/p"; }
operation=$(field operation); point=$(field mount_point)
echo "$operation $(field volume) $(field token) $(field disk)" >> "$(dirname "$0")/calls"
mounted() { grep -q " $point " /proc/self/mountinfo; }
case $operation in
  mount) mounted || mount -t tmpfs storage "$point" || { echo '{"ok":false,"error":"no mount today"}'; exit 1; } ;;
  unmount) ! mounted || umount "$point" || exit 1 ;;
  snapshot) echo '{"ok":false,"error":"this storage makes no copies"}'; exit 3 ;;
  info) echo '{"ok":true,"can_cut":true,"colour":"blue"}'; exit 0 ;;
esac
echo '{"ok":true}'
"#;

struct Rig {
    scratch: Scratch,
    driver: ExecDriver,
}

impl Rig {
    fn new(test: &str, text: &str) -> Option<Self> {
        let scratch = Scratch::new(test, &[])?;
        program(&scratch.path("storage"), text);
        let driver = ExecDriver::new(scratch.context.clone());
        Some(Self { scratch, driver })
    }

    fn request(&self, cut: &str) -> VolumeRequest {
        request(&[("program", &self.scratch.text("storage")), ("cut", cut), ("opt.disk", "d1")], 7)
    }

    fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.scratch.path("calls")).unwrap_or_default();
        text.lines().map(|line| line.split(' ').next().unwrap().to_owned()).collect()
    }
}

#[tokio::test]
async fn a_program_is_called_once_for_each_operation_and_told_everything() {
    let Some(rig) = Rig::new("a_program_is_called_once_for_each_operation", STORAGE) else { return };
    let request = rig.request("yes");
    rig.driver.probe().await.unwrap();
    rig.driver.attach(&request).await.unwrap();
    let point = rig.driver.mount(&request).await.unwrap();
    assert_eq!(mountinfo::at(&point).unwrap().unwrap().file_system, "tmpfs");
    assert_eq!(rig.driver.mount(&request).await.unwrap(), point, "a repeat");
    rig.driver.unmount(&request).await.unwrap();
    rig.driver.detach(&request).await.unwrap();
    assert_eq!(rig.calls(), ["info", "create", "attach", "mount", "mount", "unmount", "detach"]);
    let first = fs::read_to_string(rig.scratch.path("calls")).unwrap();
    assert!(first.starts_with("info pg 7 d1\n"), "{first}");
    assert!(!point.exists());
}

#[tokio::test]
async fn what_the_program_says_reaches_people() {
    let Some(rig) = Rig::new("what_the_program_says_reaches_people", STORAGE) else { return };
    let error = rig.driver.snapshot(&rig.request("no"), "before").await.unwrap_err();
    let text = std::error::Error::source(&error).unwrap().to_string();
    assert!(text.contains("this storage makes no copies") && text.contains('3'), "{text}");
    let missing = request(&[("program", "/nonexistent/storage")], 7);
    let error = rig.driver.attach(&missing).await.unwrap_err();
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("/nonexistent/storage is not on this host"));
}

#[tokio::test]
async fn success_without_a_word_or_without_a_mount_is_no_success() {
    let Some(rig) = Rig::new("success_without_a_word", "#!/bin/sh\nexit 0\n") else { return };
    assert!(rig.driver.attach(&rig.request("no")).await.is_err());
    program(&rig.scratch.path("storage"), "#!/bin/sh\necho '{\"ok\":true}'\n");
    let error = rig.driver.mount(&rig.request("no")).await.unwrap_err().to_string();
    assert!(error.contains("nothing is mounted"), "{error}");
    program(&rig.scratch.path("storage"), "#!/bin/sh\necho '{\"ok\":true,\"path\":\"/nonexistent/place\"}'\n");
    let error = rig.driver.mount(&rig.request("no")).await.unwrap_err().to_string();
    assert!(error.contains("no directory"), "{error}");
}

#[tokio::test]
async fn a_volume_is_not_used_with_a_cut_that_its_program_does_not_have() {
    let Some(rig) = Rig::new("a_cut_that_its_program_does_not_have", "#!/bin/sh\necho '{\"ok\":true,\"can_cut\":false}'\n") else { return };
    let error = rig.driver.attach(&rig.request("yes")).await.unwrap_err().to_string();
    assert!(error.contains("cannot cut"), "{error}");
    rig.driver.attach(&rig.request("no")).await.unwrap();
    assert_eq!(rig.driver.cut_plan(&rig.request("no")).unwrap().means, CutMeans::None);
}

/// By the plan alone, as the host's guard does it.
#[tokio::test]
async fn a_cut_plan_calls_the_program() {
    let Some(rig) = Rig::new("a_cut_plan_calls_the_program", STORAGE) else { return };
    let request = rig.request("yes");
    let point = rig.driver.mount(&request).await.unwrap();
    let text = serde_json::to_string(&rig.driver.cut_plan(&request).unwrap()).unwrap();
    let plan: CutPlan = serde_json::from_str(&text).unwrap();
    assert_eq!(cut_now(&plan).unwrap(), CutReport::ByProgram);
    unmount_now(&plan).unwrap();
    assert!(mountinfo::at(&point).unwrap().is_none());
    assert_eq!(rig.calls(), ["mount", "cut", "unmount"]);
    program(&rig.scratch.path("storage"), "#!/bin/sh\necho '{\"ok\":false,\"error\":\"the array does not answer\"}'\n");
    assert!(matches!(cut_now(&plan), Err(CutError::Program(_))));
}

#[tokio::test]
async fn the_driver_asks_for_what_it_needs() {
    if rustix::process::geteuid().is_root() {
        return;
    }
    let driver = ExecDriver::new(berth_executor::volumes::DriverContext::below(Path::new("/nonexistent"), volume_support::host("h1")));
    assert!(matches!(driver.probe().await, Err(VolumeError::Needs { .. })));
}

/// Fills a connection with more than its peer takes, as a FUSE client does that is cut off from its storage in the midst of writing.
const SERVER: &str = "#!/bin/bash\nexec 3<>/dev/tcp/127.0.0.1/$1\nwhile :; do printf '%65536s' x >&3; done\n";

struct Server {
    running: Running,
    connection: TcpStream,
    point: PathBuf,
}

impl Server {
    /// Its name, and a mount point among its arguments, as FUSE servers have them.
    fn start(scratch: &Scratch) -> Self {
        let file = scratch.path("fakefs");
        program(&file, SERVER);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let point = scratch.context.mounts.join("pg-7");
        let script = format!("exec {} {} {}", file.display(), listener.local_addr().unwrap().port(), point.display());
        let running = Running::shell(&script);
        let (connection, _) = listener.accept().unwrap();
        let server = Self { running, connection, point };
        // Full when nothing more arrives for a while.
        let (mut last, mut same) = (0, 0);
        eventually("a full connection", || {
            let waiting = server.waiting();
            same = if waiting == last && waiting > 0 { same + 1 } else { 0 };
            last = waiting;
            same > 30
        });
        server
    }

    fn waiting(&self) -> usize {
        let mut buffer = vec![0; 64 << 20];
        rustix::net::recv(&self.connection, &mut buffer[..], rustix::net::RecvFlags::PEEK | rustix::net::RecvFlags::DONTWAIT)
            .map_or(0, |(n, _)| n)
    }

    /// All that still arrives, and how it ends.
    fn rest(&mut self) -> (usize, io::Result<()>) {
        let (mut total, mut buffer) = (0, vec![0; 1 << 20]);
        loop {
            match self.connection.read(&mut buffer) {
                Ok(0) => return (total, Ok(())),
                Ok(n) => total += n,
                Err(error) => return (total, Err(error)),
            }
        }
    }

    fn plan(&self) -> CutPlan {
        let means = CutMeans::FuseAbort { server: "fakefs".to_owned() };
        CutPlan { volume: "pg".to_owned(), token: 7, mount_point: Some(self.point.clone()), means }
    }
}

#[test]
fn what_waits_in_the_sockets_of_a_cut_server_never_reaches_the_storage() {
    let Some(scratch) = Scratch::new("what_waits_in_the_sockets_of_a_cut_server", &["/bin/bash"]) else { return };
    let mut server = Server::start(&scratch);
    let arrived = server.waiting();
    assert_eq!(cut_now(&server.plan()).unwrap(), CutReport::Aborted { servers: 1 });
    assert!(server.running.0.try_wait().unwrap().is_some(), "it lives");
    let (rest, end) = server.rest();
    assert_eq!(end.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    assert!(rest <= arrived, "{rest} bytes arrived, {arrived} were there at the cut");
    assert_eq!(cut_now(&server.plan()).unwrap(), CutReport::NotMounted);
}

/// The control: of a server that is only killed, everything still arrives.
#[test]
fn a_kill_alone_lets_the_kernel_send_the_rest() {
    let Some(scratch) = Scratch::new("a_kill_alone_lets_the_kernel_send_the_rest", &["/bin/bash"]) else { return };
    let mut server = Server::start(&scratch);
    let arrived = server.waiting();
    server.running.kill();
    let (rest, end) = server.rest();
    assert!(end.is_ok() && rest > arrived, "{rest} bytes arrived, {arrived} were there at the kill: so the test before proves nothing");
}

#[test]
fn a_server_of_another_mount_point_is_left_alone() {
    let Some(scratch) = Scratch::new("a_server_of_another_mount_point_is_left_alone", &["/bin/bash"]) else { return };
    let mut server = Server::start(&scratch);
    let other = CutPlan { token: 8, mount_point: Some(server.point.with_file_name("pg-8")), ..server.plan() };
    assert_eq!(cut_now(&other).unwrap(), CutReport::NotMounted);
    assert!(server.running.0.try_wait().unwrap().is_none(), "it was killed");
}
