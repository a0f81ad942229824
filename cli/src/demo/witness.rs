//! The witness: the small writer that the demo runs under a lease. The hidden subcommand `berth witness`, started by an executor as
//! any other container's command. It appends one line a write, syncs it, and only then acknowledges it.
//!
//! It must stay naive: no look at other tokens, no fence file, no refusal. Whether it is alone is what it is to bear witness of, and a
//! writer that minded itself would hide what Berth did wrong.
//!
//! Acknowledgements go over a loopback connection to the demo, which stands for the writer's client: outside of the volume, so that
//! neither loss nor repair of the volume touches them, and what is sent when the writer is killed still arrives.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use berth_raft::clock::{Clock, SystemClock};

use super::line::{Ack, FILE, Line, Opened, Report};

/// Environment variable with the address that acknowledgements go to.
pub const ACKS: &str = "WITNESS_ACKS";

/// Flags of `berth witness`.
#[derive(Clone, Debug, clap::Args)]
pub struct WitnessArgs {
    /// Volume to write to.
    #[arg(long)]
    volume: String,
    /// Where the volume is; by default what the executor says in `BERTH_VOLUME_<NAME>`.
    #[arg(long)]
    volume_dir: Option<PathBuf>,
    /// Fencing token of the lease.
    #[arg(long, env = "BERTH_TOKEN")]
    token: u64,
    /// Name to write under: the host.
    #[arg(long, env = "BERTH_HOST")]
    writer: String,
    /// Where acknowledgements go; none: nowhere.
    #[arg(long, env = ACKS)]
    acks: Option<SocketAddr>,
    /// Pause between two writes.
    #[arg(long, default_value_t = 5)]
    pause_ms: u64,
    /// Stop after so many writes; none: never.
    #[arg(long)]
    writes: Option<u64>,
}

/// Writes until it is killed, or has done its writes.
///
/// # Errors
/// The volume cannot be written, or nobody takes the acknowledgements any more.
pub fn run(args: &WitnessArgs) -> anyhow::Result<()> {
    let folder = match &args.volume_dir {
        Some(folder) => folder.clone(),
        None => folder_of(&args.volume)?,
    };
    let mut acks = args.acks.map(connect).transpose()?;
    let mut log = Log::open(&folder.join(FILE), &args.volume, args.token, &args.writer)?;
    report(acks.as_mut(), &Report::Opened(Opened { token: args.token, writer: args.writer.clone(), lines: log.found }))?;
    let last = args.writes.map_or(u64::MAX, |writes| log.next.saturating_add(writes));
    while log.next < last {
        let n = log.append()?;
        // Durable before reply.
        let at_ns = SystemClock::new().raw_now().0;
        report(acks.as_mut(), &Report::Ack(Ack { token: args.token, n, at_ns }))?;
        pause(Duration::from_millis(args.pause_ms));
    }
    Ok(())
}

#[allow(clippy::disallowed_methods, reason = "a process of one thread, with nothing else to do meanwhile")]
fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

/// Where the executor says that the volume is.
fn folder_of(volume: &str) -> anyhow::Result<PathBuf> {
    let plain = |letter: char| if letter.is_ascii_alphanumeric() { letter.to_ascii_uppercase() } else { '_' };
    let variable = format!("BERTH_VOLUME_{}", volume.chars().map(plain).collect::<String>());
    let folder =
        std::env::var_os(&variable).with_context(|| format!("{variable} is not set: start this under a lease, or give --volume-dir"))?;
    Ok(folder.into())
}

fn connect(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(address).with_context(|| format!("nobody takes acknowledgements at {address}"))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn report(to: Option<&mut TcpStream>, report: &Report) -> anyhow::Result<()> {
    let Some(stream) = to else { return Ok(()) };
    let mut bytes = serde_json::to_vec(report)?;
    bytes.push(b'\n');
    stream.write_all(&bytes).context("nobody takes acknowledgements any more")
}

/// The file in the volume, opened for appending.
struct Log {
    file: File,
    line: Line,
    next: u64,
    /// Whole lines found when it was opened.
    found: u64,
}

impl Log {
    fn open(path: &Path, key: &str, token: u64, writer: &str) -> anyhow::Result<Self> {
        let doing = || format!("{}: cannot be opened", path.display());
        let mut file = OpenOptions::new().create(true).read(true).append(true).open(path).with_context(doing)?;
        let mut bytes = vec![];
        file.read_to_end(&mut bytes).with_context(doing)?;
        // Recovery: what a killed writer left without its end was never acknowledged. Only that is taken away, so that a line of a
        // writer who should be dead, and is not, stays for the verdict.
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        if whole < bytes.len() {
            file.set_len(whole as u64).with_context(doing)?;
        }
        let lines: Vec<&[u8]> = bytes[..whole].split_inclusive(|byte| *byte == b'\n').collect();
        let own = lines.iter().filter_map(|line| serde_json::from_slice::<Line>(line).ok()).filter(|line| line.token == token);
        // A restart under the same lease goes on counting.
        let next = own.map(|line| line.n).max().unwrap_or(0) + 1;
        // The name of a new file must be as durable as what is written to it.
        path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all()).with_context(doing)?;
        let line = Line { key: key.to_owned(), token, writer: writer.to_owned(), n: 0 };
        Ok(Self { file, line, next, found: lines.len() as u64 })
    }

    /// Writes the next line and returns its number when it is on the disk.
    fn append(&mut self) -> anyhow::Result<u64> {
        self.line.n = self.next;
        let mut bytes = serde_json::to_vec(&self.line)?;
        bytes.push(b'\n');
        // One call for one line: with O_APPEND two writers would give whole lines in some order, never a mixture.
        let written = self.file.write(&bytes).context("write to the volume")?;
        anyhow::ensure!(written == bytes.len(), "only {written} of {} bytes were written to the volume: is it full?", bytes.len());
        self.file.sync_data().context("sync of the volume")?;
        self.check(&bytes)?;
        self.next += 1;
        Ok(self.line.n)
    }

    /// After a write: the end of the file is whole lines. Cheap, and catches a volume that lies about what it took.
    fn check(&self, bytes: &[u8]) -> anyhow::Result<()> {
        let length = self.file.metadata().context("size of the volume's file")?.len();
        anyhow::ensure!(length >= bytes.len() as u64, "the volume's file is shorter than what was just written to it");
        let mut end = [0];
        self.file.read_exact_at(&mut end, length - 1).context("read back from the volume")?;
        anyhow::ensure!(end == *b"\n", "the volume's file ends in something else than what was just written to it");
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test")]
mod tests {
    use super::*;

    fn appended(path: &Path, token: u64, lines: u64) -> Log {
        let mut log = Log::open(path, "ledger", token, "h1").unwrap();
        for _ in 0..lines {
            log.append().unwrap();
        }
        log
    }

    #[test]
    fn a_restart_under_the_same_lease_goes_on_counting_and_another_lease_begins_at_1() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        appended(&path, 5, 3);
        let again = appended(&path, 5, 1);
        assert_eq!((again.found, again.next), (3, 5));
        let other = appended(&path, 8, 0);
        assert_eq!((other.found, other.next), (4, 1));
    }

    #[test]
    fn a_torn_line_is_cut_off_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        appended(&path, 5, 2);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, [&whole[..], b"{\"key\":\"led"].concat()).unwrap();
        let log = appended(&path, 8, 1);
        assert_eq!(log.found, 2);
        let after = std::fs::read(&path).unwrap();
        assert_eq!(&after[..whole.len()], &whole[..]);
        assert_eq!(after[whole.len()..].iter().filter(|byte| **byte == b'\n').count(), 1);
    }
}
