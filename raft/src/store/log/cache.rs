//! The newest entries in memory, so that replication and apply do not read from the engine what was written a moment ago. Bounded in bytes;
//! always one run of entries up to the last one.

use std::collections::VecDeque;

use openraft::EntryPayload;

use crate::types::Entry;

/// About a second of entries at the highest rate measured.
const CAPACITY_BYTES: usize = 8 << 20;
/// What an entry costs beyond its command.
const ENTRY_OVERHEAD_BYTES: usize = 96;

/// Roughly what an entry takes on the wire or in memory.
pub fn size_of(entry: &Entry) -> usize {
    let payload = match &entry.payload {
        EntryPayload::Blank => 0,
        EntryPayload::Normal(proposal) => proposal.0.len(),
        EntryPayload::Membership(membership) => membership.nodes().map(|(_, member)| member.address.len() + 16).sum(),
    };
    payload + ENTRY_OVERHEAD_BYTES
}

#[derive(Default)]
pub struct RecentEntries {
    entries: VecDeque<Entry>,
    bytes: usize,
}

impl RecentEntries {
    /// Adds the entry that follows the newest one.
    pub fn push(&mut self, entry: Entry) {
        self.bytes += size_of(&entry);
        self.entries.push_back(entry);
        while self.bytes > CAPACITY_BYTES {
            self.pop_front();
        }
    }

    fn pop_front(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.bytes -= size_of(&entry);
        }
    }

    pub fn clear(&mut self) {
        self.entries.clear();
        self.bytes = 0;
    }

    /// Drops entries up to an index, included.
    pub fn purge(&mut self, index: u64) {
        while self.entries.front().is_some_and(|entry| entry.log_id.index <= index) {
            self.pop_front();
        }
    }

    /// Entries from `from` to `to` (excluded) up to about `max_bytes`, at least one; none if `from` is not here.
    pub fn read(&self, from: u64, to: u64, max_bytes: usize) -> Option<Vec<Entry>> {
        let first = self.entries.front()?.log_id.index;
        let skip = usize::try_from(from.checked_sub(first)?).ok()?;
        if skip >= self.entries.len() {
            return None;
        }
        let mut bytes = 0;
        let wanted = self.entries.range(skip..).take_while(|entry| {
            let fits = entry.log_id.index < to && (bytes == 0 || bytes < max_bytes);
            bytes += size_of(entry);
            fits
        });
        Some(wanted.cloned().collect())
    }
}
