//! Driver `image`: a file system of its own in an image file, which lies on storage that every host sees at the same path. A loop device of our own with direct
//! I/O, so that nothing lies in a second cache, and the shutdown ioctl as its cut. Must never attach a file twice on one host, and makes a file system in
//! nothing but a file that it has just made itself.
//!
//! - `create`: the first making of the image. `check`: fsck before a mount.

mod check;
mod create;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use berth_state::noun::session::Cut;
use berth_state::noun::volume::Driver;
use berth_state::storage::{ImageFileSystem, ImageOptions, StorageOptions};
use tracing::info;

use super::cut::{CutMeans, CutPlan};
use super::driver::{VolumeDriver, VolumeRequest, blocking, unmounting};
use super::error::VolumeError;
use super::place::DriverContext;
use super::{loop_device, mountinfo, mounting, needs};

/// Making an image may mean writing all of it.
const CREATE: std::time::Duration = std::time::Duration::from_secs(3_600);
/// A check of a large file system after an unclean end takes its time.
const MOUNT: std::time::Duration = std::time::Duration::from_secs(3_600);
const DETACH: std::time::Duration = std::time::Duration::from_secs(30);

#[derive(Clone, Debug)]
pub struct ImageDriver {
    context: DriverContext,
}

impl ImageDriver {
    #[must_use]
    pub fn new(context: DriverContext) -> Self {
        Self { context }
    }

    fn options(request: &VolumeRequest) -> Result<ImageOptions, VolumeError> {
        match StorageOptions::parse(Driver::Image, &request.options) {
            Ok(StorageOptions::Image(options)) => Ok(options),
            Ok(_) => Err(VolumeError::invalid(&request.volume, "not the options of driver image")),
            Err((field, reason)) => Err(VolumeError::invalid(&request.volume, format!("{field}: {reason}"))),
        }
    }
}

/// What the driver needs for every image.
fn probe() -> Result<(), VolumeError> {
    needs::root(Driver::Image)?;
    needs::device(Driver::Image, "/dev/loop-control", "loop")?;
    needs::program(Driver::Image, "mount", "mount")?;
    of_file_system(ImageFileSystem::Ext4)
}

/// And for one of this file system.
fn of_file_system(file_system: ImageFileSystem) -> Result<(), VolumeError> {
    needs::file_system(Driver::Image, file_system.name())?;
    match file_system {
        ImageFileSystem::Ext4 => {
            needs::program(Driver::Image, "mkfs.ext4", "e2fsprogs")?;
            needs::program(Driver::Image, "e2fsck", "e2fsprogs")
        }
        ImageFileSystem::Xfs => needs::program(Driver::Image, "mkfs.xfs", "xfsprogs"),
    }
}

/// The image is there, as a file of a size that is not less than stated.
fn look(request: &VolumeRequest, options: &ImageOptions) -> Result<(), VolumeError> {
    let (volume, file) = (&request.volume, Path::new(&options.file));
    match fs::metadata(file) {
        Ok(found) if !found.is_file() => Err(VolumeError::invalid(volume, format!("{} is not a file", options.file))),
        Ok(found) if options.size_bytes.is_some_and(|size| size != found.len()) => {
            let why = format!("{} has {} bytes, not the stated size: it is not grown or shrunk by itself", options.file, found.len());
            Err(VolumeError::invalid(volume, why))
        }
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(VolumeError::NotThere { volume: volume.clone(), path: file.to_owned() })
        }
        Err(source) => Err(VolumeError::io(volume, "look at", file, source)),
    }
}

/// Refuses a file that is attached here for another token, or by somebody else.
fn attached_once(request: &VolumeRequest, options: &ImageOptions) -> Result<(), VolumeError> {
    let (volume, file) = (&request.volume, Path::new(&options.file));
    let devices = loop_device::over(file).map_err(|error| VolumeError::io(volume, "look for loop devices over", file, error))?;
    // A host of another name on this kernel is bound by its lease, as it would be on its own machine.
    let Some(other) = devices.into_iter().find(|device| !device.of_another_host(&request.host)) else { return Ok(()) };
    let holders = mountinfo::holders(other.numbers());
    let why = format!("it must be let go of first (losetup -l; mounted for {holders})");
    Err(VolumeError::AttachedTwice { volume: volume.clone(), file: file.to_owned(), device: other.path(), why })
}

