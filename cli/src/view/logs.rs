//! `berth logs`: what a container writes, under its present lease. Its standard output to ours, its standard error to ours.

use berth_state::pb::api;
use clap::Args;
use serde::Serialize;

use crate::context::Context;
use crate::failure::Failure;
use crate::output::say_bytes;

#[derive(Debug, Args)]
pub struct LogsArgs {
    container: String,
    /// Go on with what it writes from now on
    #[arg(short, long)]
    follow: bool,
    /// Only the last lines
    #[arg(long, value_name = "N")]
    tail: Option<u64>,
}

/// One JSON object a chunk.
#[derive(Serialize)]
struct Chunk<'a> {
    stream: &'static str,
    /// Bytes that are no UTF-8 are replaced.
    data: std::borrow::Cow<'a, str>,
}

impl LogsArgs {
    /// # Errors
    /// Any [`Failure`].
    pub async fn run(self, cx: &mut Context) -> Result<(), Failure> {
        let out = cx.out;
        let mut take = |chunk: api::LogsResponse| {
            if out.is_json() {
                let stream = if chunk.stderr { "stderr" } else { "stdout" };
                return out.one(&Chunk { stream, data: String::from_utf8_lossy(&chunk.data) }, String::new);
            }
            if chunk.stderr {
                say_bytes(&chunk.data);
                return Ok(());
            }
            out.bytes(&chunk.data)
        };
        cx.client.logs(self.container, self.follow, self.tail, &mut take).await
    }
}
