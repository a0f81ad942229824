//! Driver `image` on real loop devices, and its cut on real dirty pages. Needs root, loop devices and the file systems' programs; skipped with a printed reason
//! where they are missing. Everything is unmounted afterwards, also after a failure.
#![allow(clippy::unwrap_used, reason = "test")]

mod volume_support;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::Path;

use berth_executor::volumes::image::ImageDriver;
use berth_executor::volumes::{
    CutError, CutMeans, CutPlan, CutReport, VolumeDriver, VolumeError, VolumeRequest, cut_now, sweep, unmount_now,
};
use berth_executor::volumes::{Still, loop_device, mountinfo, system};
use volume_support::{Running, Scratch, eventually, host, request};

const EXT4: &[&str] = &["/dev/loop-control", "/usr/sbin/mkfs.ext4"];
const XFS: &[&str] = &["/dev/loop-control", "/usr/sbin/mkfs.xfs"];

struct Rig {
    scratch: Scratch,
    driver: ImageDriver,
    file_system: &'static str,
    size: &'static str,
}

impl Rig {
    fn new(test: &str, file_system: &'static str) -> Option<Self> {
        let (needs, size) = if file_system == "xfs" { (XFS, "320M") } else { (EXT4, "160M") };
        let scratch = Scratch::new(test, needs)?;
        File::create(scratch.path(".berth-images")).unwrap();
        let driver = ImageDriver::new(scratch.context.clone());
        Some(Self { scratch, driver, file_system, size })
    }

    fn request(&self, token: u64) -> VolumeRequest {
        let file = self.scratch.text("pg.img");
        request(&[("file", &file), ("fs", self.file_system), ("size", self.size)], token)
    }

    async fn mounted(&self, token: u64) -> std::path::PathBuf {
        let request = self.request(token);
        self.driver.attach(&request).await.unwrap();
        self.driver.mount(&request).await.unwrap()
    }

    async fn released(&self, token: u64) {
        self.driver.unmount(&self.request(token)).await.unwrap();
        self.driver.detach(&self.request(token)).await.unwrap();
    }

    fn sum(&self) -> u32 {
        let mut file = File::open(self.scratch.path("pg.img")).unwrap();
        let (mut hasher, mut buffer) = (crc32fast::Hasher::new(), vec![0; 1 << 20]);
        loop {
            match file.read(&mut buffer).unwrap() {
                0 => return hasher.finalize(),
                n => hasher.update(&buffer[..n]),
            }
        }
    }

    fn attached(&self) -> usize {
        loop_device::over(&self.scratch.path("pg.img")).unwrap().len()
    }
}

/// A file that is synced, then writers whose pages stay dirty, killed in the midst of it.
fn kill_writers(point: &Path) {
    let mut synced = File::create(point.join("synced")).unwrap();
    synced.write_all(b"committed").unwrap();
    synced.sync_all().unwrap();
    File::open(point).unwrap().sync_all().unwrap();
    let script = |n: u32| {
        format!("i=0; while :; do dd if=/dev/urandom of={}/dirty-{n}-$i bs=64k count=8 2>/dev/null; i=$((i+1)); done", point.display())
    };
    let mut writers = [1, 2].map(|n| Running::shell(&script(n)));
    eventually("dirty pages", || fs::read_dir(point).unwrap().count() > 24);
    for writer in &mut writers {
        writer.kill();
    }
}

/// What a flusher thread of the kernel would do within half a minute.
fn write_back() {
    rustix::fs::sync();
}

