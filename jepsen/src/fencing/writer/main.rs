//! The writer of the fencing report, the only program of its container image. Knows nothing of Berth but the token it finds in its environment: it stamps
//! CLOCK_BOOTTIME into files of its own in the directory it is given, until it is killed. Must never write again what it missed while it was stopped.
//!
//! ```text
//! fence-writer all DIR              starts one process of each kind and stays
//! fence-writer one DIR NAME KIND    KIND: buffered | synced | bulk
//! ```

use rustix::time::{ClockId, clock_gettime};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::thread::sleep;
use std::time::Duration;

const PERIOD: Duration = Duration::from_millis(5);
/// Large unsynced blocks: what a dead process leaves dirty in the page cache.
const BULK_PERIOD: Duration = Duration::from_millis(100);
const BULK_BLOCK: usize = 64 * 1024;
const BULK_MOST: usize = 32 << 20;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["all", directory] => all(directory),
        ["one", directory, name, kind @ ("buffered" | "synced" | "bulk")] => one(Path::new(directory), name, kind),
        _ => {
            eprintln!("usage: fence-writer all DIR | one DIR NAME buffered|synced|bulk");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => {
            eprintln!("fence-writer: {failed}");
            ExitCode::FAILURE
        }
    }
}

fn all(directory: &str) -> io::Result<()> {
    let own = std::env::current_exe()?;
    let start = |(name, kind)| Command::new(&own).args(["one", directory, name, kind]).spawn();
    let writers = [("w1", "buffered"), ("w2", "buffered"), ("w3", "synced"), ("w4", "bulk")];
    let mut children = writers.into_iter().map(start).collect::<io::Result<Vec<_>>>()?;
    loop {
        for child in &mut children {
            // One that cannot write any more ends the instance, as a database would.
            if let Some(status) = child.try_wait()? {
                return Err(io::Error::other(format!("a writer ended: {status}")));
            }
        }
        sleep(PERIOD);
    }
}

fn one(directory: &Path, name: &str, kind: &str) -> io::Result<()> {
    let token = std::env::var("BERTH_TOKEN").unwrap_or_else(|_| "0".to_owned());
    let stamps = directory.join("stamps");
    fs::create_dir_all(&stamps)?;
    // Its own name by its start, so that no two ever share a file.
    let path = stamps.join(format!("{token}.{name}.{kind}.{}", now_ns()));
    let mut file = File::options().create_new(true).append(true).open(path)?;
    let mut bulk = 0;
    loop {
        let mut line = now_ns().to_string().into_bytes();
        if kind == "bulk" {
            if bulk >= BULK_MOST {
                sleep(BULK_PERIOD);
                continue;
            }
            line.resize(BULK_BLOCK - 1, b' ');
            bulk += BULK_BLOCK;
        }
        line.push(b'\n');
        // One call for all of it, so that a kill leaves no half of a line.
        file.write_all(&line)?;
        if kind == "synced" {
            file.sync_data()?;
        }
        sleep(if kind == "bulk" { BULK_PERIOD } else { PERIOD });
    }
}

/// The one clock that all hosts of the lab share and that runs on while a process is stopped.
fn now_ns() -> u64 {
    let time = clock_gettime(ClockId::Boottime);
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}
