//! The guard's own exit codes. A command may end with the same numbers: the [`status`](crate::status) file tells them apart.

/// A hook failed or took too long: the command was not started.
pub const HOOK_FAILED: u8 = 123;
/// The deadline passed, or the right was taken back: everything was killed.
pub const DEADLINE_PASSED: u8 = 124;
/// Nothing was started: the page is missing, foreign or over already, the clock is not the host's, or the arguments are wrong.
pub const REFUSED: u8 = 125;
/// The command was found but could not be started; as Docker and shells say it.
pub const NOT_EXECUTABLE: u8 = 126;
/// No such command; as Docker and shells say it.
pub const NOT_FOUND: u8 = 127;
/// A command killed by signal n ends with this plus n.
pub const SIGNAL_BASE: u8 = 128;
