//! Driver `path`: a directory on storage that every host mounts at the same place; option `path`. Checks that it is there and makes nothing: a missing
//! directory means that the shared storage is not mounted here, and data written beside it would be lost to the other hosts.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use berth_state::noun::session::Cut;
use berth_state::noun::volume::Driver;

use super::cut::{CutMeans, CutPlan};
use super::{VolumeDriver, VolumeError, VolumeRequest};

#[derive(Clone, Copy, Debug, Default)]
pub struct PathDriver;

impl PathDriver {
    fn unsupported(request: &VolumeRequest, operation: &'static str) -> VolumeError {
        VolumeError::Unsupported { volume: request.volume.clone(), driver: Driver::Path, operation }
    }
}

fn directory(request: &VolumeRequest) -> Result<PathBuf, VolumeError> {
    let volume = &request.volume;
    let invalid = |why: &str| VolumeError::Invalid { volume: volume.clone(), why: why.to_owned() };
    let path = PathBuf::from(request.options.get("path").ok_or_else(|| invalid("option path is missing"))?);
    if !path.is_absolute() {
        return Err(invalid("option path is not absolute"));
    }
    Ok(path)
}

fn check(request: &VolumeRequest, path: &Path) -> Result<(), VolumeError> {
    let volume = &request.volume;
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(VolumeError::Invalid { volume: volume.clone(), why: format!("{} is not a directory", path.display()) }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(VolumeError::NotThere { volume: volume.clone(), path: path.to_owned() })
        }
        Err(source) => Err(VolumeError::io(volume, "look at", path, source)),
    }
}

/// A hung network mount blocks its thread, and only its lease.
async fn blocking<R: Send + 'static>(
    request: &VolumeRequest,
    act: impl FnOnce(&VolumeRequest, &Path) -> Result<R, VolumeError> + Send + 'static,
) -> Result<R, VolumeError> {
    let path = directory(request)?;
    let (volume, owned) = (request.volume.clone(), request.clone());
    let place = path.clone();
    let done = tokio::task::spawn_blocking(move || act(&owned, &path)).await;
    done.unwrap_or_else(|join| Err(VolumeError::io(&volume, "look at", &place, std::io::Error::other(join))))
}

#[async_trait]
impl VolumeDriver for PathDriver {
    fn driver(&self) -> Driver {
        Driver::Path
    }

    fn cut_kind(&self) -> Cut {
        Cut::None
    }

    /// Whether the storage is mounted here is asked at each mount: it is each volume's own.
    async fn probe(&self) -> Result<(), VolumeError> {
        Ok(())
    }

    fn cut_plan(&self, request: &VolumeRequest) -> Result<CutPlan, VolumeError> {
        Ok(CutPlan { volume: request.volume.to_string(), token: request.token.0, mount_point: None, means: CutMeans::None })
    }

    async fn attach(&self, request: &VolumeRequest) -> Result<(), VolumeError> {
        blocking(request, check).await
    }

    async fn mount(&self, request: &VolumeRequest) -> Result<PathBuf, VolumeError> {
        blocking(request, |request, path| check(request, path).map(|()| path.to_owned())).await
    }

    /// What the dead instance left in this host's page cache is brought to the storage first: the next holder may read from another host.
    async fn unmount(&self, request: &VolumeRequest) -> Result<(), VolumeError> {
        blocking(request, |request, path| {
            let flushed = std::fs::File::open(path).and_then(|folder| rustix::fs::syncfs(&folder).map_err(Into::into));
            match flushed {
                Ok(()) => Ok(()),
                // Nothing is mounted there any more, so nothing of ours is dirty there.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
                Err(source) => Err(VolumeError::io(&request.volume, "flush", path, source)),
            }
        })
        .await
    }

    async fn detach(&self, _: &VolumeRequest) -> Result<(), VolumeError> {
        Ok(())
    }

    async fn cut(&self, request: &VolumeRequest) -> Result<(), VolumeError> {
        Err(Self::unsupported(request, "cut write-back"))
    }

    async fn snapshot(&self, request: &VolumeRequest, _: &str) -> Result<(), VolumeError> {
        Err(Self::unsupported(request, "take a snapshot"))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test")]
mod tests {
    use super::*;
    use crate::testing::volume_request;

    #[tokio::test]
    async fn a_missing_directory_is_an_error_and_is_not_made() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing");
        let request = volume_request("v1", &missing, 5);
        assert!(matches!(PathDriver.attach(&request).await, Err(VolumeError::NotThere { .. })));
        assert!(matches!(PathDriver.mount(&request).await, Err(VolumeError::NotThere { .. })));
        assert!(!missing.exists());
    }

    #[tokio::test]
    async fn a_file_is_not_a_volume() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(matches!(PathDriver.mount(&volume_request("v1", &file, 5)).await, Err(VolumeError::Invalid { .. })));
    }

    #[tokio::test]
    async fn a_directory_is_mounted_where_it_is_and_flushed_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let request = volume_request("v1", folder.path(), 5);
        assert_eq!(PathDriver.mount(&request).await.unwrap(), folder.path());
        PathDriver.unmount(&request).await.unwrap();
        PathDriver.unmount(&volume_request("v1", Path::new("/nonexistent/volume"), 5)).await.unwrap();
    }

    #[tokio::test]
    async fn what_it_cannot_do_it_says() {
        let request = volume_request("v1", Path::new("/nonexistent"), 5);
        assert!(matches!(PathDriver.cut(&request).await, Err(VolumeError::Unsupported { .. })));
        assert!(matches!(PathDriver.snapshot(&request, "s").await, Err(VolumeError::Unsupported { .. })));
        assert_eq!(PathDriver.cut_plan(&request).unwrap().mount_point, None);
    }
}
