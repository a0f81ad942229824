//! A fake watchdog: a pipe with a name, whose writes are counted.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use berth_executor::hostguard::KillTarget;
use berth_executor::runtime::kill;
use berth_state::noun::session::Guard;
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};
use rustix::process::Signal;

use super::Case;
use super::bench::{Bench, Instance, eventually, in_ms, order, pause_ms, unique};

pub fn cases() -> Vec<Case> {
    super::cases![
        a_watchdog_is_petted_and_disarmed_only_at_a_clean_end,
        a_watchdog_is_petted_no_more_while_an_instance_cannot_be_verified_dead,
        a_stopped_or_killed_guard_pets_nobody_and_disarms_nothing,
        a_watchdog_that_is_not_there_leaves_a_plain_guard_that_says_so,
        a_handed_over_watchdog_is_not_disarmed,
    ]
}

struct FakeDevice {
    _folder: tempfile::TempDir,
    path: PathBuf,
    reader: File,
}

impl FakeDevice {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("watchdog");
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let nonblocking = i32::try_from(OFlags::NONBLOCK.bits()).unwrap();
        let reader = File::options().read(true).custom_flags(nonblocking).open(&path).unwrap();
        Self { _folder: folder, path, reader }
    }

    /// What was written since the last call.
    fn heard(&mut self) -> String {
        let (mut text, mut buffer) = (String::new(), [0; 1024]);
        while let Ok(read @ 1..) = self.reader.read(&mut buffer) {
            text.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
        }
        text
    }

    fn eventually_says(&mut self, what: &str) {
        let mut all = String::new();
        eventually("the device is told", || {
            all.push_str(&self.heard());
            all.contains(what)
        });
    }
}

fn a_watchdog_is_petted_and_disarmed_only_at_a_clean_end() {
    let mut device = FakeDevice::new();
    let bench = Bench::with_watchdog(&device.path, 5);
    let (client, guard) = bench.client();
    assert_eq!(client.level(), Some(Guard::Watchdog));
    assert_eq!(guard.watchdog.unwrap().timeout_ms, 5_000);
    for _ in 0..3 {
        device.eventually_says("p");
    }
    let (token, instance) = (unique(), Instance::running("sleep 1000"));
    // Petted as long as timeout and deadline allow, and again when all is dead.
    let page = bench.page(token, in_ms(20_000));
    order(&client, token, vec![instance.target()], vec![]);
    eventually("the guard has it", || bench.status().leases == 1);
    device.heard();
    device.eventually_says("p");
    page.store(in_ms(0));
    bench.verified(token);
    device.heard();
    device.eventually_says("p");
    kill::signal(guard.pid, guard.start_ticks, Signal::TERM).unwrap();
    pause_ms(500);
    assert!(!device.heard().contains('V'), "disarmed while a lease is there");
    std::fs::remove_dir_all(bench.run.lease(token)).unwrap();
    device.eventually_says("V");
    eventually("it ends", || !guard.lives().unwrap());
}

fn a_watchdog_is_petted_no_more_while_an_instance_cannot_be_verified_dead() {
    let mut device = FakeDevice::new();
    let bench = Bench::with_watchdog(&device.path, 1);
    let (client, _) = bench.client();
    let (token, instance) = (unique(), Instance::running("sleep 1000"));
    let page = bench.page(token, in_ms(3_000));
    // Nobody can say whether this one is dead.
    order(&client, token, vec![instance.target(), KillTarget::GroupNamed { text: "short".to_owned() }], vec![]);
    eventually("the guard has it", || bench.status().leases == 1);
    device.eventually_says("p");
    page.store(in_ms(0));
    eventually("it is over", || bench.status().unverified == 1);
    eventually("what can be killed is dead", || instance.alive() == 0);
    pause_ms(700);
    device.heard();
    pause_ms(1_500);
    assert_eq!(device.heard(), "", "a host whose instance may live is petted");
    assert!(bench.log().contains("the watchdog is not petted"), "{}", bench.log());
    assert_eq!(bench.facts(token).unwrap().verified_ns, None);
}

fn a_stopped_or_killed_guard_pets_nobody_and_disarms_nothing() {
    let mut device = FakeDevice::new();
    let bench = Bench::with_watchdog(&device.path, 5);
    let (_client, guard) = bench.client();
    device.eventually_says("p");
    kill::signal(guard.pid, guard.start_ticks, Signal::STOP).unwrap();
    pause_ms(200);
    device.heard();
    pause_ms(1_000);
    assert_eq!(device.heard(), "");
    kill::signal(guard.pid, guard.start_ticks, Signal::KILL).unwrap();
    eventually("it is dead", || !guard.lives().unwrap());
    assert_eq!(device.heard(), "");
}

fn a_watchdog_that_is_not_there_leaves_a_plain_guard_that_says_so() {
    let bench = Bench::with_watchdog(Path::new("/nonexistent/watchdog0"), 5);
    let (client, guard) = bench.client();
    assert_eq!((client.level(), guard.watchdog), (Some(Guard::HostProcess), None));
    assert!(bench.log().contains("no watchdog: cannot open watchdog /nonexistent/watchdog0"), "{}", bench.log());
}

fn a_handed_over_watchdog_is_not_disarmed() {
    let mut device = FakeDevice::new();
    let bench = Bench::with_watchdog(&device.path, 5);
    let (client, first) = bench.client();
    device.eventually_says("p");
    let mut next = std::process::Command::new(std::env::current_exe().unwrap());
    next.args([berth_executor::hostguard::HOST_GUARD_COMMAND, "--take-over", "--run"]).arg(bench.run.path());
    assert!(next.arg("--watchdog").arg(&device.path).status().unwrap().success());
    eventually("another guard is there", || client.ensure().unwrap().pid != first.pid);
    device.heard();
    device.eventually_says("p");
    assert!(!first.lives().unwrap());
    assert_eq!(client.level(), Some(Guard::Watchdog));
}
