//! What the demo says while it goes on: on standard error, one thought a line, each with its time. The result is not its business.

use berth_raft::clock::{Clock, RawTime, SystemClock};
use berth_state::Event;

use crate::output::say;
use crate::output::table::Table;

/// Says things with the time since it was made.
#[derive(Clone, Copy, Debug)]
pub struct Talk {
    start: RawTime,
}

impl Talk {
    #[must_use]
    pub fn start() -> Self {
        Self { start: SystemClock::new().raw_now() }
    }

    #[must_use]
    pub fn elapsed_ms(&self) -> u64 {
        SystemClock::new().raw_now().ms_since(self.start)
    }

    /// What is done now.
    pub fn step(&self, text: &str) {
        let ms = self.elapsed_ms();
        say(&format!("{:>4}.{} s  {text}", ms / 1_000, ms % 1_000 / 100));
    }

    /// What belongs to the last step: why it is so, what it shows.
    pub fn more(&self, text: &str) {
        say(&format!("          {text}"));
    }

    /// An event as it happens.
    pub fn event(&self, event: &Event, words: &str) {
        say(&format!("          │ revision {:<4} {:<26} {words}", event.revision, event.fact.kind()));
    }

    /// A new part of the story.
    pub fn part(&self, title: &str) {
        say("");
        say(title);
    }

    /// A table of what is there now.
    pub fn table(&self, table: &Table) {
        table.text().lines().for_each(|line| self.more(line));
    }
}
