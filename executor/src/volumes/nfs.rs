//! Driver `nfs`: mounts an export of an NFS server. Its host cannot cut write-back; fencing is the server's (option `revoke`, done by the control nodes).

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use berth_state::noun::session::Cut;
use berth_state::noun::volume::Driver;
use berth_state::storage::{NfsOptions, StorageOptions};

use super::cut::{CutMeans, CutPlan};
use super::driver::{VolumeDriver, VolumeRequest, blocking, unmounting};
use super::error::VolumeError;
use super::place::DriverContext;
use super::{mounting, needs};

#[derive(Clone, Debug)]
pub struct NfsDriver {
    context: DriverContext,
}

impl NfsDriver {
    #[must_use]
    pub fn new(context: DriverContext) -> Self {
        Self { context }
    }

    fn options(request: &VolumeRequest) -> Result<NfsOptions, VolumeError> {
        match StorageOptions::parse(Driver::Nfs, &request.options) {
            Ok(StorageOptions::Nfs(options)) => Ok(options),
            Ok(_) => Err(VolumeError::invalid(&request.volume, "not the options of driver nfs")),
            Err((field, reason)) => Err(VolumeError::invalid(&request.volume, format!("{field}: {reason}"))),
        }
    }
}

fn probe() -> Result<(), VolumeError> {
    needs::root(Driver::Nfs)?;
    needs::program(Driver::Nfs, "mount.nfs", "nfs-common")?;
    needs::file_system(Driver::Nfs, "nfs")
}

/// As `host:path`, an IPv6 address in brackets.
fn source(options: &NfsOptions) -> String {
    if options.server.contains(':') {
        format!("[{}]:{}", options.server, options.export)
    } else {
        format!("{}:{}", options.server, options.export)
    }
}

fn arguments(options: &NfsOptions, point: &Path) -> Vec<String> {
    // Its own superblock: an unmount then flushes and ends this volume, and no cache is shared with another mount of the same export.
    let list = mounting::joined(&["rw", "nosharecache", "noatime"], &options.mount_options);
    let words = ["-n", "-t", "nfs", "-o"].map(str::to_owned);
    words.into_iter().chain([list, source(options), mounting::text(point)]).collect()
}

fn mount(request: &VolumeRequest, options: &NfsOptions, point: &Path) -> Result<PathBuf, VolumeError> {
    probe()?;
    if let Some(mount) = mounting::present(request, point)? {
        let own = mount.file_system.starts_with("nfs") && mount.source == source(options);
        return if own { Ok(point.to_owned()) } else { Err(mounting::foreign(request, &mount, "this export")) };
    }
    mounting::make_point(request, point)?;
    mounting::mount_by(request, "mount", &arguments(options, point), point).map(|mount| mount.point)
}

#[async_trait]
impl VolumeDriver for NfsDriver {
    fn driver(&self) -> Driver {
        Driver::Nfs
    }

    fn cut_kind(&self) -> Cut {
        Cut::None
    }

    async fn probe(&self) -> Result<(), VolumeError> {
        let asked = tokio::task::spawn_blocking(probe).await;
        asked.unwrap_or_else(|join| Err(VolumeError::Needs { driver: Driver::Nfs, what: join.to_string(), remedy: String::new() }))
    }

    fn cut_plan(&self, request: &VolumeRequest) -> Result<CutPlan, VolumeError> {
        let (volume, token) = (request.volume.to_string(), request.token.0);
        Ok(CutPlan { volume, token, mount_point: Some(request.mount_point(&self.context)), means: CutMeans::None })
    }

    async fn attach(&self, request: &VolumeRequest) -> Result<(), VolumeError> {
        Self::options(request).map(drop)
    }

    async fn mount(&self, request: &VolumeRequest) -> Result<PathBuf, VolumeError> {
        let (options, owned, point) = (Self::options(request)?, request.clone(), request.mount_point(&self.context));
        blocking(&request.volume, "the mount", mounting::MOUNT * 2, move || mount(&owned, &options, &point)).await?
    }

    async fn unmount(&self, request: &VolumeRequest) -> Result<(), VolumeError> {
        let (plan, owned, point) = (self.cut_plan(request)?, request.clone(), request.mount_point(&self.context));
        unmounting(&request.volume, move || mounting::unmount(&owned, &plan, &point)).await?
    }

    async fn detach(&self, _: &VolumeRequest) -> Result<(), VolumeError> {
        Ok(())
    }

    async fn snapshot(&self, request: &VolumeRequest, _: &str) -> Result<(), VolumeError> {
        Err(VolumeError::Unsupported { volume: request.volume.clone(), driver: Driver::Nfs, operation: "take a snapshot" })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test")]
mod tests {
    use super::*;
    use crate::testing::request_with;

    fn options(given: &[(&str, &str)]) -> NfsOptions {
        NfsDriver::options(&request_with("pg", given, 5)).unwrap()
    }

    #[test]
    fn the_export_is_mounted_with_its_options_after_ours() {
        let options = options(&[("server", "nas"), ("export", "/pg"), ("mount-options", "vers=4.2,hard")]);
        let expected = ["-n", "-t", "nfs", "-o", "rw,nosharecache,noatime,vers=4.2,hard", "nas:/pg", "/run/m/pg-5"];
        assert_eq!(arguments(&options, Path::new("/run/m/pg-5")), expected);
    }

    #[test]
    fn an_address_with_colons_goes_in_brackets() {
        assert_eq!(source(&options(&[("server", "fd00::1"), ("export", "/pg")])), "[fd00::1]:/pg");
    }

    #[test]
    fn what_this_host_lacks_is_said() {
        // On a machine that has all of it there is nothing to say.
        if let Err(error) = probe() {
            let text = error.to_string();
            assert!(text.contains("nfs") || text.contains("root"), "{text}");
        }
    }
}
