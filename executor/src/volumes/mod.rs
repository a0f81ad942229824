//! Volume drivers: how a volume becomes a directory on this host, and how a dead holder is kept from it. Called by the steps of a workload, under a live
//! lease only. A driver decides nothing about leases.
//!
//! - [`driver`]: what a driver is; [`error`]; [`place`]: where drivers mount; [`drivers`] makes them all.
//! - [`path`], [`image`], [`nfs`], [`glusterfs`], [`cephfs`], [`exec`]: the drivers.
//! - [`cut`]: how write-back is cut at the deadline, by somebody who has neither driver nor configuration; [`sweep`]: mounts that nobody holds any more.
//! - [`fence_file`], [`heartbeat`], [`birth`]: what Berth keeps on the volume itself, in `.berth`; for every driver alike.
//! - `mounting`, `fuse_mount`, [`loop_device`], [`mountinfo`], [`program`], `needs`, [`system`]: what drivers are made of.

pub mod birth;
pub mod cephfs;
pub mod cut;
pub mod driver;
pub mod error;
pub mod exec;
pub mod fence_file;
mod fuse_mount;
pub mod glusterfs;
pub mod heartbeat;
pub mod image;
pub mod loop_device;
pub mod mountinfo;
mod mounting;
mod needs;
pub mod nfs;
pub mod path;
pub mod place;
pub mod program;
pub mod sweep;
pub mod system;

use std::collections::BTreeMap;
use std::sync::Arc;

use berth_state::noun::volume::Driver;

pub use cut::{CutError, CutMeans, CutPlan, CutReport, cut_now, unmount_now};
pub use driver::{Still, VolumeDriver, VolumeRequest};
pub use error::VolumeError;
pub use place::DriverContext;

/// All drivers. Which of them work on this host their probes say.
#[must_use]
pub fn drivers(context: &DriverContext) -> BTreeMap<Driver, Arc<dyn VolumeDriver>> {
    let all: [Arc<dyn VolumeDriver>; 6] = [
        Arc::new(path::PathDriver),
        Arc::new(image::ImageDriver::new(context.clone())),
        Arc::new(nfs::NfsDriver::new(context.clone())),
        Arc::new(glusterfs::GlusterfsDriver::new(context.clone())),
        Arc::new(cephfs::CephfsDriver::new(context.clone())),
        Arc::new(exec::ExecDriver::new(context.clone())),
    ];
    all.into_iter().map(|driver| (driver.driver(), driver)).collect()
}
