//! `berth ps`: containers with lease, host, token, state and health.

use crate::context::Context;
use crate::failure::Failure;
use crate::noun::container::row::{Row, table};

/// # Errors
/// Any [`Failure`].
pub async fn run(cx: &mut Context) -> Result<(), Failure> {
    let registry = cx.client.read().await?;
    let rows = Row::all(&registry);
    cx.out.show(&rows, || table(&rows))
}
