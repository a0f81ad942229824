//! `enforce.json`: what the guard is to do when a lease's deadline has come. Written by the executor before anything is attached and again whenever an
//! instance is about to start; read by the guard. It holds no deadline: that is in the page alone.

use std::fs;
use std::io;

use berth_state::noun::session::Guard;
use serde::{Deserialize, Serialize};

use super::folder::{self, RunFolder};
use super::target::KillTarget;
use crate::volumes::CutPlan;

/// Raised when a guard that knows only the former form would do the wrong thing; then [`PROTOCOL`](super::status::PROTOCOL) rises too.
pub const FORMAT: u32 = 1;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    pub format: u32,
    pub token: u64,
    /// For people.
    pub lease: u64,
    pub container: String,
    /// What kill and cut may take after the deadline, before somebody else may have the volume.
    pub margin_ms: u64,
    pub needs: Needs,
    pub kills: Vec<KillTarget>,
    pub cuts: Vec<CutPlan>,
}

/// What the lease was granted under, as far as it concerns this guard: without it the lease is not renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Needs {
    Nothing,
    HostGuard,
    Watchdog,
}

impl From<Guard> for Needs {
    fn from(guard: Guard) -> Self {
        match guard {
            Guard::None | Guard::Executor | Guard::Init => Self::Nothing,
            Guard::HostProcess => Self::HostGuard,
            Guard::Watchdog => Self::Watchdog,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    #[error("cannot read or write enforce.json of token {token}")]
    Io {
        token: u64,
        #[source]
        source: io::Error,
    },
    #[error("enforce.json of token {token} is damaged")]
    Damaged {
        token: u64,
        #[source]
        source: serde_json::Error,
    },
    #[error("enforce.json in the folder of token {token} is of token {found}")]
    Token { token: u64, found: u64 },
    #[error("enforce.json of token {token} has format {found}; this guard knows {FORMAT}")]
    Format { token: u64, found: u32 },
}

impl Order {
    /// `None`: there is no such file.
    ///
    /// # Errors
    /// It is there and not to be used.
    pub fn read(run: &RunFolder, token: u64) -> Result<Option<Self>, OrderError> {
        let bytes = match fs::read(run.order(token)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(OrderError::Io { token, source }),
        };
        let order: Self = serde_json::from_slice(&bytes).map_err(|source| OrderError::Damaged { token, source })?;
        if order.format > FORMAT {
            return Err(OrderError::Format { token, found: order.format });
        }
        if order.token != token {
            return Err(OrderError::Token { token, found: order.token });
        }
        Ok(Some(order))
    }

    /// In place of the former one, as a whole.
    ///
    /// # Errors
    /// The file system refuses: then nothing may be attached or started.
    pub fn write(&self, run: &RunFolder) -> Result<(), OrderError> {
        let failed = |source| OrderError::Io { token: self.token, source };
        fs::create_dir_all(run.lease(self.token)).map_err(failed)?;
        let bytes = serde_json::to_vec_pretty(self).map_err(|error| failed(error.into()))?;
        folder::replace(&run.order(self.token), &bytes).map_err(failed)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test")]
mod tests {
    use super::*;

    fn order(token: u64) -> Order {
        let kills = vec![KillTarget::group("/sys/fs/cgroup/berth/x".into())];
        let container = "db".to_owned();
        Order { format: FORMAT, token, lease: 3, container, margin_ms: 500, needs: Needs::HostGuard, kills, cuts: vec![] }
    }

    #[test]
    fn an_order_is_read_as_it_was_written_and_only_for_its_own_token() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunFolder::make(folder.path()).unwrap();
        assert_eq!(Order::read(&run, 7).unwrap(), None);
        order(7).write(&run).unwrap();
        assert_eq!(Order::read(&run, 7).unwrap(), Some(order(7)));
        fs::create_dir_all(run.lease(8)).unwrap();
        fs::copy(run.order(7), run.order(8)).unwrap();
        assert!(matches!(Order::read(&run, 8), Err(OrderError::Token { token: 8, found: 7 })));
        fs::write(run.order(7), "{").unwrap();
        assert!(matches!(Order::read(&run, 7), Err(OrderError::Damaged { .. })));
        Order { format: FORMAT + 1, ..order(7) }.write(&run).unwrap();
        assert!(matches!(Order::read(&run, 7), Err(OrderError::Format { .. })));
    }

    #[test]
    fn golden_text() {
        let text = serde_json::to_string(&order(7)).unwrap();
        let golden = r#"{"format":1,"token":7,"lease":3,"container":"db","margin_ms":500,"needs":"host-guard","kills":[{"kind":"handle","cgroup":"/sys/fs/cgroup/berth/x","pid":0,"start_ticks":0,"process_group":false}],"cuts":[]}"#;
        assert_eq!(text, golden);
    }
}
