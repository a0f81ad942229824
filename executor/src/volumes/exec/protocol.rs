//! The protocol of driver `exec` (docs/drivers.md): one program run for each call, a JSON request on its standard input, a JSON answer on its standard output.
//! Used by the driver and by the cut at the deadline; blocks.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::volumes::program::{self, ProgramError};

pub const VERSION: u32 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// What the program can do.
    Info,
    /// Make the data where it is not there yet. A volume that was there before must be left as it is.
    Create,
    Attach,
    Mount,
    Unmount,
    Detach,
    /// Keep a dead holder's dirty pages from the storage.
    Cut,
    /// Keep a host or a token out, acknowledged; called on a control node.
    Fence,
    Lift,
    Snapshot,
}

impl Operation {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Info => "ask its program",
            Self::Create => "make it by its program",
            Self::Attach => "attach it by its program",
            Self::Mount => "mount it by its program",
            Self::Unmount => "unmount it by its program",
            Self::Detach => "detach it by its program",
            Self::Cut => "cut it by its program",
            Self::Fence => "fence it by its program",
            Self::Lift => "lift its fence by its program",
            Self::Snapshot => "copy it by its program",
        }
    }

    /// After this the program is killed.
    #[must_use]
    pub fn timeout(self) -> Duration {
        Duration::from_secs(match self {
            Self::Info | Self::Cut => 10,
            Self::Attach | Self::Mount | Self::Unmount | Self::Detach => 120,
            Self::Fence | Self::Lift => 60,
            Self::Create | Self::Snapshot => 3_600,
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    pub protocol: u32,
    pub operation: Operation,
    pub volume: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataset: Option<String>,
    pub host: String,
    pub container: String,
    pub lease: u64,
    pub token: u64,
    pub read_only: bool,
    /// An empty directory of this token alone, to mount at.
    pub mount_point: String,
    /// Of a snapshot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The volume's options `opt.NAME`.
    pub options: BTreeMap<String, String>,
}

/// Fields that this version does not know are passed over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    pub ok: bool,
    /// Why not; shown to people.
    #[serde(default)]
    pub error: String,
    /// Of mount: where the volume is, when not at the mount point.
    #[serde(default)]
    pub path: Option<String>,
    /// Of info.
    #[serde(default)]
    pub can_cut: Option<bool>,
}

/// # Errors
/// The program cannot be run, fails, is too slow, says no, or does not speak the protocol.
pub fn call(program: &str, request: &Request, at_most: Duration) -> Result<Answer, ProgramError> {
    let unreadable = |why: String| ProgramError::Answer { program: program.to_owned(), why };
    let text = serde_json::to_string(request).map_err(|error| unreadable(error.to_string()))?;
    call_text(program, &text, at_most)
}

/// The same with a request that was encoded before.
///
/// # Errors
/// As [`call`].
pub fn call_text(program: &str, request: &str, at_most: Duration) -> Result<Answer, ProgramError> {
    let output = program::run(program, &[""; 0], format!("{request}\n").as_bytes(), at_most)?;
    let unreadable = |why: String| ProgramError::Answer { program: program.to_owned(), why };
    let failed = |said: String| ProgramError::Failed { program: program.to_owned(), status: output.status, said };
    let answer: Result<Answer, _> = serde_json::from_slice(&output.stdout);
    match answer {
        Ok(answer) if answer.ok && output.status.success() => Ok(answer),
        Ok(answer) if !answer.error.is_empty() => Err(failed(answer.error)),
        Ok(_) => Err(failed(output.said())),
        Err(_) if !output.status.success() => Err(failed(output.said())),
        // Success without a word is no success: a cut or an unmount is taken for done only when it was said.
        Err(error) => Err(unreadable(error.to_string())),
    }
}

/// The same request for another operation.
#[must_use]
pub fn with_operation(request: &str, operation: &str) -> String {
    match serde_json::from_str::<serde_json::Value>(request) {
        Ok(mut value) => {
            value["operation"] = operation.into();
            value.to_string()
        }
        // It was encoded by us; if the file was tampered with, the program says so.
        Err(_) => request.to_owned(),
    }
}
