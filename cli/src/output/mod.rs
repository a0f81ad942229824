//! What the client prints: data on standard output, as a table or as JSON; talk on standard error. The only place that writes to either.
//!
//! [`table`]: aligned columns. [`record`]: one object as indented lines. [`time`]: Unix milliseconds for people.

pub mod record;
pub mod table;
pub mod time;

use std::io::Write;

use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// What goes to standard output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    #[default]
    Table,
    Json,
}

#[derive(Clone, Copy, Debug)]
pub struct Output {
    format: Format,
}

impl Output {
    #[must_use]
    pub fn new(format: Format) -> Self {
        Self { format }
    }

    #[must_use]
    pub fn is_json(self) -> bool {
        match self.format {
            Format::Json => true,
            Format::Table => false,
        }
    }

    /// A whole answer: indented JSON, or the text.
    ///
    /// # Errors
    /// [`Failure::Output`].
    pub fn show<T: Serialize + ?Sized>(self, value: &T, text: impl FnOnce() -> String) -> Result<(), Failure> {
        match self.format {
            Format::Json => self.print(&(serde_json::to_string_pretty(value).map_err(into_output)? + "\n")),
            Format::Table => self.print(&text()),
        }
    }

    /// One of many: a JSON object on one line, or the text.
    ///
    /// # Errors
    /// [`Failure::Output`].
    pub fn one<T: Serialize + ?Sized>(self, value: &T, text: impl FnOnce() -> String) -> Result<(), Failure> {
        match self.format {
            Format::Json => self.print(&(serde_json::to_string(value).map_err(into_output)? + "\n")),
            Format::Table => self.print(&text()),
        }
    }

    /// An object by itself: JSON, or one field a line.
    ///
    /// # Errors
    /// [`Failure::Output`].
    pub fn record<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Failure> {
        let json = serde_json::to_value(value).map_err(into_output)?;
        self.show(&json, || record::text(&json))
    }

    /// # Errors
    /// [`Failure::Output`].
    pub fn print(self, text: &str) -> Result<(), Failure> {
        self.bytes(text.as_bytes())
    }

    /// # Errors
    /// [`Failure::Output`].
    pub fn bytes(self, bytes: &[u8]) -> Result<(), Failure> {
        let mut stdout = std::io::stdout().lock();
        // At once, also when it is no terminal: the reader of a followed stream waits for each line.
        stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(Failure::Output)
    }
}

/// Talk: to standard error. That nobody reads it is no failure.
pub fn say(text: &str) {
    say_bytes(format!("{text}\n").as_bytes());
}

/// The same for what is no text of ours.
pub fn say_bytes(bytes: &[u8]) {
    let _ = std::io::stderr().lock().write_all(bytes);
}

fn into_output(error: serde_json::Error) -> Failure {
    Failure::Output(error.into())
}
