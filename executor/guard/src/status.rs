//! The status file: how far the guard is, for the executor, for people, and for the tests. Made by the executor, mapped by both, written by the guard in
//! one store. What is inside the instance can write it too: it informs, and nothing that keeps a second writer out may rest on it.
//!
//! Little endian: 0 [`MAGIC`]; 8 the phase: byte 0 its number, bytes 4-7 a code; then zeros.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use crate::map::{Access, Mapping, SIZE};

pub const MAGIC: [u8; 8] = *b"BERTHST1";

const MAGIC_AT: usize = 0;
const PHASE_AT: usize = 8;

/// The two programs that may run before the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookKind {
    /// On a volume that is new.
    Init,
    /// Before each start on a volume that was used before.
    PreStart,
}

impl HookKind {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::PreStart => "pre-start",
        }
    }
}

/// How a hook failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookFailure {
    /// Exit code, 128 + signal, or 126 and 127 for one that could not be started.
    Code(u8),
    TimedOut,
    /// It ended, but something it had started could not be killed.
    Unkillable,
}

/// How far a guard is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The guard has not written yet.
    Silent,
    /// The page is mapped and good.
    Starting,
    Hook(HookKind),
    Running,
    HookFailed(HookKind, HookFailure),
    /// The command ended with this code.
    Exited(u8),
    /// The command was killed by this signal.
    Killed(u8),
    /// The command could not be started: 126 or 127.
    NotStarted(u8),
    DeadlinePassed,
    /// Nothing was started; the guard's stderr says why.
    Refused,
}

const TIMED_OUT: u32 = 1 << 8;
const UNKILLABLE: u32 = 1 << 9;

impl Phase {
    fn to_word(self) -> u64 {
        let (number, code): (u8, u32) = match self {
            Self::Silent => (0, 0),
            Self::Starting => (1, 0),
            Self::Hook(HookKind::Init) => (2, 0),
            Self::Hook(HookKind::PreStart) => (3, 0),
            Self::Running => (4, 0),
            Self::HookFailed(HookKind::Init, failure) => (5, failure_code(failure)),
            Self::HookFailed(HookKind::PreStart, failure) => (6, failure_code(failure)),
            Self::Exited(code) => (7, code.into()),
            Self::NotStarted(code) => (8, code.into()),
            Self::DeadlinePassed => (9, 0),
            Self::Refused => (10, 0),
            Self::Killed(signal) => (11, signal.into()),
        };
        u64::from(number) | u64::from(code) << 32
    }

    /// `None` for what no guard writes.
    fn from_word(word: u64) -> Option<Self> {
        let code = u32::try_from(word >> 32).ok()?;
        let byte = (code & 0xff) as u8;
        let phase = match word & 0xff {
            0 => Self::Silent,
            1 => Self::Starting,
            2 => Self::Hook(HookKind::Init),
            3 => Self::Hook(HookKind::PreStart),
            4 => Self::Running,
            5 => Self::HookFailed(HookKind::Init, failure(code)),
            6 => Self::HookFailed(HookKind::PreStart, failure(code)),
            7 => Self::Exited(byte),
            8 => Self::NotStarted(byte),
            9 => Self::DeadlinePassed,
            10 => Self::Refused,
            11 => Self::Killed(byte),
            _ => return None,
        };
        (phase.to_word() == word).then_some(phase)
    }
}

fn failure_code(failure: HookFailure) -> u32 {
    match failure {
        HookFailure::Code(code) => code.into(),
        HookFailure::TimedOut => TIMED_OUT,
        HookFailure::Unkillable => UNKILLABLE,
    }
}

fn failure(code: u32) -> HookFailure {
    match code {
        TIMED_OUT => HookFailure::TimedOut,
        UNKILLABLE => HookFailure::Unkillable,
        code => HookFailure::Code((code & 0xff) as u8),
    }
}

/// Makes an empty status file that any user may write: the guard may run as anybody.
///
/// # Errors
/// When the file system refuses, also because there is one.
pub fn create(path: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o666).open(path)?;
    let mut bytes = [0; SIZE];
    bytes[MAGIC_AT..PHASE_AT].copy_from_slice(&MAGIC);
    file.write_all(&bytes)?;
    file.set_permissions(Permissions::from_mode(0o666))
}

/// What the guard says now; `None` for a file that no guard writes so.
///
/// # Errors
/// When it cannot be read.
pub fn read(path: &Path) -> io::Result<Option<Phase>> {
    let map = match Mapping::new(&File::open(path)?, Access::Read) {
        Err(error) if error.kind() == io::ErrorKind::InvalidData => return Ok(None),
        map => map?,
    };
    Ok(if map.load(MAGIC_AT) == u64::from_le_bytes(MAGIC) { Phase::from_word(map.load(PHASE_AT)) } else { None })
}

/// The guard's side.
#[derive(Debug)]
pub struct StatusWriter {
    map: Mapping,
}

impl StatusWriter {
    /// # Errors
    /// When the file cannot be mapped for writing.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Self { map: Mapping::new(&file, Access::ReadWrite)? })
    }

    pub fn tell(&self, phase: Phase) {
        self.map.store(PHASE_AT, phase.to_word());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Phase; 14] = [
        Phase::Silent,
        Phase::Starting,
        Phase::Hook(HookKind::Init),
        Phase::Hook(HookKind::PreStart),
        Phase::Running,
        Phase::HookFailed(HookKind::Init, HookFailure::Code(0)),
        Phase::HookFailed(HookKind::Init, HookFailure::TimedOut),
        Phase::HookFailed(HookKind::PreStart, HookFailure::Code(127)),
        Phase::HookFailed(HookKind::PreStart, HookFailure::Unkillable),
        Phase::Exited(255),
        Phase::Killed(15),
        Phase::NotStarted(126),
        Phase::DeadlinePassed,
        Phase::Refused,
    ];

    #[test]
    fn what_the_guard_tells_is_what_the_executor_reads() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("status");
        create(&path).unwrap();
        assert_eq!(read(&path).unwrap(), Some(Phase::Silent));
        let writer = StatusWriter::open(&path).unwrap();
        for phase in ALL {
            writer.tell(phase);
            assert_eq!(read(&path).unwrap(), Some(phase));
        }
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o666);
    }

    #[test]
    fn nonsense_of_an_instance_is_no_phase() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("status");
        std::fs::write(&path, [0xff; SIZE]).unwrap();
        assert_eq!(read(&path).unwrap(), None);
        std::fs::write(&path, b"short").unwrap();
        assert_eq!(read(&path).unwrap(), None);
        assert_eq!(Phase::from_word(12), None);
        assert_eq!(Phase::from_word(1 | 1 << 8), None);
    }

    #[test]
    fn golden_words() {
        assert_eq!(Phase::Running.to_word(), 4);
        assert_eq!(Phase::Exited(137).to_word(), 0x0000_0089_0000_0007);
        assert_eq!(Phase::HookFailed(HookKind::PreStart, HookFailure::TimedOut).to_word(), 0x0000_0100_0000_0006);
    }
}
