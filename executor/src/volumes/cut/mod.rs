//! The cut: keeps what a dead holder left in this host's memory from ever reaching the storage. A [`CutPlan`] is made before anything is attached, so that
//! somebody who has neither our configuration nor an async runtime can carry it out at the deadline: the host-side guard, the enforcer, a later executor.
//!
//! [`cut_now`] and [`unmount_now`] block, each for a known time at most, may be repeated, and hit nothing but this very token's mount.
//!
//! - `shutdown`: file systems on block devices. `fuse`: FUSE servers. `program`: driver `exec`. `unmount`: what comes after.

mod bounded;
mod fuse;
mod program;
mod server;
mod shutdown;
mod unmount;

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::mountinfo;
use super::program::ProgramError;

pub use fuse::{connections, prepare_connections};
pub use server::servers_of;

/// How one volume is cut and unmounted. Plain data, for a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CutPlan {
    pub volume: String,
    pub token: u64,
    /// Where it is, or will be, mounted; the token is in its name. `None`: nothing of it is ever mounted by us.
    pub mount_point: Option<PathBuf>,
    pub means: CutMeans,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum CutMeans {
    /// This driver cannot cut.
    None,
    /// Shut the file system down, which lies on a loop device over this file.
    FileSystemShutdown { backing: PathBuf },
    /// Abort the FUSE connection and kill its server, a program of this name.
    FuseAbort { server: String },
    /// Call this program with this request on its standard input.
    Program { program: String, request: String, timeout_ms: u64 },
}

/// What the cut found and did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CutReport {
    /// The driver cannot cut: nothing was done.
    CannotCut,
    /// Nothing of this token is mounted, and no server of it runs.
    NotMounted,
    /// The file system is shut down, and the block device under it has nothing dirty left.
    ShutDown,
    /// The connection is aborted, its server dead, what was in its sockets thrown away.
    Aborted { servers: usize },
    /// The program says so.
    ByProgram,
    /// Of an unmount: it was mounted, and is not any more.
    Unmounted,
}

#[derive(Debug, thiserror::Error)]
pub enum CutError {
    #[error("mount point {0} does not name token {1}: refusing to cut somebody else's mount")]
    Foreign(PathBuf, u64),
    #[error("{point} is {found}, not what this plan was made for ({expected}): refusing to cut it")]
    AnotherMount { point: PathBuf, found: String, expected: String },
    #[error("cannot {action} {path}")]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{what} did not end within {ms} ms")]
    TooSlow { what: &'static str, ms: u64 },
    #[error("FUSE server {pid} does not die")]
    ServerLives { pid: i32 },
    #[error("the driver's program did not cut")]
    Program(#[source] ProgramError),
    #[error("{point} is busy, and is not taken away lazily: its write-back is not cut")]
    Busy { point: PathBuf },
    #[error("{what} is still in use after its unmount; held by {holders}")]
    NotReleased { what: String, holders: String },
}

impl CutError {
    fn io(action: &'static str, path: impl Into<PathBuf>, source: impl Into<io::Error>) -> Self {
        Self::Io { action, path: path.into(), source: source.into() }
    }
}

impl CutPlan {
    /// The token is part of the path, so that a late cut cannot hit a newer mount.
    fn own_point(&self) -> Result<Option<&PathBuf>, CutError> {
        let Some(point) = &self.mount_point else { return Ok(None) };
        let named = super::place::parse_name(point).is_some_and(|(volume, token)| volume.as_str() == self.volume && token.0 == self.token);
        if named { Ok(Some(point)) } else { Err(CutError::Foreign(point.clone(), self.token)) }
    }

    fn mount(&self) -> Result<Option<mountinfo::Mount>, CutError> {
        let Some(point) = self.own_point()? else { return Ok(None) };
        mountinfo::at(point).map_err(|error| CutError::io("read mounts of", point, error))
    }
}

/// Cuts write-back, at once.
///
/// # Errors
/// It is not sure that nothing is written any more: repeat it.
pub fn cut_now(plan: &CutPlan) -> Result<CutReport, CutError> {
    plan.own_point()?;
    match &plan.means {
        CutMeans::None => Ok(CutReport::CannotCut),
        CutMeans::FileSystemShutdown { backing } => shutdown::cut(plan, backing),
        CutMeans::FuseAbort { server } => fuse::cut(plan, server),
        CutMeans::Program { program, request, timeout_ms } => program::cut(program, request, *timeout_ms),
    }
}

/// Takes the mount away, without flushing what a cut has cut. Lazily only when [`cut_now`] has confirmed that nothing can be written any more. Returns
/// when the file system is really released.
///
/// # Errors
/// It is still there, or still in use: repeat it.
pub fn unmount_now(plan: &CutPlan) -> Result<CutReport, CutError> {
    unmount::unmount(plan)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test")]
mod tests {
    use super::*;

    fn plan(point: &str, token: u64) -> CutPlan {
        let means = CutMeans::FileSystemShutdown { backing: PathBuf::from("/srv/pg.img") };
        CutPlan { volume: "pg".to_owned(), token, mount_point: Some(PathBuf::from(point)), means }
    }

    #[test]
    fn a_mount_point_of_another_token_is_never_cut() {
        for foreign in [plan("/run/mounts/pg-8", 7), plan("/run/mounts/other-7", 7), plan("/", 7)] {
            assert!(matches!(cut_now(&foreign), Err(CutError::Foreign(..))));
            assert!(matches!(unmount_now(&foreign), Err(CutError::Foreign(..))));
        }
    }

    #[test]
    fn what_is_not_mounted_needs_no_cut() {
        assert_eq!(cut_now(&plan("/nonexistent/mounts/pg-7", 7)).unwrap(), CutReport::NotMounted);
        assert_eq!(unmount_now(&plan("/nonexistent/mounts/pg-7", 7)).unwrap(), CutReport::NotMounted);
    }

    #[test]
    fn a_plan_survives_its_file() {
        let plan = plan("/run/mounts/pg-7", 7);
        let text = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<CutPlan>(&text).unwrap(), plan);
        assert!(text.contains("file-system-shutdown"), "{text}");
    }
}
