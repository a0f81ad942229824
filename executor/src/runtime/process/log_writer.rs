//! Writes an instance's output to bounded files. Called by the shim only; must never block or fail the instance: when the disk
//! takes nothing, output is lost, and a line in the log says how much once it takes something again.
//!
//! `log/<number>`: segments of at most [`SEGMENT_BYTES`] and a line; the newest [`SEGMENTS`] are kept, so an instance's log has
//! at most [`LOG_BYTES`] and a line. A line is a marker, the text, and a newline. Markers: `o` standard output, `e` standard
//! error; `O` and `E` the same where the line goes on in the next one of that stream (longer than [`LINE_BYTES`], or the end).

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;

pub(super) const SEGMENT_BYTES: u64 = 4 << 20;
pub(super) const SEGMENTS: u64 = 4;
/// What one instance's log takes on disk, within a line.
pub const LOG_BYTES: u64 = SEGMENT_BYTES * SEGMENTS;
/// Longest text of one line on disk.
pub(super) const LINE_BYTES: usize = 16 << 10;

/// Numbers of the segments, oldest first.
pub(super) fn segments(folder: &std::path::Path) -> io::Result<Vec<u64>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        Err(error) => return Err(error),
    };
    let mut numbers: Vec<u64> = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

pub(super) struct LogWriter {
    folder: PathBuf,
    segment: u64,
    file: Option<File>,
    written: u64,
    /// Unfinished lines of standard output and standard error.
    pending: [Vec<u8>; 2],
    lost: u64,
}

impl LogWriter {
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, segment: 0, file: None, written: 0, pending: [vec![], vec![]], lost: 0 }
    }

    pub fn push(&mut self, stderr: bool, mut data: &[u8]) {
        let (full, partial) = if stderr { (b'e', b'E') } else { (b'o', b'O') };
        let mut lines = vec![];
        let pending = &mut self.pending[usize::from(stderr)];
        while !data.is_empty() {
            let room = LINE_BYTES - pending.len();
            let end = data.iter().take(room).position(|byte| *byte == b'\n');
            let take = end.unwrap_or(room.min(data.len()));
            pending.extend_from_slice(&data[..take]);
            data = &data[take + usize::from(end.is_some())..];
            if end.is_some() || pending.len() == LINE_BYTES {
                lines.push(if end.is_some() { full } else { partial });
                lines.append(pending);
                lines.push(b'\n');
            }
        }
        self.write(&lines);
    }

    /// Writes unfinished lines down as they are.
    pub fn finish(&mut self) {
        for (stderr, marker) in [(0, b'O'), (1, b'E')] {
            if !self.pending[stderr].is_empty() {
                let mut line = vec![marker];
                line.append(&mut self.pending[stderr]);
                line.push(b'\n');
                self.write(&line);
            }
        }
    }

    fn write(&mut self, lines: &[u8]) {
        if lines.is_empty() {
            return;
        }
        let notice = if self.lost > 0 {
            format!("e[berth: {} bytes of output are lost: the log could not be written]\n", self.lost)
        } else {
            String::new()
        };
        let whole = [notice.as_bytes(), lines].concat();
        match self.try_write(&whole) {
            Ok(()) => self.lost = 0,
            Err(_) => {
                // A torn line must not take the next one along.
                self.file = None;
                self.lost += lines.len() as u64;
            }
        }
    }

    fn try_write(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.written >= SEGMENT_BYTES {
            self.file = None;
        }
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let next = self.segment + 1;
                let file = OpenOptions::new().create(true).append(true).open(self.folder.join(format!("{next:010}")))?;
                self.segment = next;
                self.written = file.metadata()?.len();
                if let Some(old) = next.checked_sub(SEGMENTS) {
                    let _ = std::fs::remove_file(self.folder.join(format!("{old:010}")));
                }
                self.file.insert(file)
            }
        };
        file.write_all(lines)?;
        self.written += lines.len() as u64;
        Ok(())
    }
}