async fn nothing_is_written_after_the_cut(file_system: &'static str) {
    let Some(rig) = Rig::new("nothing_is_written_after_the_cut", file_system) else { return };
    let point = rig.mounted(7).await;
    kill_writers(&point);
    let plan = rig.driver.cut_plan(&rig.request(7)).unwrap();
    assert_eq!(cut_now(&plan).unwrap(), CutReport::ShutDown);
    let after_cut = rig.sum();
    write_back();
    assert_eq!(rig.sum(), after_cut, "written after the cut");
    assert!(fs::write(point.join("late"), "x").is_err(), "a write after the cut");
    assert_eq!(cut_now(&plan).unwrap(), CutReport::ShutDown, "a second cut");
    unmount_now(&plan).unwrap();
    unmount_now(&plan).unwrap();
    assert_eq!((rig.sum(), rig.attached()), (after_cut, 0), "written by the unmount, or still attached");
    // The next holder finds what was synced.
    let point = rig.mounted(8).await;
    assert_eq!(fs::read(point.join("synced")).unwrap(), b"committed");
    fs::write(point.join("next"), "x").unwrap();
    rig.released(8).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_to_an_ext4_image_after_the_cut() {
    nothing_is_written_after_the_cut("ext4").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_to_an_xfs_image_after_the_cut() {
    nothing_is_written_after_the_cut("xfs").await;
}

/// The control: without the cut the very same check sees late writes, so it can fail.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_cut_the_dead_still_write() {
    for file_system in ["ext4", "xfs"] {
        let Some(rig) = Rig::new("without_the_cut_the_dead_still_write", file_system) else { return };
        let point = rig.mounted(7).await;
        kill_writers(&point);
        let after_death = rig.sum();
        write_back();
        assert_ne!(rig.sum(), after_death, "{file_system}: this machine writes nothing back, so the other tests prove nothing");
        rig.released(7).await;
    }
}

/// Commits the journal, and leaves the blocks themselves dirty.
fn commit_metadata(point: &Path) {
    for n in 0..2_000 {
        File::create(point.join(format!("f{n}"))).unwrap();
    }
    File::open(point.join("f0")).unwrap().sync_all().unwrap();
}

/// A journal's committed metadata sits in the block device's cache: what the cut brings out itself would otherwise come later.
#[tokio::test(flavor = "multi_thread")]
async fn metadata_that_the_journal_has_committed_is_not_written_later() {
    let Some(rig) = Rig::new("metadata_that_the_journal_has_committed_is_not_written_later", "ext4") else { return };
    let point = rig.mounted(7).await;
    commit_metadata(&point);
    cut_now(&rig.driver.cut_plan(&rig.request(7)).unwrap()).unwrap();
    let after_cut = rig.sum();
    write_back();
    assert_eq!(rig.sum(), after_cut, "metadata written after the cut");
    unmount_now(&rig.driver.cut_plan(&rig.request(7)).unwrap()).unwrap();
    assert_eq!(rig.sum(), after_cut, "metadata written by the unmount");
}

/// The control for that: the shutdown by itself does not stop it.
#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_alone_leaves_metadata_to_be_written_later() {
    let Some(rig) = Rig::new("a_shutdown_alone_leaves_metadata_to_be_written_later", "ext4") else { return };
    let point = rig.mounted(7).await;
    commit_metadata(&point);
    system::shut_down(File::open(&point).unwrap().as_fd()).unwrap();
    let after_shutdown = rig.sum();
    write_back();
    assert_ne!(rig.sum(), after_shutdown, "nothing was left to be written, so the test before proves nothing");
    unmount_now(&rig.driver.cut_plan(&rig.request(7)).unwrap()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_end_keeps_everything() {
    let Some(rig) = Rig::new("a_clean_end_keeps_everything", "ext4") else { return };
    let point = rig.mounted(7).await;
    fs::write(point.join("unsynced"), vec![7; 1 << 20]).unwrap();
    rig.released(7).await;
    assert_eq!(rig.attached(), 0);
    assert!(!point.exists(), "the mount point stays");
    let point = rig.mounted(8).await;
    assert_eq!(fs::read(point.join("unsynced")).unwrap(), vec![7; 1 << 20]);
    rig.released(8).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_executor_takes_its_mount_over_and_a_repeat_changes_nothing() {
    let Some(rig) = Rig::new("a_later_executor_takes_its_mount_over", "ext4") else { return };
    let point = rig.mounted(7).await;
    let before = mountinfo::all().unwrap();
    let later = ImageDriver::new(rig.scratch.context.clone());
    later.attach(&rig.request(7)).await.unwrap();
    assert_eq!(later.mount(&rig.request(7)).await.unwrap(), point);
    assert_eq!(mountinfo::all().unwrap().len(), before.len());
    for _ in 0..2 {
        later.unmount(&rig.request(7)).await.unwrap();
        later.detach(&rig.request(7)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_attach_on_the_same_host_is_refused() {
    let Some(rig) = Rig::new("a_second_attach_on_the_same_host_is_refused", "ext4") else { return };
    rig.mounted(7).await;
    let error = rig.driver.mount(&rig.request(8)).await.unwrap_err();
    assert!(matches!(error, VolumeError::AttachedTwice { .. }), "{error}");
    // By another name of the same file, too.
    fs::hard_link(rig.scratch.path("pg.img"), rig.scratch.path("other.img")).unwrap();
    let other = request(&[("file", &rig.scratch.text("other.img"))], 9);
    let error = rig.driver.mount(&other).await.unwrap_err();
    assert!(matches!(error, VolumeError::AttachedTwice { .. }), "{error}");
    rig.released(7).await;
    rig.mounted(8).await;
    rig.released(8).await;
}

/// Several hosts on one kernel, as the lab has them: a frozen host's device does not keep the next holder out; its lease does.
#[tokio::test(flavor = "multi_thread")]
async fn another_host_of_this_kernel_is_not_kept_out_by_the_loop_device() {
    for file_system in ["ext4", "xfs"] {
        let Some(rig) = Rig::new("another_host_of_this_kernel_is_not_kept_out", file_system) else { return };
        rig.mounted(7).await;
        cut_now(&rig.driver.cut_plan(&rig.request(7)).unwrap()).unwrap();
        let other = ImageDriver::new(rig.scratch.of_host("h2"));
        let request = VolumeRequest { host: host("h2"), ..rig.request(8) };
        other.mount(&request).await.unwrap();
        other.unmount(&request).await.unwrap();
        unmount_now(&rig.driver.cut_plan(&rig.request(7)).unwrap()).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_made_only_where_it_is_allowed_and_once() {
    let Some(rig) = Rig::new("an_image_is_made_only_where_it_is_allowed_and_once", "ext4") else { return };
    fs::remove_file(rig.scratch.path(".berth-images")).unwrap();
    let error = rig.driver.attach(&rig.request(7)).await.unwrap_err().to_string();
    assert!(error.contains(".berth-images"), "{error}");
    File::create(rig.scratch.path(".berth-images")).unwrap();
    rig.driver.attach(&rig.request(7)).await.unwrap();
    fs::remove_file(rig.scratch.path("pg.img")).unwrap();
    let error = rig.driver.attach(&rig.request(8)).await.unwrap_err().to_string();
    assert!(error.contains("made before") && !rig.scratch.path("pg.img").exists(), "{error}");
    // Without a size nothing is made at all.
    let absent = request(&[("file", &rig.scratch.text("absent.img"))], 9);
    assert!(matches!(rig.driver.attach(&absent).await, Err(VolumeError::NotThere { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_of_another_size_is_neither_grown_nor_used() {
    let Some(rig) = Rig::new("an_image_of_another_size_is_neither_grown_nor_used", "ext4") else { return };
    rig.driver.attach(&rig.request(7)).await.unwrap();
    let before = rig.sum();
    let larger = request(&[("file", &rig.scratch.text("pg.img")), ("size", "1G")], 8);
    let error = rig.driver.attach(&larger).await.unwrap_err().to_string();
    assert!(error.contains("not the stated size"), "{error}");
    assert_eq!(rig.sum(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_image_is_not_mounted() {
    let Some(rig) = Rig::new("a_damaged_image_is_not_mounted", "ext4") else { return };
    fs::write(rig.scratch.path("pg.img"), vec![0xa5; 32 << 20]).unwrap();
    let damaged = request(&[("file", &rig.scratch.text("pg.img"))], 7);
    let error = rig.driver.mount(&damaged).await.unwrap_err().to_string();
    assert!(error.contains("damaged"), "{error}");
    assert_eq!(rig.attached(), 0, "its loop device stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unmount_that_leaves_the_file_system_alive_is_no_unmount() {
    let Some(rig) = Rig::new("an_unmount_that_leaves_the_file_system_alive_is_no_unmount", "ext4") else { return };
    rig.mounted(7).await;
    // A namespace whose copy hears of no unmount.
    let mut pin = Running::shell("exec unshare --mount --propagation private sleep 1000");
    eventually("a private copy of the mounts", || {
        let own = fs::read_link("/proc/self/ns/mnt").unwrap();
        fs::read_link(format!("/proc/{}/ns/mnt", pin.0.id())).is_ok_and(|theirs| theirs != own)
            && fs::read_to_string(format!("/proc/{}/comm", pin.0.id())).is_ok_and(|comm| comm.trim() == "sleep")
    });
    let error = rig.driver.unmount(&rig.request(7)).await.unwrap_err();
    let text = format!("{error}: {}", std::error::Error::source(&error).unwrap());
    assert!(text.contains("still in use") && text.contains("sleep"), "{text}");
    pin.kill();
    rig.released(7).await;
    assert_eq!(rig.attached(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unmount_reaches_instances_that_have_a_slave_copy_of_the_mounts() {
    let Some(rig) = Rig::new("an_unmount_reaches_instances_that_have_a_slave_copy", "ext4") else { return };
    rig.mounted(7).await;
    let slave = Running::shell("exec unshare --mount --propagation slave sleep 1000");
    eventually("a slave copy of the mounts", || {
        fs::read_to_string(format!("/proc/{}/comm", slave.0.id())).is_ok_and(|comm| comm.trim() == "sleep")
    });
    rig.released(7).await;
    assert_eq!(rig.attached(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mount_that_nobody_holds_any_more_is_cut_and_taken_away() {
    let Some(rig) = Rig::new("a_mount_that_nobody_holds_any_more_is_cut_and_taken_away", "ext4") else { return };
    let point = rig.mounted(7).await;
    let mounts = &rig.scratch.context.mounts;
    let held = || [berth_state::ids::Token(7)].into();
    assert_eq!(sweep::sweep(mounts, held).unwrap(), 0);
    assert!(mountinfo::at(&point).unwrap().is_some(), "a held mount was swept");
    kill_writers(&point);
    assert_eq!(sweep::sweep(mounts, Default::default).unwrap(), 0);
    assert!(mountinfo::at(&point).unwrap().is_none() && !point.exists());
    assert_eq!(rig.attached(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_hits_nothing_but_the_mount_it_was_made_for() {
    let Some(rig) = Rig::new("a_cut_hits_nothing_but_the_mount_it_was_made_for", "ext4") else { return };
    let point = rig.mounted(7).await;
    let mut plan = rig.driver.cut_plan(&rig.request(7)).unwrap();
    plan.means = CutMeans::FileSystemShutdown { backing: rig.scratch.path("other.img") };
    assert!(matches!(cut_now(&plan), Err(CutError::AnotherMount { .. })));
    plan.means = CutMeans::FuseAbort { server: "glusterfs".to_owned() };
    assert!(matches!(cut_now(&plan), Err(CutError::AnotherMount { .. })));
    let later = CutPlan { token: 8, ..rig.driver.cut_plan(&rig.request(7)).unwrap() };
    assert!(matches!(cut_now(&later), Err(CutError::Foreign(..))));
    fs::write(point.join("alive"), "x").unwrap();
    rig.released(7).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_mount_is_taken_away_lazily_only_behind_a_cut() {
    let Some(rig) = Rig::new("a_busy_mount_is_taken_away_lazily_only_behind_a_cut", "ext4") else { return };
    let point = rig.mounted(7).await;
    let plan = rig.driver.cut_plan(&rig.request(7)).unwrap();
    let file = File::create(point.join("held")).unwrap();
    let uncut = CutPlan { means: CutMeans::None, ..plan.clone() };
    assert!(matches!(unmount_now(&uncut), Err(CutError::Busy { .. })));
    // Taken out of the tree behind the cut, and still not taken for released while the file is open.
    assert!(matches!(unmount_now(&plan), Err(CutError::NotReleased { .. })));
    assert!(mountinfo::at(&point).unwrap().is_none());
    drop(file);
    unmount_now(&plan).unwrap();
    assert_eq!(rig.attached(), 0);
}

/// A check of the file system that hangs over the deadline: the cut finds nothing mounted, and must not be content with that.
#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_is_still_at_work_is_ended_by_the_cut() {
    let Some(rig) = Rig::new("a_check_that_is_still_at_work_is_ended_by_the_cut", "ext4") else { return };
    rig.driver.attach(&rig.request(7)).await.unwrap();
    let attached = loop_device::attach(&rig.scratch.path("pg.img"), &host("h1"), 7, true).unwrap();
    let device = attached.device.path();
    // It stands for e2fsck: of its name, and with the device among its arguments.
    let script = rig.scratch.path("e2fsck");
    fs::write(&script, "#!/bin/sh\nwhile :; do dd if=/dev/urandom of=$1 bs=4k count=64 seek=1000 conv=notrunc 2>/dev/null; done\n")
        .unwrap();
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut check = Running::shell(&format!("exec {} {}", script.display(), device.display()));
    eventually("it is at work", || !berth_executor::volumes::cut::servers_of("e2fsck", &device).is_empty());
    assert_eq!(cut_now(&rig.driver.cut_plan(&rig.request(7)).unwrap()).unwrap(), CutReport::NotMounted);
    assert!(check.0.try_wait().unwrap().is_some(), "it lives");
    drop(attached);
    eventually("the device is let go of", || rig.attached() == 0);
}

/// The right is asked again between the steps of a mount, not only before it.
#[tokio::test(flavor = "multi_thread")]
async fn a_mount_that_was_frozen_past_its_right_ends_without_touching_the_image() {
    let Some(rig) = Rig::new("a_mount_that_was_frozen_past_its_right", "ext4") else { return };
    rig.driver.attach(&rig.request(7)).await.unwrap();
    let before = rig.sum();
    let over = VolumeRequest { still: Still::new(|| false), ..rig.request(7) };
    assert!(matches!(rig.driver.mount(&over).await, Err(VolumeError::NoRight { .. })));
    assert_eq!((rig.sum(), rig.attached()), (before, 0));
}

/// Storage below which the loop device would have a second cache is refused, unless that is stated.
#[tokio::test(flavor = "multi_thread")]
async fn storage_without_direct_io_is_used_only_on_the_owners_word() {
    let Some(rig) = Rig::new("storage_without_direct_io_is_used_only_on_the_owners_word", "ext4") else { return };
    let cached = rig.scratch.path("cached");
    fs::create_dir(&cached).unwrap();
    rustix::mount::mount("storage", &cached, "ramfs", rustix::mount::MountFlags::empty(), None).unwrap();
    File::create(cached.join(".berth-images")).unwrap();
    let file = cached.join("pg.img").to_str().unwrap().to_owned();
    let plain = request(&[("file", &file), ("size", "32M")], 7);
    rig.driver.attach(&plain).await.unwrap();
    let error = rig.driver.mount(&plain).await.unwrap_err().to_string();
    assert!(error.contains("direct-io=no"), "{error}");
    assert!(loop_device::over(Path::new(&file)).unwrap().is_empty(), "its loop device stays");
    let stated = request(&[("file", &file), ("size", "32M"), ("direct-io", "no")], 8);
    rig.driver.mount(&stated).await.unwrap();
    rig.driver.unmount(&stated).await.unwrap();
}
