//! A blocking Postgres client with bounds, for tests that run against the lab from the root namespace. It must tell "no answer" from an answer: a
//! dead host says nothing at all, and a commit that nobody confirmed may still have happened.

#![allow(dead_code, reason = "each test uses its part")]

use berth_jepsen::lab::wait_until;
use std::net::Ipv4Addr;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::time::timeout;
use tokio_postgres::SimpleQueryMessage;

const SECOND: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(30);

/// A connection to a Postgres in the lab, from the root namespace.
pub struct Pg {
    runtime: Runtime,
    client: tokio_postgres::Client,
}

impl Pg {
    pub fn connect(ip: Ipv4Addr, bound: Duration) -> Option<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let config = format!("host={ip} port=5432 user=postgres dbname=postgres");
        let connected = runtime.block_on(async { timeout(bound, tokio_postgres::connect(&config, tokio_postgres::NoTls)).await });
        let (client, connection) = connected.ok()?.ok()?;
        runtime.spawn(connection);
        Some(Self { runtime, client })
    }

    pub fn connect_soon(ip: Ipv4Addr) -> Self {
        let mut found = None;
        wait_until("Postgres to accept a connection", LONG, || {
            found = Self::connect(ip, SECOND);
            Ok(found.is_some())
        })
        .unwrap();
        found.unwrap()
    }

    /// The first column of the first row as a number, or `None` when no answer came in time. An error for an answer panics.
    pub fn number(&self, sql: &str, bound: Duration) -> Option<i64> {
        let answer = self.runtime.block_on(async { timeout(bound, self.client.query_one(sql, &[])).await });
        answer.ok().map(|row| row.unwrap().get(0))
    }

    pub fn execute(&self, sql: &str) {
        self.runtime.block_on(async { timeout(LONG, self.client.batch_execute(sql)).await }).unwrap().unwrap();
    }

    /// Whether the server confirmed that it carried `sql` out. False says nothing: it may have been carried out all the same.
    pub fn confirmed(&self, sql: &str, bound: Duration) -> bool {
        matches!(self.runtime.block_on(async { timeout(bound, self.client.batch_execute(sql)).await }), Ok(Ok(())))
    }

    /// All rows as text, or `None` when the server did not give them in time.
    pub fn rows(&self, sql: &str, bound: Duration) -> Option<Vec<Vec<String>>> {
        let messages = self.runtime.block_on(async { timeout(bound, self.client.simple_query(sql)).await }).ok()?.ok()?;
        let text = |row: &tokio_postgres::SimpleQueryRow| (0..row.len()).map(|i| row.get(i).unwrap_or_default().to_string()).collect();
        let rows = messages.iter().filter_map(|message| if let SimpleQueryMessage::Row(row) = message { Some(text(row)) } else { None });
        Some(rows.collect())
    }

    /// When this postmaster started, by its own clock, to the microsecond: another one has another.
    pub fn postmaster(&self, bound: Duration) -> Option<String> {
        self.rows("select pg_postmaster_start_time()::text", bound)?.into_iter().next()?.into_iter().next()
    }
}
