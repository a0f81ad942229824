//! Driver `cephfs`: a directory of a Ceph file system through ceph-fuse. Cut by FUSE abort; the fence (evict and blocklist) is the control nodes', who find
//! the client by its mount point, which names volume and token.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use berth_state::noun::session::Cut;
use berth_state::noun::volume::Driver;
use berth_state::storage::{CephfsOptions, StorageOptions};

use super::cut::{CutMeans, CutPlan};
use super::driver::{VolumeDriver, VolumeRequest, blocking, unmounting};
use super::error::VolumeError;
use super::fuse_mount::{self, Client};
use super::place::DriverContext;
use super::{mounting, needs};

const PROGRAM: &str = "ceph-fuse";

#[derive(Clone, Debug)]
pub struct CephfsDriver {
    context: DriverContext,
}

impl CephfsDriver {
    #[must_use]
    pub fn new(context: DriverContext) -> Self {
        Self { context }
    }

    fn options(request: &VolumeRequest) -> Result<CephfsOptions, VolumeError> {
        match StorageOptions::parse(Driver::Cephfs, &request.options) {
            Ok(StorageOptions::Cephfs(options)) => Ok(options),
            Ok(_) => Err(VolumeError::invalid(&request.volume, "not the options of driver cephfs")),
            Err((field, reason)) => Err(VolumeError::invalid(&request.volume, format!("{field}: {reason}"))),
        }
    }
}

fn probe() -> Result<(), VolumeError> {
    needs::root(Driver::Cephfs)?;
    needs::program(Driver::Cephfs, PROGRAM, "ceph-fuse")?;
    needs::file_system(Driver::Cephfs, "fuse")?;
    needs::device(Driver::Cephfs, "/dev/fuse", "fuse")
}

/// Files that the options name must be on this host.
fn files(request: &VolumeRequest, options: &CephfsOptions) -> Result<(), VolumeError> {
    let missing = [&options.keyring, &options.conf].into_iter().flatten().find(|file| !Path::new(file).is_file());
    match missing {
        Some(file) => Err(VolumeError::invalid(&request.volume, format!("{file} is not on this host"))),
        None => Ok(()),
    }
}

fn arguments(options: &CephfsOptions, point: &Path) -> Vec<String> {
    let mut words = vec!["-n".to_owned(), format!("client.{}", options.client)];
    let mut pair = |flag: &str, value: &str| words.extend([flag.to_owned(), value.to_owned()]);
    if let Some(conf) = &options.conf {
        pair("-c", conf);
    }
    if !options.monitors.is_empty() {
        pair("-m", &options.monitors.join(","));
    }
    if let Some(keyring) = &options.keyring {
        pair("-k", keyring);
    }
    if options.path != "/" {
        pair("-r", &options.path);
    }
    if !options.file_system.is_empty() {
        pair("--client_fs", &options.file_system);
    }
    for option in &options.mount_options {
        pair("-o", option);
    }
    // A client that comes back after an eviction must not be let in again under its old name.
    words.push("--client_reconnect_stale=false".to_owned());
    words.push(mounting::text(point));
    words
}

#[async_trait]
impl VolumeDriver for CephfsDriver {
    fn driver(&self) -> Driver {
        Driver::Cephfs
    }

    fn cut_kind(&self) -> Cut {
        Cut::FuseAbort
    }

    async fn probe(&self) -> Result<(), VolumeError> {
        let asked = tokio::task::spawn_blocking(probe).await;
        asked.unwrap_or_else(|join| Err(VolumeError::Needs { driver: Driver::Cephfs, what: join.to_string(), remedy: String::new() }))
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
            files(&owned, &options)?;
            let client = Client { program: PROGRAM, file_system: "fuse.ceph-fuse", arguments: arguments(&options, &point) };
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
        Err(VolumeError::Unsupported { volume: request.volume.clone(), driver: Driver::Cephfs, operation: "take a snapshot" })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test")]
mod tests {
    use super::*;
    use crate::testing::request_with;

    #[test]
    fn all_options_reach_the_client() {
        let given = [
            ("monitors", "m1,m2:6789"),
            ("client", "pg"),
            ("keyring", "/etc/k"),
            ("path", "/pg"),
            ("fs", "main"),
            ("mount-options", "nonempty"),
        ];
        let options = CephfsDriver::options(&request_with("pg", &given, 5)).unwrap();
        let words = arguments(&options, Path::new("/run/m/pg-5")).join(" ");
        let expected =
            "-n client.pg -m m1,m2:6789 -k /etc/k -r /pg --client_fs main -o nonempty --client_reconnect_stale=false /run/m/pg-5";
        assert_eq!(words, expected);
    }

    #[test]
    fn a_keyring_that_is_not_here_is_said_before_any_mount() {
        let request = request_with("pg", &[("monitors", "m1"), ("keyring", "/nonexistent/keyring")], 5);
        let error = files(&request, &CephfsDriver::options(&request).unwrap()).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/keyring is not on this host"), "{error}");
    }
}
