//! The witness's client: takes what writers acknowledge, over loopback, and keeps it. Run by the demo; must lose nothing that a writer
//! sent before it was killed: a connection is read to its end.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::line::{Ack, Opened, Report};

/// So many acknowledgements are kept; a writer that sends more is cut off. At one in 5 ms this is an hour.
const MOST: usize = 720_000;

/// Everything reported so far.
#[derive(Debug, Default)]
struct Kept {
    acks: Vec<Ack>,
    opened: Vec<Opened>,
    connections: usize,
}

/// Takes reports until it is dropped.
pub struct Reports {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: AbortHandle,
}

struct Shared {
    kept: Mutex<Kept>,
    /// Counts changes of `kept`.
    changes: watch::Sender<u64>,
}

impl Shared {
    fn change(&self, change: impl FnOnce(&mut Kept)) {
        change(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner));
        self.changes.send_modify(|count| *count += 1);
    }
}

impl Reports {
    /// Listens on a free loopback port.
    ///
    /// # Errors
    /// There is none.
    pub async fn listen() -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("no loopback port for the writers' acknowledgements")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared { kept: Mutex::default(), changes: watch::Sender::new(0) });
        let taking = shared.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                taking.change(|kept| kept.connections += 1);
                let taking = taking.clone();
                tokio::spawn(async move {
                    if let Err(error) = take(stream, &taking).await {
                        tracing::debug!(%error, "a writer's connection ended");
                    }
                    taking.change(|kept| kept.connections -= 1);
                });
            }
        });
        Ok(Self { address, shared, accepting: accepting.abort_handle() })
    }

    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    #[must_use]
    pub fn acks(&self) -> Vec<Ack> {
        self.look(|kept| kept.acks.clone())
    }

    #[must_use]
    pub fn count(&self) -> u64 {
        self.look(|kept| kept.acks.len() as u64)
    }

    /// What the writer under `token` found in the volume.
    #[must_use]
    pub fn found_by(&self, token: u64) -> Option<u64> {
        self.look(|kept| kept.opened.iter().find(|opened| opened.token == token).map(|opened| opened.lines))
    }

    /// Waits for the first write under a higher token.
    ///
    /// # Errors
    /// There is none within `at_most`.
    pub async fn first_above(&self, token: u64, at_most: Duration) -> anyhow::Result<Ack> {
        let first = |kept: &Kept| kept.acks.iter().filter(|ack| ack.token > token).min_by_key(|ack| ack.at_ns).cloned();
        let what = || format!("no write under a token above {token} within {} s", at_most.as_secs());
        self.wait(at_most, first).await.with_context(what)
    }

    /// Waits for so many acknowledgements in all.
    ///
    /// # Errors
    /// There are less after `at_most`.
    pub async fn reach(&self, count: u64, at_most: Duration) -> anyhow::Result<()> {
        let enough = |kept: &Kept| (kept.acks.len() as u64 >= count).then_some(());
        self.wait(at_most, enough).await.with_context(|| format!("only {} writes within {} s", self.count(), at_most.as_secs()))
    }

    /// Waits until every writer's connection has been read to its end.
    ///
    /// # Errors
    /// One is still open after `at_most`: its writer lives.
    pub async fn settle(&self, at_most: Duration) -> anyhow::Result<()> {
        let closed = |kept: &Kept| (kept.connections == 0).then_some(());
        self.wait(at_most, closed).await.context("a writer is still connected that should be dead")
    }

    async fn wait<T>(&self, at_most: Duration, look: impl Fn(&Kept) -> Option<T>) -> Option<T> {
        let mut changes = self.shared.changes.subscribe();
        let found = async {
            loop {
                changes.borrow_and_update();
                if let Some(found) = self.look(&look) {
                    return Some(found);
                }
                changes.changed().await.ok()?;
            }
        };
        tokio::time::timeout(at_most, found).await.ok().flatten()
    }

    fn look<T>(&self, look: impl Fn(&Kept) -> T) -> T {
        look(&self.shared.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Reports {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Reads one connection to its end. A report cut off in the middle was never sent.
async fn take(stream: TcpStream, shared: &Shared) -> anyhow::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = vec![];
    while reader.read_until(b'\n', &mut line).await? > 0 && line.ends_with(b"\n") {
        let report: Report = serde_json::from_slice(&line).context("not a report")?;
        anyhow::ensure!(shared.kept.lock().unwrap_or_else(PoisonError::into_inner).acks.len() < MOST, "too many acknowledgements");
        shared.change(|kept| match report {
            Report::Opened(opened) => kept.opened.push(opened),
            Report::Ack(ack) => kept.acks.push(ack),
        });
        line.clear();
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test")]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn what_was_sent_before_the_end_is_kept_and_half_a_report_is_not() {
        let reports = Reports::listen().await.unwrap();
        let mut writer = TcpStream::connect(reports.address()).await.unwrap();
        let sent = [
            Report::Opened(Opened { token: 7, writer: "h1".to_owned(), lines: 4 }),
            Report::Ack(Ack { token: 7, n: 1, at_ns: 10 }),
            Report::Ack(Ack { token: 9, n: 1, at_ns: 30 }),
        ];
        for report in &sent {
            writer.write_all((serde_json::to_string(report).unwrap() + "\n").as_bytes()).await.unwrap();
        }
        writer.write_all(b"{\"ack\":{\"token\":9").await.unwrap();
        drop(writer);
        reports.reach(2, SOON).await.unwrap();
        reports.settle(SOON).await.unwrap();
        assert_eq!(reports.count(), 2);
        assert_eq!(reports.found_by(7), Some(4));
        assert_eq!(reports.first_above(7, SOON).await.unwrap(), Ack { token: 9, n: 1, at_ns: 30 });
        assert!(reports.first_above(9, Duration::from_millis(1)).await.is_err());
    }
}
