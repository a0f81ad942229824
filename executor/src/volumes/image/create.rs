//! The first making of an image. An absent image may mean that the shared storage is not mounted here, or that it was lost; an empty one in its place would be
//! a second dataset. So it is made only where a marker in its folder proves that the storage is the right one, and never twice: a second marker beside the
//! image stays for ever. The file system is made under another name, in a file that did not exist a moment ago.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use berth_state::storage::{ImageFileSystem, ImageOptions};
use rustix::fs::{CWD, FallocateFlags, RenameFlags, fallocate, renameat_with};
use rustix::io::Errno;
use tracing::info;

use crate::volumes::driver::VolumeRequest;
use crate::volumes::error::VolumeError;
use crate::volumes::program;

/// An empty file of this name in a folder allows images to be made there.
pub const ALLOWED: &str = ".berth-images";
const MKFS: Duration = Duration::from_secs(600);

pub(super) fn create(request: &VolumeRequest, options: &ImageOptions) -> Result<(), VolumeError> {
    let file = Path::new(&options.file);
    let (Some(folder), Some(size)) = (file.parent(), options.size_bytes) else {
        return Err(VolumeError::NotThere { volume: request.volume.clone(), path: file.to_owned() });
    };
    request.still_may()?;
    super::probe()?;
    super::of_file_system(options.file_system)?;
    allowed(request, folder, file)?;
    let temporary = beside(file, &format!("new-{}", request.token));
    let failed = |action, path: &Path| {
        let (volume, path) = (request.volume.clone(), path.to_owned());
        move |source| VolumeError::Io { volume: volume.clone(), action, path: path.clone(), source }
    };
    // Ours by the token in its name: what an earlier try of this very lease left.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("remove", &temporary)(error)),
        Ok(()) | Err(_) => {}
    }
    let made = make(request, options.file_system, &temporary, size).and_then(|()| {
        // Durable before the image: it must never be made a second time.
        once(request, &beside(file, "made")).map_err(failed("mark", file))?;
        match renameat_with(CWD, &temporary, CWD, file, RenameFlags::NOREPLACE) {
            // Storage that cannot rename so: a link refuses to replace, too.
            Err(Errno::INVAL | Errno::NOSYS) => fs::hard_link(&temporary, file).and_then(|()| fs::remove_file(&temporary)),
            result => result.map_err(io::Error::from),
        }
        .map_err(failed("put in place", file))?;
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("sync", folder))
    });
    if made.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    made?;
    info!(volume = %request.volume, token = %request.token, file = %options.file, size_bytes = size, "image made");
    Ok(())
}

fn allowed(request: &VolumeRequest, folder: &Path, file: &Path) -> Result<(), VolumeError> {
    let marker = folder.join(ALLOWED);
    if !marker.exists() {
        let why = format!(
            "{} is not there. Is the shared storage mounted on this host? If this volume is new, make the file {} on the shared storage: it tells Berth that \
             this folder is the right one for new images",
            file.display(),
            marker.display()
        );
        return Err(VolumeError::invalid(&request.volume, why));
    }
    let made = beside(file, "made");
    if made.exists() {
        let why =
            format!("{} is gone, though it was made before ({} says so): bring it back from a backup", file.display(), made.display());
        return Err(VolumeError::invalid(&request.volume, why));
    }
    Ok(())
}

/// `<file>.berth-<what>`.
fn beside(file: &Path, what: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(format!(".berth-{what}"));
    PathBuf::from(name)
}

fn make(request: &VolumeRequest, file_system: ImageFileSystem, temporary: &Path, size: u64) -> Result<(), VolumeError> {
    let failed = |error: io::Error| VolumeError::io(&request.volume, "make", temporary, error);
    // New, or nothing: mkfs never sees a file that anybody else has made.
    let file = fs::OpenOptions::new().write(true).create_new(true).open(temporary).map_err(failed)?;
    match fallocate(&file, FallocateFlags::empty(), 0, size) {
        // Storage that cannot reserve: space may run out later, as on any thin storage.
        Err(Errno::OPNOTSUPP) => file.set_len(size).map_err(failed)?,
        result => result.map_err(|error| failed(error.into()))?,
    }
    let path = temporary.to_string_lossy().into_owned();
    let (program, arguments) = match file_system {
        ImageFileSystem::Ext4 => ("mkfs.ext4", vec!["-q", "-F", "-m", "0", "-E", "nodiscard", &path]),
        ImageFileSystem::Xfs => ("mkfs.xfs", vec!["-q", "-f", "-K", &path]),
    };
    let failed_program = |source| VolumeError::Program { volume: request.volume.clone(), action: "make a file system", source };
    program::succeed(program, &arguments, MKFS).map_err(failed_program)?;
    file.sync_all().map_err(failed)
}

fn once(request: &VolumeRequest, marker: &Path) -> io::Result<()> {
    let mut file = match fs::OpenOptions::new().write(true).create_new(true).open(marker) {
        Ok(file) => file,
        // Of a try that ended right here.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        Err(error) => return Err(error),
    };
    writeln!(file, "volume {} was made by lease {} on host {}", request.volume, request.token, request.host)?;
    file.sync_all()
}
