//! Driver `glusterfs` against a real GlusterFS that somebody else has set up: BERTH_TEST_GLUSTERFS=SERVER/VOLUME. Skipped with a printed reason without it.
#![allow(clippy::unwrap_used, reason = "test")]

mod volume_support;

use std::fs::{self, File};
use std::io::Write;

use berth_executor::volumes::cut::servers_of;
use berth_executor::volumes::glusterfs::GlusterfsDriver;
use berth_executor::volumes::{CutReport, VolumeDriver, cut_now, mountinfo, sweep, unmount_now};
use volume_support::{Scratch, request};

struct Rig {
    scratch: Scratch,
    driver: GlusterfsDriver,
    server: String,
    volume: String,
}

impl Rig {
    fn new(test: &str) -> Option<Self> {
        let Ok(place) = std::env::var("BERTH_TEST_GLUSTERFS") else {
            println!("skipped: {test}, because BERTH_TEST_GLUSTERFS=SERVER/VOLUME is not set");
            return None;
        };
        let (server, volume) = place.split_once('/').unwrap();
        let scratch = Scratch::new(test, &["/dev/fuse"])?;
        let driver = GlusterfsDriver::new(scratch.context.clone());
        Some(Self { scratch, driver, server: server.to_owned(), volume: volume.to_owned() })
    }

    fn request(&self, token: u64) -> berth_executor::volumes::VolumeRequest {
        request(&[("servers", &self.server), ("volume", &self.volume)], token)
    }

    fn servers(&self, token: u64) -> usize {
        servers_of("glusterfs", &self.scratch.context.mounts.join(format!("pg-{token}"))).len()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_ends_all_writing_at_once_and_what_was_synced_stays() {
    let Some(rig) = Rig::new("a_cut_ends_all_writing_at_once_and_what_was_synced_stays") else { return };
    rig.driver.probe().await.unwrap();
    let point = rig.driver.mount(&rig.request(7)).await.unwrap();
    assert_eq!(rig.driver.mount(&rig.request(7)).await.unwrap(), point, "a repeat");
    assert_eq!(rig.servers(7), 1);
    let mut file = File::create(point.join("synced")).unwrap();
    file.write_all(b"committed").unwrap();
    file.sync_all().unwrap();
    let plan = rig.driver.cut_plan(&rig.request(7)).unwrap();
    assert_eq!(cut_now(&plan).unwrap(), CutReport::Aborted { servers: 1 });
    assert!(file.write_all(b"late").is_err() && File::create(point.join("late")).is_err());
    assert_eq!(cut_now(&plan).unwrap(), CutReport::Aborted { servers: 0 }, "a second cut");
    drop(file);
    unmount_now(&plan).unwrap();
    assert!(mountinfo::at(&point).unwrap().is_none() && !point.exists() && rig.servers(7) == 0);
    let point = rig.driver.mount(&rig.request(8)).await.unwrap();
    assert_eq!(fs::read(point.join("synced")).unwrap(), b"committed");
    rig.driver.unmount(&rig.request(8)).await.unwrap();
    assert_eq!(rig.servers(8), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_end_keeps_what_nobody_synced() {
    let Some(rig) = Rig::new("a_clean_end_keeps_what_nobody_synced") else { return };
    let point = rig.driver.mount(&rig.request(7)).await.unwrap();
    fs::write(point.join("large"), vec![7; 16 << 20]).unwrap();
    rig.driver.unmount(&rig.request(7)).await.unwrap();
    let point = rig.driver.mount(&rig.request(8)).await.unwrap();
    assert_eq!(fs::read(point.join("large")).unwrap(), vec![7; 16 << 20]);
    rig.driver.unmount(&rig.request(8)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mount_whose_server_died_is_made_anew_and_leftovers_go() {
    let Some(rig) = Rig::new("a_mount_whose_server_died_is_made_anew_and_leftovers_go") else { return };
    let point = rig.driver.mount(&rig.request(7)).await.unwrap();
    let server = servers_of("glusterfs", &point)[0];
    rustix::process::kill_process(server, rustix::process::Signal::KILL).unwrap();
    volume_support::eventually("the server's end", || rig.servers(7) == 0);
    let point = rig.driver.mount(&rig.request(7)).await.unwrap();
    fs::write(point.join("alive"), "x").unwrap();
    assert_eq!(sweep::sweep(&rig.scratch.context.mounts, Default::default).unwrap(), 0);
    assert!(mountinfo::at(&point).unwrap().is_none() && rig.servers(7) == 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_is_not_on_the_storage_is_an_error_and_leaves_nothing_behind() {
    let Some(rig) = Rig::new("a_directory_that_is_not_on_the_storage") else { return };
    let absent = request(&[("servers", &rig.server), ("volume", &rig.volume), ("subdir", "absent")], 7);
    let error = rig.driver.mount(&absent).await.unwrap_err();
    println!("{error}");
    assert!(mountinfo::at(&rig.scratch.context.mounts.join("pg-7")).unwrap().is_none() && rig.servers(7) == 0);
}
