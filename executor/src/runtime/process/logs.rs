//! Logs, on the executor's side: a task reads files and feeds a bounded queue. Must never outlive its reader.

use std::io;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::create::refused;
use super::folder::{InstanceFolder, Phase};
use super::log_reader::LogCursor;
use super::{ProcessRuntime, io_error};
use crate::runtime::{InstanceKey, LogChunk, LogOptions, RuntimeError};

/// Lines read ahead of a slow reader, beyond those of one read.
const QUEUE: usize = 64;
/// How often a follower looks for more.
const LOOK: Duration = Duration::from_millis(50);

impl ProcessRuntime {
    pub(super) async fn instance_logs(
        &self,
        key: &InstanceKey,
        options: LogOptions,
    ) -> Result<BoxStream<'static, Result<LogChunk, RuntimeError>>, RuntimeError> {
        if self.phase(key).await?.is_none() {
            return Err(refused(key, "does not exist"));
        }
        let folder = self.shared.folder(key);
        let (sender, receiver) = mpsc::channel(QUEUE);
        let (runtime, key) = (self.clone(), key.clone());
        tokio::spawn(async move {
            if let Err(error) = runtime.feed(&key, &folder, options, &sender).await {
                // Only the reader is told; if it is gone nobody asked.
                let _ = sender.send(Err(error)).await;
            }
        });
        Ok(ReceiverStream::new(receiver).boxed())
    }

    /// Sends lines until the end that `options` asks for, or until the reader is gone.
    async fn feed(
        &self,
        key: &InstanceKey,
        folder: &InstanceFolder,
        options: LogOptions,
        sender: &mpsc::Sender<Result<LogChunk, RuntimeError>>,
    ) -> Result<(), RuntimeError> {
        let mut cursor = LogCursor::at_the_start(folder.log());
        let mut tail = options.tail_lines;
        loop {
            // Asked before the read: after the end nothing is added.
            let over = match self.phase(key).await? {
                None | Some(Phase::Exited(_)) => true,
                Some(Phase::Created | Phase::Starting(_) | Phase::Running(_, _)) => false,
            };
            loop {
                let skip = tail.take();
                let skipped = skip.is_some();
                let (back, lines) = self.blocking(move |_| Ok(read(cursor, skip))).await?;
                cursor = back;
                let lines = lines.map_err(io_error("read the log of", key))?;
                if lines.is_empty() && !skipped {
                    break;
                }
                for line in lines {
                    if sender.send(Ok(line)).await.is_err() {
                        return Ok(());
                    }
                }
            }
            if over || !options.follow {
                return Ok(());
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = sender.closed() => return Ok(()),
            }
        }
    }
}

fn read(mut cursor: LogCursor, tail: Option<u64>) -> (LogCursor, io::Result<Vec<LogChunk>>) {
    let lines = match tail {
        Some(lines) => cursor.skip_to_tail(lines),
        None => cursor.read(),
    };
    (cursor, lines)
}
