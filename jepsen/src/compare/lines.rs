//! What writers left behind: one file each, one stamped line each 5 ms. Read by the faults (is it writing?) and by the analysis. Must never guess: a file
//! that no writer can have written is an error, not a measurement.

use anyhow::{Context, Result, bail, ensure};
use rustix::time::{ClockId, clock_gettime};
use std::fs;
use std::path::Path;

/// CLOCK_BOOTTIME in nanoseconds: the same in every namespace of the lab, and it runs on while a host is frozen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BootNs(pub u64);

impl BootNs {
    pub fn now() -> Self {
        let time = clock_gettime(ClockId::Boottime);
        Self(time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs())
    }

    /// Milliseconds from `earlier` to this; zero if it was not earlier.
    pub fn ms_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0) / 1_000_000
    }
}

/// The lines of one writer, that is of one start of one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriterLines {
    pub name: String,
    /// When each line was written; never empty, and rising.
    pub stamps: Vec<BootNs>,
}

impl WriterLines {
    pub fn first(&self) -> BootNs {
        self.stamps[0]
    }

    pub fn last(&self) -> BootNs {
        self.stamps[self.stamps.len() - 1]
    }

    /// `None` while there is no whole line yet.
    ///
    /// # Errors
    /// A line that is not `stamp host pid sequence`, a gap in the sequence, a stamp that goes back.
    pub fn parse(name: &str, text: &str) -> Result<Option<Self>> {
        // A kill between two pages of a write can leave half a line; it was not finished, so it does not count.
        let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
        let mut stamps: Vec<BootNs> = Vec::new();
        for (number, line) in whole.lines().enumerate() {
            let words: Vec<&str> = line.split(' ').collect();
            let [stamp, _host, pid, sequence] = words.as_slice() else { bail!("{name}, line {number}: {line:?}") };
            let parsed = stamp.parse::<u64>().ok().zip(pid.parse::<u32>().ok()).zip(sequence.parse::<usize>().ok());
            let ((stamp, _pid), sequence) = parsed.with_context(|| format!("{name}, line {number}: {line:?}"))?;
            ensure!(sequence == number, "{name}: line {number} says it is line {sequence}: lines were lost or written over");
            ensure!(stamps.last().is_none_or(|last| last.0 <= stamp), "{name}, line {number}: time goes back");
            stamps.push(BootNs(stamp));
        }
        Ok((!stamps.is_empty()).then(|| Self { name: name.to_string(), stamps }))
    }

    /// All writers that wrote into `directory`, by their first line.
    pub fn read_all(directory: &Path) -> Result<Vec<Self>> {
        let mut writers = Vec::new();
        for entry in fs::read_dir(directory).with_context(|| format!("cannot list {}", directory.display()))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // Berth keeps a folder of its own in a volume, `.berth`.
            if entry.path().extension().is_some_and(|e| e == "lines") {
                writers.extend(Self::parse(&name, &fs::read_to_string(entry.path())?)?);
            }
        }
        writers.sort_by_key(Self::first);
        Ok(writers)
    }
}

#[cfg(test)]
mod tests {
    use super::{BootNs, WriterLines};

    #[test]
    fn whole_lines_are_read_and_half_a_line_at_the_end_is_not() {
        let read = WriterLines::parse("a", "100 h1 1 0\n105 h1 1 1\n110 h").expect("good lines").expect("some");
        assert_eq!(read.stamps, vec![BootNs(100), BootNs(105)]);
        assert_eq!(WriterLines::parse("a", "100 h1 1 0").expect("no error"), None, "not even one whole line");
        assert_eq!(WriterLines::parse("a", "").expect("no error"), None);
    }

    #[test]
    fn a_file_that_no_writer_can_have_written_is_refused() {
        for bad in ["100 h1 1\n", "x h1 1 0\n", "100 h1 1 1\n", "100 h1 1 0\n105 h1 1 2\n", "100 h1 1 0\n99 h1 1 1\n", "\n", "1 a 1 0\n\n"]
        {
            assert!(WriterLines::parse("a", bad).is_err(), "{bad:?}");
        }
    }
}
