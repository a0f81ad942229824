//! Driver `exec`: any storage, by a program of the operator's that speaks the protocol of docs/drivers.md, one call for each driver operation.

pub mod protocol;

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use berth_state::noun::session::Cut;
use berth_state::noun::volume::Driver;
use berth_state::storage::{ExecOptions, StorageOptions};

use self::protocol::{Answer, Operation, Request};
use super::cut::{CutMeans, CutPlan};
use super::driver::{VolumeDriver, VolumeRequest, blocking};
use super::error::VolumeError;
use super::place::DriverContext;
use super::program::{self, ProgramError};
use super::{mounting, needs};

#[derive(Clone, Debug)]
pub struct ExecDriver {
    context: DriverContext,
}

impl ExecDriver {
    #[must_use]
    pub fn new(context: DriverContext) -> Self {
        Self { context }
    }

    fn options(request: &VolumeRequest) -> Result<ExecOptions, VolumeError> {
        match StorageOptions::parse(Driver::Exec, &request.options) {
            Ok(StorageOptions::Exec(options)) => Ok(options),
            Ok(_) => Err(VolumeError::invalid(&request.volume, "not the options of driver exec")),
            Err((field, reason)) => Err(VolumeError::invalid(&request.volume, format!("{field}: {reason}"))),
        }
    }

    fn message(&self, request: &VolumeRequest, options: &ExecOptions, operation: Operation) -> Request {
        Request {
            protocol: protocol::VERSION,
            operation,
            volume: request.volume.to_string(),
            dataset: options.dataset.clone(),
            host: request.host.to_string(),
            container: request.container.to_string(),
            lease: request.lease.0,
            token: request.token.0,
            read_only: request.read_only,
            mount_point: mounting::text(&request.mount_point(&self.context)),
            name: None,
            options: options.passed.clone(),
        }
    }

    async fn call(&self, request: &VolumeRequest, operation: Operation, name: Option<&str>) -> Result<Answer, VolumeError> {
        let options = Self::options(request)?;
        let mut message = self.message(request, &options, operation);
        message.name = name.map(str::to_owned);
        let volume = request.volume.clone();
        let act = move || {
            if program::find(&options.program).is_none() {
                return Err(ProgramError::Missing { program: options.program });
            }
            protocol::call(&options.program, &message, operation.timeout())
        };
        let done = blocking(&request.volume, operation.name(), operation.timeout() + Duration::from_secs(5), act).await?;
        done.map_err(|source| VolumeError::Program { volume, action: operation.name(), source })
    }
}

/// Where the program says it is, or where it was asked to mount it.
fn mounted(request: &VolumeRequest, answer: Answer, point: &Path) -> Result<PathBuf, VolumeError> {
    let path = answer.path.map_or_else(|| point.to_owned(), PathBuf::from);
    let is_ours = mounting::present(request, point)?.is_some();
    if path == point && !is_ours {
        return Err(VolumeError::invalid(
            &request.volume,
            format!("the program reported success, but nothing is mounted at {}", point.display()),
        ));
    }
    if !path.is_absolute() || !path.is_dir() {
        return Err(VolumeError::invalid(
            &request.volume,
            format!("the program says it is at {}, which is no directory here", path.display()),
        ));
    }
    Ok(path)
}

#[async_trait]
impl VolumeDriver for ExecDriver {
    fn driver(&self) -> Driver {
        Driver::Exec
    }

    /// Of the driver; whether a volume's program can is that volume's option.
    fn cut_kind(&self) -> Cut {
        Cut::ServerRevoke
    }

    /// The program is the volume's, not the host's: it is looked for at each call.
    async fn probe(&self) -> Result<(), VolumeError> {
        needs::root(Driver::Exec)
    }

    fn cut_plan(&self, request: &VolumeRequest) -> Result<CutPlan, VolumeError> {
        let options = Self::options(request)?;
        let message = self.message(request, &options, Operation::Cut);
        let encoded = serde_json::to_string(&message).map_err(|error| VolumeError::invalid(&request.volume, error.to_string()))?;
        let timeout_ms = u64::try_from(Operation::Cut.timeout().as_millis()).unwrap_or(u64::MAX);
        let program = CutMeans::Program { program: options.program, request: encoded, timeout_ms };
        let means = if options.cut { program } else { CutMeans::None };
        Ok(CutPlan {
            volume: request.volume.to_string(),
            token: request.token.0,
            mount_point: Some(request.mount_point(&self.context)),
            means,
        })
    }

    async fn attach(&self, request: &VolumeRequest) -> Result<(), VolumeError> {
        let info = self.call(request, Operation::Info, None).await?;
        let options = Self::options(request)?;
        if options.cut && info.can_cut == Some(false) {
            return Err(VolumeError::invalid(&request.volume, "option cut=yes, but its program says that it cannot cut"));
        }
        self.call(request, Operation::Create, None).await?;
        self.call(request, Operation::Attach, None).await.map(drop)
    }

    async fn mount(&self, request: &VolumeRequest) -> Result<PathBuf, VolumeError> {
        let (owned, point) = (request.clone(), request.mount_point(&self.context));
        let make = point.clone();
        let prepare = move || if mounting::present(&owned, &make)?.is_some() { Ok(()) } else { mounting::make_point(&owned, &make) };
        blocking(&request.volume, "making the mount point", Duration::from_secs(30), prepare).await??;
        request.still_may()?;
        let answer = self.call(request, Operation::Mount, None).await?;
        let owned = request.clone();
        blocking(&request.volume, "the mount", Duration::from_secs(30), move || mounted(&owned, answer, &point)).await?
    }

    async fn unmount(&self, request: &VolumeRequest) -> Result<(), VolumeError> {
        self.call(request, Operation::Unmount, None).await?;
        let (owned, point) = (request.clone(), request.mount_point(&self.context));
        let gone = move || {
            if mounting::present(&owned, &point)?.is_some() {
                let why = format!("the program reported success, but {} is still mounted", point.display());
                return Err(VolumeError::invalid(&owned.volume, why));
            }
            let _ = std::fs::remove_dir(&point);
            Ok(())
        };
        blocking(&request.volume, "the unmount", Duration::from_secs(30), gone).await?
    }

    async fn detach(&self, request: &VolumeRequest) -> Result<(), VolumeError> {
        self.call(request, Operation::Detach, None).await.map(drop)
    }

    async fn snapshot(&self, request: &VolumeRequest, name: &str) -> Result<(), VolumeError> {
        self.call(request, Operation::Snapshot, Some(name)).await.map(drop)
    }
}
