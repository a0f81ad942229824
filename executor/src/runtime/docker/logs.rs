//! An instance's output. Called for `berth logs` through [`super::DockerRuntime`]. It pulls only as fast as its reader reads and must
//! never wait without end on an engine that hangs, except where silence is what following means.

use std::time::Duration;

use bollard::container::LogOutput;
use bollard::query_parameters::LogsOptionsBuilder;
use futures::StreamExt;
use futures::stream::BoxStream;

use super::DockerRuntime;
use super::call_error::CallError;
use super::engine::CALL_LIMIT;
use super::start::refused;
use crate::runtime::{InstanceKey, LogChunk, LogOptions, RuntimeError};

/// Longest silence in a listing that is not followed.
const SILENCE_LIMIT: Duration = Duration::from_secs(30);

type Chunks = BoxStream<'static, Result<LogChunk, RuntimeError>>;

impl DockerRuntime {
    pub(super) async fn stream_logs(&self, key: &InstanceKey, options: LogOptions) -> Result<Chunks, RuntimeError> {
        let instance = key.instance_name();
        let found = self.find(key, CALL_LIMIT).await?.ok_or_else(|| refused(key, "there is no such instance on this host"))?;
        let docker = self.engine.client_within(CALL_LIMIT).await.map_err(|error| error.into_runtime("logs of", &instance))?;
        let tail = options.tail_lines.map_or_else(|| "all".to_owned(), |lines| lines.to_string());
        let query = LogsOptionsBuilder::default().follow(options.follow).stdout(true).stderr(true).tail(&tail).build();
        let engine = self.engine.clone();
        let chunks = docker.logs(&found.id, Some(query)).map(move |chunk| chunk.map(log_chunk).map_err(|error| engine.failed(&error)));
        let chunks = if options.follow { chunks.boxed() } else { bounded(chunks.boxed()) };
        Ok(chunks.map(move |chunk| chunk.map_err(|error| error.into_runtime("logs of", &instance))).boxed())
    }
}

/// Ends the stream with an error after too long a silence.
fn bounded(chunks: BoxStream<'static, Result<LogChunk, CallError>>) -> BoxStream<'static, Result<LogChunk, CallError>> {
    let next = |chunks: Option<BoxStream<'static, Result<LogChunk, CallError>>>| async move {
        let mut chunks = chunks?;
        match tokio::time::timeout(SILENCE_LIMIT, chunks.next()).await {
            Ok(chunk) => chunk.map(|chunk| (chunk, Some(chunks))),
            Err(_) => Some((Err(CallError::timed_out(SILENCE_LIMIT)), None)),
        }
    };
    futures::stream::unfold(Some(chunks), next).boxed()
}

fn log_chunk(output: LogOutput) -> LogChunk {
    match output {
        LogOutput::StdErr { message } => LogChunk { stderr: true, data: message.to_vec() },
        LogOutput::StdOut { message } | LogOutput::StdIn { message } | LogOutput::Console { message } => {
            LogChunk { stderr: false, data: message.to_vec() }
        }
    }
}
