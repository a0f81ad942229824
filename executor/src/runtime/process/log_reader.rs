//! Reads what `log_writer` wrote, from a place on. Called by `Runtime::logs`; must never hold an instance up: it only reads.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::PathBuf;

use super::log_writer::segments;
use crate::runtime::LogChunk;

/// Read at a time.
const READ_BYTES: usize = 64 << 10;

/// A place in an instance's log.
pub(super) struct LogCursor {
    folder: PathBuf,
    segment: u64,
    file: Option<File>,
    /// A line that was not complete at the last read.
    rest: Vec<u8>,
}

impl LogCursor {
    /// At the oldest line there is.
    pub fn at_the_start(folder: PathBuf) -> Self {
        Self { folder, segment: 0, file: None, rest: vec![] }
    }

    /// Moves to the present end and returns the last `lines` lines before it.
    pub fn skip_to_tail(&mut self, lines: u64) -> io::Result<Vec<LogChunk>> {
        let keep = usize::try_from(lines).unwrap_or(usize::MAX);
        let mut tail = VecDeque::new();
        loop {
            let read = self.read()?;
            if read.is_empty() {
                return Ok(tail.into());
            }
            tail.extend(read);
            tail.drain(..tail.len().saturating_sub(keep));
        }
    }

    /// The next lines, one a chunk; nothing at the present end.
    pub fn read(&mut self) -> io::Result<Vec<LogChunk>> {
        loop {
            if self.file.is_none() && !self.open_next()? {
                return Ok(vec![]);
            }
            let Some(file) = &mut self.file else { return Ok(vec![]) };
            // Asked before the read: what is in this segment when a later one exists is all there will ever be.
            let is_last = !segments(&self.folder)?.iter().any(|number| *number > self.segment);
            let mut buffer = vec![0; READ_BYTES];
            let count = file.read(&mut buffer)?;
            if count > 0 {
                self.rest.extend_from_slice(&buffer[..count]);
                let lines = self.take_lines();
                if !lines.is_empty() {
                    return Ok(lines);
                }
            } else if is_last {
                return Ok(vec![]);
            } else {
                self.file = None;
                self.rest.clear();
            }
        }
    }

    fn open_next(&mut self) -> io::Result<bool> {
        let Some(next) = segments(&self.folder)?.into_iter().find(|number| *number > self.segment) else { return Ok(false) };
        match File::open(self.folder.join(format!("{next:010}"))) {
            Ok(file) => {
                self.segment = next;
                self.file = Some(file);
                Ok(true)
            }
            // Rotated away since it was listed.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn take_lines(&mut self) -> Vec<LogChunk> {
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else { return vec![] };
        let left = self.rest.split_off(end + 1);
        let whole = std::mem::replace(&mut self.rest, left);
        whole.split_inclusive(|byte| *byte == b'\n').filter_map(parse).collect()
    }
}

/// `None` for what the writer never writes (a line torn by a crash).
fn parse(line: &[u8]) -> Option<LogChunk> {
    let (marker, text) = line.split_first()?;
    let (stderr, whole) = match marker {
        b'o' => (false, true),
        b'e' => (true, true),
        b'O' => (false, false),
        b'E' => (true, false),
        _ => return None,
    };
    let text = if whole { text } else { text.strip_suffix(b"\n").unwrap_or(text) };
    Some(LogChunk { stderr, data: text.to_vec() })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test")]
mod tests {
    use super::super::log_writer::{LINE_BYTES, LOG_BYTES, LogWriter, SEGMENT_BYTES};
    use super::*;

    fn drain(cursor: &mut LogCursor) -> Vec<LogChunk> {
        let mut all = vec![];
        loop {
            let read = cursor.read().unwrap();
            if read.is_empty() {
                return all;
            }
            all.extend(read);
        }
    }

    fn text(chunks: &[LogChunk], stderr: bool) -> Vec<u8> {
        chunks.iter().filter(|chunk| chunk.stderr == stderr).flat_map(|chunk| chunk.data.clone()).collect()
    }

    #[test]
    fn what_is_written_is_read_byte_for_byte() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = LogWriter::new(folder.path().to_path_buf());
        let mut cursor = LogCursor::at_the_start(folder.path().to_path_buf());
        assert_eq!(drain(&mut cursor), vec![]);
        let long = [vec![b'x'; LINE_BYTES * 2], b"\n\n".to_vec(), vec![0, 255, b'y']].concat();
        for piece in long.chunks(777) {
            writer.push(false, piece);
            writer.push(true, b"e\n");
        }
        let mut chunks = drain(&mut cursor);
        writer.finish();
        chunks.extend(drain(&mut cursor));
        assert_eq!(text(&chunks, false), long);
        assert_eq!(text(&chunks, true), b"e\n".repeat(long.len().div_ceil(777)));
    }

    #[test]
    fn the_log_is_bounded_and_a_follower_crosses_its_segments() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = LogWriter::new(folder.path().to_path_buf());
        let mut cursor = LogCursor::at_the_start(folder.path().to_path_buf());
        let line = [vec![b'a'; 999], vec![b'\n']].concat();
        let mut read = 0;
        let total = 3 * LOG_BYTES / 1000;
        for number in 0..total {
            writer.push(false, &line);
            if number % 1000 == 0 {
                read += drain(&mut cursor).len() as u64;
            }
        }
        read += drain(&mut cursor).len() as u64;
        assert_eq!(read, total, "the follower lost or doubled lines");
        let on_disk: u64 = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
        assert!(on_disk <= LOG_BYTES + 4 * 2000 && on_disk > LOG_BYTES - SEGMENT_BYTES - 4000, "{on_disk}");
    }

    #[test]
    fn the_tail_is_the_last_lines_and_the_cursor_goes_on_after_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = LogWriter::new(folder.path().to_path_buf());
        writer.push(false, b"1\n2\n3\n");
        let mut cursor = LogCursor::at_the_start(folder.path().to_path_buf());
        assert_eq!(text(&cursor.skip_to_tail(2).unwrap(), false), b"2\n3\n");
        writer.push(false, b"4\n");
        assert_eq!(text(&drain(&mut cursor), false), b"4\n");
    }

    #[test]
    fn a_log_that_cannot_be_written_says_later_what_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let mut writer = LogWriter::new(log.clone());
        writer.push(false, b"lost\n");
        std::fs::create_dir(&log).unwrap();
        writer.push(false, b"kept\n");
        let chunks = drain(&mut LogCursor::at_the_start(log));
        assert_eq!(text(&chunks, false), b"kept\n");
        assert!(String::from_utf8(text(&chunks, true)).unwrap().contains("6 bytes of output are lost"));
    }
}