fn mount(request: &VolumeRequest, options: &ImageOptions, point: &Path) -> Result<PathBuf, VolumeError> {
    probe()?;
    of_file_system(options.file_system)?;
    if let Some(mount) = mounting::present(request, point)? {
        let over = loop_device::backing_of(mount.device);
        let own = over.is_some_and(|over| loop_device::same_name(&over, Path::new(&options.file)))
            && mount.file_system == options.file_system.name();
        return if own { Ok(point.to_owned()) } else { Err(mounting::foreign(request, &mount, "this image")) };
    }
    look(request, options)?;
    attached_once(request, options)?;
    mounting::make_point(request, point)?;
    let file = Path::new(&options.file);
    let failed = |error: io::Error| {
        if error.kind() == io::ErrorKind::Unsupported {
            return VolumeError::invalid(&request.volume, format!("{error}; state direct-io=no to do without"));
        }
        VolumeError::io(&request.volume, "attach a loop device over", file, error)
    };
    let attached = loop_device::attach(file, &request.host, request.token.0, options.direct_io).map_err(failed)?;
    // Two that came at the same time see each other now: both refuse.
    let count = loop_device::over(file).map_err(failed)?.into_iter().filter(|device| !device.of_another_host(&request.host)).count();
    if count != 1 {
        let why = "somebody else attached it at the same moment".to_owned();
        let device = attached.device.path();
        return Err(VolumeError::AttachedTwice { volume: request.volume.clone(), file: file.to_owned(), device, why });
    }
    let device = attached.device.path();
    if options.file_system == ImageFileSystem::Ext4 {
        request.still_may()?;
        check::ext4(request, &device)?;
    }
    mounting::mount_by(request, "mount", &arguments(options, &device, point), point)?;
    info!(volume = %request.volume, token = %request.token, device = %device.display(), file = %options.file, "image mounted");
    // Dropping the handle leaves the device to the mount alone: it goes with it.
    drop(attached);
    Ok(point.to_owned())
}

fn arguments(options: &ImageOptions, device: &Path, point: &Path) -> Vec<String> {
    let fixed: &[&str] = match options.file_system {
        // Metadata it cannot trust any more must not be written to.
        ImageFileSystem::Ext4 => &["noatime", "errors=remount-ro"],
        // The same image may be mounted by another host of this kernel, as tests have them; ours is checked above.
        ImageFileSystem::Xfs => &["noatime", "nouuid"],
    };
    let words = ["-n", "-t", options.file_system.name(), "-o"].map(str::to_owned);
    let options = mounting::joined(fixed, &options.mount_options);
    words.into_iter().chain([options, mounting::text(device), mounting::text(point)]).collect()
}

/// No device over the file for this token any more.
fn detach(request: &VolumeRequest, options: &ImageOptions) -> Result<(), VolumeError> {
    let file = Path::new(&options.file);
    let Some(device) = loop_device::ours_over(file, request.token.0).filter(|device| device.of_token(&request.host, request.token.0))
    else {
        return Ok(());
    };
    // Only a device that the system set aside from an unmount that did not come through.
    loop_device::detach(&device).map_err(|error| VolumeError::io(&request.volume, "detach", &device.path(), error))?;
    if loop_device::ours_over(file, request.token.0).is_none() {
        return Ok(());
    }
    let holders = mountinfo::holders(device.numbers());
    Err(VolumeError::NotReleased { volume: request.volume.clone(), what: device.path().display().to_string(), holders })
}

#[async_trait]
impl VolumeDriver for ImageDriver {
    fn driver(&self) -> Driver {
        Driver::Image
    }

    fn cut_kind(&self) -> Cut {
        Cut::FileSystemShutdown
    }

    async fn probe(&self) -> Result<(), VolumeError> {
        let asked = tokio::task::spawn_blocking(probe).await;
        asked.unwrap_or_else(|join| Err(VolumeError::Needs { driver: Driver::Image, what: join.to_string(), remedy: String::new() }))
    }

    fn cut_plan(&self, request: &VolumeRequest) -> Result<CutPlan, VolumeError> {
        let backing = PathBuf::from(Self::options(request)?.file);
        let means = CutMeans::FileSystemShutdown { backing };
        Ok(CutPlan {
            volume: request.volume.to_string(),
            token: request.token.0,
            mount_point: Some(request.mount_point(&self.context)),
            means,
        })
    }

    async fn attach(&self, request: &VolumeRequest) -> Result<(), VolumeError> {
        let (options, owned) = (Self::options(request)?, request.clone());
        let act = move || match look(&owned, &options) {
            Err(VolumeError::NotThere { .. }) if options.size_bytes.is_some() => create::create(&owned, &options),
            result => result,
        };
        blocking(&request.volume, "making the image", CREATE, act).await?
    }

    async fn mount(&self, request: &VolumeRequest) -> Result<PathBuf, VolumeError> {
        let (options, owned, point) = (Self::options(request)?, request.clone(), request.mount_point(&self.context));
        blocking(&request.volume, "the mount", MOUNT, move || mount(&owned, &options, &point)).await?
    }

    async fn unmount(&self, request: &VolumeRequest) -> Result<(), VolumeError> {
        let (plan, owned, point) = (self.cut_plan(request)?, request.clone(), request.mount_point(&self.context));
        unmounting(&request.volume, move || mounting::unmount(&owned, &plan, &point)).await?
    }

    async fn detach(&self, request: &VolumeRequest) -> Result<(), VolumeError> {
        let (options, owned) = (Self::options(request)?, request.clone());
        blocking(&request.volume, "the detach", DETACH, move || detach(&owned, &options)).await?
    }

    async fn snapshot(&self, request: &VolumeRequest, _: &str) -> Result<(), VolumeError> {
        Err(VolumeError::Unsupported { volume: request.volume.clone(), driver: Driver::Image, operation: "take a snapshot" })
    }
}
