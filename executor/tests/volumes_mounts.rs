//! The folder of mount points. Needs root; skipped with a printed reason otherwise.
#![allow(clippy::unwrap_used, reason = "test")]

mod volume_support;

use std::sync::Barrier;

use berth_executor::volumes::image::ImageDriver;
use berth_executor::volumes::{VolumeDriver, VolumeRequest, mountinfo, place};
use volume_support::{Scratch, request};

#[test]
fn the_folder_of_mount_points_is_mounted_once_whoever_comes_first() {
    let Some(scratch) = Scratch::new("the_folder_of_mount_points_is_mounted_once_whoever_comes_first", &[]) else { return };
    for round in 0..100 {
        let folder = scratch.folder.path().canonicalize().unwrap().join(format!("mounts-{round}"));
        let together = Barrier::new(8);
        std::thread::scope(|threads| {
            for _ in 0..8 {
                threads.spawn(|| {
                    together.wait();
                    place::prepare(&folder).unwrap();
                });
            }
        });
        let mounts = mountinfo::all().unwrap();
        let here: Vec<_> = mounts.iter().filter(|mount| mount.point == folder).collect();
        assert!(here.len() == 1 && here[0].shared, "round {round}: {here:?}");
    }
}

/// Many at once, as after the start of a host: none may hide another.
#[tokio::test(flavor = "multi_thread")]
async fn volumes_that_are_mounted_at_the_same_moment_do_not_hide_each_other() {
    let needs = ["/dev/loop-control", "/usr/sbin/mkfs.ext4"];
    let Some(scratch) = Scratch::new("volumes_that_are_mounted_at_the_same_moment", &needs) else { return };
    std::fs::write(scratch.path(".berth-images"), "").unwrap();
    let driver = ImageDriver::new(scratch.context.clone());
    let requests: Vec<VolumeRequest> = (0..6)
        .map(|n| {
            let file = scratch.text(&format!("v{n}.img"));
            let volume = berth_state::ids::VolumeId::new(&format!("v{n}")).unwrap();
            VolumeRequest { volume, ..request(&[("file", &file), ("size", "16M")], 20 + n) }
        })
        .collect();
    for request in &requests {
        driver.attach(request).await.unwrap();
    }
    let points = futures::future::join_all(requests.iter().map(|request| driver.mount(request))).await;
    for point in points {
        assert!(point.unwrap().join("lost+found").exists());
    }
    for request in &requests {
        driver.unmount(request).await.unwrap();
    }
}
