//! The client of the story: a thread that writes one row after another, each a transaction of its own, into whatever Postgres the container is by
//! `berth ps`, and notes which commits were acknowledged. Used by the story; must note every attempt before anything of it is sent.

use crate::pg::Pg;
use berth_jepsen::e2e::{Cli, Row, RowNumber, Stamp, Witness};
use berth_state::ids::Token;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How long an answer is waited for. Longer, and a cut-off host would hide the new primary from the writer.
const ANSWER: Duration = Duration::from_secs(1);
/// The client's own pace, so that the machine is not busy with it alone.
const PACE: Duration = Duration::from_millis(10);
const ASK_AGAIN: Duration = Duration::from_millis(100);

pub struct Writer {
    stop: Arc<AtomicBool>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    witness: Mutex<Witness>,
    connections: AtomicU64,
}

impl Writer {
    /// The table has to be there.
    pub fn start(cli: Cli, container: &'static str, addresses: BTreeMap<String, Ipv4Addr>) -> Self {
        let (stop, shared) = (Arc::new(AtomicBool::new(false)), Arc::new(Shared::default()));
        let thread = thread::spawn({
            let (stop, shared) = (stop.clone(), shared.clone());
            move || {
                while !stop.load(Ordering::Relaxed) {
                    if let Some((token, host, pg)) = connect(&cli, container, &addresses) {
                        shared.connections.fetch_add(1, Ordering::Relaxed);
                        write_while_it_answers(&pg, token, &host, &stop, &shared.witness);
                    } else {
                        thread::sleep(ASK_AGAIN);
                    }
                }
            }
        });
        Self { stop, shared, thread: Some(thread) }
    }

    /// All it knows now.
    pub fn witness(&self) -> Witness {
        self.shared.witness.lock().unwrap().clone()
    }

    /// The same without a copy, for a short look.
    pub fn newest_token(&self, since: Stamp) -> Option<Token> {
        self.shared.witness.lock().unwrap().newest_token(since)
    }

    /// How often it had to connect.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

pub const CREATE_TABLE: &str = "create table story (n bigint primary key, token bigint not null, host text not null)";

fn connect(cli: &Cli, container: &str, addresses: &BTreeMap<String, Ipv4Addr>) -> Option<(Token, String, Pg)> {
    let placed = cli.placed(container).ok()??;
    let pg = Pg::connect(*addresses.get(&placed.host)?, ANSWER)?;
    Some((placed.token, placed.host, pg))
}

fn write_while_it_answers(pg: &Pg, token: Token, host: &str, stop: &AtomicBool, witness: &Mutex<Witness>) {
    while !stop.load(Ordering::Relaxed) {
        // Noted before it is sent: whatever happens from here on, the row may be there.
        let number = witness.lock().unwrap().attempt(token, host);
        let insert = format!("insert into story values ({}, {token}, '{host}')", number.0);
        if !pg.confirmed(&insert, ANSWER) {
            return;
        }
        witness.lock().unwrap().acknowledge(number, Stamp::now());
        thread::sleep(PACE);
    }
}

/// All rows that are there, as this Postgres tells; `None` when it does not answer.
pub fn read_back(pg: &Pg, bound: Duration) -> Option<Vec<Row>> {
    let rows = pg.rows("select n, token, host from story order by n", bound)?;
    let row = |fields: &Vec<String>| Row {
        number: RowNumber(fields[0].parse().unwrap()),
        token: Token(fields[1].parse().unwrap()),
        host: fields[2].clone(),
    };
    Some(rows.iter().map(row).collect())
}
