//! The writer of the comparison, the only program of its container image. Appends 200 lines a second to a file of its own in the directory it is given,
//! until it is killed. Must never write again what it missed while it was stopped: a line tells that the writer was running at that moment.

use rustix::time::{ClockId, clock_gettime};
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

/// 200 lines a second.
const PERIOD_NS: u64 = 5_000_000;
/// An fsync each second: enough that the lines are on the disk, too little to slow them.
const LINES_PER_FSYNC: u64 = 200;

fn main() -> ExitCode {
    let Some(directory) = std::env::args().nth(1) else {
        eprintln!("usage: compare-writer DIRECTORY");
        return ExitCode::from(2);
    };
    match write(Path::new(&directory)) {
        Ok(never) => match never {},
        Err(failed) => {
            eprintln!("compare-writer: {failed}");
            ExitCode::FAILURE
        }
    }
}

enum Never {}

fn write(directory: &Path) -> io::Result<Never> {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let pid = std::process::id();
    // Its own name by its start, so that no two instances ever share a file, the same host's included.
    let path = directory.join(format!("{host}-{}.lines", now_ns()));
    let mut file = File::options().create_new(true).append(true).open(path)?;
    let (mut next, mut sequence) = (now_ns(), 0_u64);
    loop {
        writeln_at_once(&mut file, &format!("{} {host} {pid} {sequence}\n", now_ns()))?;
        sequence += 1;
        if sequence % LINES_PER_FSYNC == 0 {
            file.sync_data()?;
        }
        next = (next + PERIOD_NS).max(now_ns());
        sleep(Duration::from_nanos(next.saturating_sub(now_ns())));
    }
}

/// One write call for the whole line, so that a kill leaves no half of one.
fn writeln_at_once(file: &mut File, line: &str) -> io::Result<()> {
    file.write_all(line.as_bytes())
}

/// The one clock that all hosts of the lab share and that runs on while a process is stopped.
fn now_ns() -> u64 {
    let time = clock_gettime(ClockId::Boottime);
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}
