//! A real volume: an image with its own file system on a loop device, written to when the deadline comes.

use std::path::Path;

use berth_executor::hostguard::facts::ActKind;
use berth_executor::volumes::image::ImageDriver;
use berth_executor::volumes::{CutMeans, DriverContext, Still, VolumeDriver, VolumeRequest, mountinfo};
use berth_state::ids::{ContainerId, HostId, LeaseId, Token, VolumeId};
use rustix::process::Signal;

use super::Case;
use super::bench::{Bench, Executor, Instance, eventually, pause_ms, unique};

const NEEDS: [&str; 2] = ["/dev/loop-control", "/usr/sbin/mkfs.ext4"];

pub fn cases() -> Vec<Case> {
    super::cases![a_volume_is_cut_and_unmounted_although_its_executor_was_killed]
}

fn sum(path: &Path) -> u32 {
    crc32fast::hash(&std::fs::read(path).unwrap())
}

fn a_volume_is_cut_and_unmounted_although_its_executor_was_killed() {
    if let Some(missing) = NEEDS.iter().find(|path| !Path::new(path).exists()) {
        return println!("skipped: the volume's cut, because {missing} is not there");
    }
    let bench = Bench::new();
    let token = unique();
    let host = HostId::new("h1").unwrap();
    let image = bench.folder.path().join("pg.img");
    std::fs::write(bench.folder.path().join(".berth-images"), "").unwrap();
    let driver = ImageDriver::new(DriverContext::below(bench.run.path(), host.clone()));
    let options = [("file", image.to_str().unwrap()), ("fs", "ext4"), ("size", "160M")];
    let request = VolumeRequest {
        volume: VolumeId::new("pg").unwrap(),
        options: options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        host,
        container: ContainerId::new("db").unwrap(),
        lease: LeaseId(token),
        token: Token(token),
        read_only: false,
        still: Still::always(),
    };
    let plan = driver.cut_plan(&request).unwrap();
    assert!(matches!(plan.means, CutMeans::FileSystemShutdown { .. }));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let source = runtime.block_on(async {
        driver.attach(&request).await.unwrap();
        driver.mount(&request).await.unwrap()
    });

    let script = format!("while :; do head -c 65536 /dev/urandom >> {}/data; done", source.display());
    let instance = Instance::running(&script);
    eventually("it writes", || std::fs::metadata(source.join("data")).is_ok_and(|file| file.len() > 1 << 20));
    let executor = Executor::play(&bench, token, 1_500, &instance.group, std::slice::from_ref(&plan));
    executor.signal(Signal::KILL);
    let facts = bench.verified(token);
    assert_eq!(instance.alive(), 0);
    let cut = facts.acts.iter().find(|act| act.kind == ActKind::Cut).unwrap();
    assert!(cut.ok && cut.outcome == "file system shut down", "{cut:?}");
    println!("  cut {} ms after the deadline", (cut.last_ns - facts.deadline_ns) / 1_000_000);
    let after_cut = sum(&image);
    eventually("it is unmounted", || mountinfo::at(plan.mount_point.as_deref().unwrap()).unwrap().is_none());
    pause_ms(2_000);
    assert_eq!(sum(&image), after_cut, "something was written after the cut");
    eventually("the guard is done", || {
        bench.facts(token).is_some_and(|facts| facts.acts.iter().any(|act| act.kind == ActKind::Unmount && act.ok))
    });
}
