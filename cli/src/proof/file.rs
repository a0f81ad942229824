//! An exported history: JSON lines. The first line says what it is, each further one is an event as it was hashed, the last says where the history
//! ended. Written and read one line at a time, so that a history of any length fits. docs/operations.md describes it.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::chain::{Hash, Head, Record, from_hex, to_hex};
use crate::failure::Failure;

const FORMAT: &str = "berth-history";
const VERSION: u32 = 1;
/// No event is nearly as long; a line beyond it is not read to its end.
const MAX_LINE_BYTES: u64 = 16 << 20;

#[derive(Serialize, Deserialize)]
struct First {
    format: String,
    version: u32,
    cluster: String,
}

#[derive(Serialize, Deserialize)]
struct Line {
    revision: u64,
    seq: u32,
    event: String,
    hash: String,
}

#[derive(Serialize, Deserialize)]
struct Last {
    end: End,
}

#[derive(Serialize, Deserialize)]
struct End {
    events: u64,
    revision: u64,
    seq: u32,
    hash: String,
}

/// A file that is being written. Finished under its name only when it is whole.
pub struct Export {
    out: BufWriter<File>,
    path: PathBuf,
    part: PathBuf,
    events: u64,
    head: Option<Head>,
}

impl Export {
    /// # Errors
    /// [`Failure::File`]; the same for the others.
    pub fn create(path: &Path, cluster: &str) -> Result<Self, Failure> {
        let part = path.with_extension("part");
        let out = BufWriter::new(File::create(&part).map_err(|source| Failure::File { path: part.clone(), source })?);
        let mut export = Self { out, path: path.to_owned(), part, events: 0, head: None };
        export.line(&First { format: FORMAT.to_owned(), version: VERSION, cluster: cluster.to_owned() })?;
        Ok(export)
    }

    /// # Errors
    /// [`Failure::File`].
    pub fn record(&mut self, record: &Record) -> Result<(), Failure> {
        self.events += 1;
        self.head = Some(record.head());
        let Record { revision, seq, event, hash } = record;
        self.line(&Line { revision: *revision, seq: *seq, event: to_hex(event), hash: hash.to_string() })
    }

    /// # Errors
    /// [`Failure::File`].
    pub fn finish(mut self) -> Result<(), Failure> {
        if let Some(head) = self.head {
            let end = End { events: self.events, revision: head.revision, seq: head.seq, hash: head.hash.to_string() };
            self.line(&Last { end })?;
        }
        let wrong = |source| Failure::File { path: self.path.clone(), source };
        self.out.flush().map_err(wrong)?;
        self.out.get_ref().sync_all().map_err(wrong)?;
        std::fs::rename(&self.part, &self.path).map_err(wrong)
    }

    fn line<T: Serialize>(&mut self, line: &T) -> Result<(), Failure> {
        let wrong = |source| Failure::File { path: self.part.clone(), source };
        let text = serde_json::to_string(line).map_err(|e| wrong(e.into()))?;
        writeln!(self.out, "{text}").map_err(wrong)
    }
}

/// What a line of a file says.
pub enum Item {
    Record(Record),
    /// The last line: number of events, and the last of them.
    End(u64, Head),
}

/// A file that is read. What is wrong with a line is a finding of the proof, not an error of the world.
pub struct Import {
    lines: BufReader<File>,
    path: PathBuf,
    number: u64,
    pub cluster: String,
}

impl Import {
    /// # Errors
    /// [`Failure::File`]; [`Failure::Usage`] when it is no such file.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let file = File::open(path).map_err(|source| Failure::File { path: path.to_owned(), source })?;
        let mut import = Self { lines: BufReader::new(file), path: path.to_owned(), number: 0, cluster: String::new() };
        let first = import.text()?.and_then(|text| serde_json::from_str::<First>(&text).ok()).filter(|first| first.format == FORMAT);
        match first {
            Some(first) if first.version == VERSION => import.cluster = first.cluster,
            Some(first) => {
                let why = format!("{}: history file of version {}, this program reads {VERSION}", path.display(), first.version);
                return Err(Failure::Usage(why));
            }
            None => return Err(Failure::Usage(format!("{}: no history file: `berth proof --export` writes one", path.display()))),
        }
        Ok(import)
    }

    /// The next line, `None` at the end; or what is wrong with it.
    ///
    /// # Errors
    /// [`Failure::File`].
    pub fn next(&mut self) -> Result<Option<Result<Item, String>>, Failure> {
        let Some(text) = self.text()? else { return Ok(None) };
        Ok(Some(item(&text).ok_or_else(|| format!("line {} is no event", self.number))))
    }

    fn text(&mut self) -> Result<Option<String>, Failure> {
        use std::io::Read as _;
        let mut bytes = Vec::new();
        let read = (&mut self.lines).take(MAX_LINE_BYTES).read_until(b'\n', &mut bytes);
        read.map_err(|source| Failure::File { path: self.path.clone(), source })?;
        self.number += 1;
        // A last line that was cut off does not parse, which says it.
        Ok(if bytes.is_empty() { None } else { Some(String::from_utf8_lossy(&bytes).into_owned()) })
    }
}

fn item(text: &str) -> Option<Item> {
    let hash = |text: &str| from_hex(text).and_then(|bytes| Hash::from_bytes(&bytes));
    if let Ok(Last { end }) = serde_json::from_str(text) {
        return Some(Item::End(end.events, Head { revision: end.revision, seq: end.seq, hash: hash(&end.hash)? }));
    }
    let line: Line = serde_json::from_str(text).ok()?;
    Some(Item::Record(Record { revision: line.revision, seq: line.seq, event: from_hex(&line.event)?, hash: hash(&line.hash)? }))
}
