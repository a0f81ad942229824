//! The cut by the operator's program of driver `exec`.

use std::time::Duration;

use super::{CutError, CutReport};
use crate::volumes::exec::protocol;

pub(super) fn cut(program: &str, request: &str, timeout_ms: u64) -> Result<CutReport, CutError> {
    protocol::call_text(program, request, Duration::from_millis(timeout_ms)).map_err(CutError::Program)?;
    Ok(CutReport::ByProgram)
}
