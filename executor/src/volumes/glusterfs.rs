//! Driver `glusterfs`: a GlusterFS volume, or a directory of one, through its FUSE client. Cut by FUSE abort; the fence (auth.reject) is the control nodes'.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use berth_state::noun::session::Cut;
use berth_state::noun::volume::Driver;
use berth_state::storage::{GlusterfsOptions, StorageOptions};

use super::cut::{CutMeans, CutPlan};
use super::driver::{VolumeDriver, VolumeRequest, blocking, unmounting};
use super::error::VolumeError;
use super::fuse_mount::{self, Client};
use super::place::DriverContext;
use super::{mounting, needs};

const PROGRAM: &str = "glusterfs";

#[derive(Clone, Debug)]
pub struct GlusterfsDriver {
    context: DriverContext,
}

impl GlusterfsDriver {
    #[must_use]
    pub fn new(context: DriverContext) -> Self {
        Self { context }
    }

    fn options(request: &VolumeRequest) -> Result<GlusterfsOptions, VolumeError> {
        match StorageOptions::parse(Driver::Glusterfs, &request.options) {
            Ok(StorageOptions::Glusterfs(options)) => Ok(options),
            Ok(_) => Err(VolumeError::invalid(&request.volume, "not the options of driver glusterfs")),
            Err((field, reason)) => Err(VolumeError::invalid(&request.volume, format!("{field}: {reason}"))),
        }
    }
}

fn probe() -> Result<(), VolumeError> {
    needs::root(Driver::Glusterfs)?;
    needs::program(Driver::Glusterfs, PROGRAM, "glusterfs-client")?;
    needs::file_system(Driver::Glusterfs, "fuse")?;
    needs::device(Driver::Glusterfs, "/dev/fuse", "fuse")
}

fn arguments(options: &GlusterfsOptions, point: &Path) -> Vec<String> {
    let mut words: Vec<String> = options.servers.iter().map(|server| format!("--volfile-server={server}")).collect();
    words.push(format!("--volfile-id=/{}", options.volume));
    if options.subdir != "/" {
        words.push(format!("--subdir-mount={}", options.subdir));
    }
    words.extend(["--process-name", "fuse"].map(str::to_owned));
    // A close must not be answered before what was written is at the servers: after it the instance is taken for stopped, and the lease given back.
    words.push("--xlator-option=*-write-behind.flush-behind=off".to_owned());
    // Its own log would be named by the mount point, and grow by one file with each lease.
    words.push(format!("--log-file=/var/log/glusterfs/berth-{}.log", options.volume));
    words.extend(options.mount_options.iter().map(|option| format!("--{option}")));
    words.push(mounting::text(point));
    words
}

#[async_trait]
impl VolumeDriver for GlusterfsDriver {
    fn driver(&self) -> Driver {
        Driver::Glusterfs
    }

    fn cut_kind(&self) -> Cut {
        Cut::FuseAbort
    }

    async fn probe(&self) -> Result<(), VolumeError> {
        let asked = tokio::task::spawn_blocking(probe).await;
        asked.unwrap_or_else(|join| Err(VolumeError::Needs { driver: Driver::Glusterfs, what: join.to_string(), remedy: String::new() }))
    }

    fn cut_plan(&self, request: &VolumeRequest) -> Result<CutPlan, VolumeError> {
        let (volume, token, means) = (request.volume.to_string(), request.token.0, CutMeans::FuseAbort { server: PROGRAM.to_owned() });
        Ok(CutPlan { volume, token, mount_point: Some(request.mount_point(&self.context)), means })
    }

    async fn attach(&self, request: &VolumeRequest) -> Result<(), VolumeError> {
        Self::options(request).map(drop)
    }

    async fn mount(&self, request: &VolumeRequest) -> Result<PathBuf, VolumeError> {
        let (options, plan, owned, point) =
            (Self::options(request)?, self.cut_plan(request)?, request.clone(), request.mount_point(&self.context));
        let act = move || {
            probe()?;
            let client = Client { program: PROGRAM, file_system: "fuse.glusterfs", arguments: arguments(&options, &point) };
            fuse_mount::mount(&owned, &client, &plan, &point)
        };
        blocking(&request.volume, "the mount", mounting::MOUNT * 2, act).await?
    }

    async fn unmount(&self, request: &VolumeRequest) -> Result<(), VolumeError> {
        let (plan, owned, point) = (self.cut_plan(request)?, request.clone(), request.mount_point(&self.context));
        unmounting(&request.volume, move || mounting::unmount(&owned, &plan, &point)).await?
    }

    async fn detach(&self, _: &VolumeRequest) -> Result<(), VolumeError> {
        Ok(())
    }

    async fn snapshot(&self, request: &VolumeRequest, _: &str) -> Result<(), VolumeError> {
        Err(VolumeError::Unsupported { volume: request.volume.clone(), driver: Driver::Glusterfs, operation: "take a snapshot" })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test")]
mod tests {
    use super::*;
    use crate::testing::request_with;

    #[test]
    fn every_server_is_named_and_the_mount_point_comes_last() {
        let given = [("servers", "g1,g2"), ("volume", "pg"), ("subdir", "main/"), ("mount-options", "attribute-timeout=0")];
        let options = GlusterfsDriver::options(&request_with("pg", &given, 5)).unwrap();
        let words = arguments(&options, Path::new("/run/m/pg-5"));
        assert_eq!(words[..4], ["--volfile-server=g1", "--volfile-server=g2", "--volfile-id=/pg", "--subdir-mount=/main"]);
        assert!(words.contains(&"--attribute-timeout=0".to_owned()));
        assert_eq!(words.last().unwrap(), "/run/m/pg-5");
    }
}
