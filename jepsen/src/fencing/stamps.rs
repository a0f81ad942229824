//! What the writers left in the volume: a file for each (token, writer), a stamp for each write. Read by the rig at the end of a case. Pure but for the
//! reading; must never take for a stamp what no writer can have written.

use anyhow::{Context, Result};
use rustix::time::{ClockId, clock_gettime};
use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

/// CLOCK_BOOTTIME in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Ns(pub u64);

impl Ns {
    pub fn now() -> Self {
        Self(read(ClockId::Boottime))
    }

    pub fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms.saturating_mul(1_000_000)))
    }

    /// Milliseconds since `earlier`, rounded up: a tenth of one is not zero. Zero if it was not earlier.
    pub fn ms_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0).div_ceil(1_000_000)
    }

    /// Of a moment on the holder's clock (L19), which runs with MONOTONIC_RAW.
    pub fn of_holder_clock(ns: u64) -> Self {
        let (monotonic, raw) = (read(ClockId::Monotonic), read(ClockId::MonotonicRaw));
        Self(ns.saturating_add(monotonic).saturating_sub(raw))
    }

    /// Of a moment on this machine's wall clock.
    pub fn of_unix_ms(ms: u64) -> Self {
        let (boot, real) = (read(ClockId::Boottime), read(ClockId::Realtime));
        Self((ms * 1_000_000).saturating_add(boot).saturating_sub(real))
    }
}

fn read(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

/// All stamps under each token, in order of time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stamps {
    pub of: BTreeMap<u64, Vec<Ns>>,
    /// Writers (files) of each token.
    pub writers: BTreeMap<u64, usize>,
    /// Begin and end of each file of one token's same writer: two that overlap are two instances under one lease.
    pub lives: BTreeMap<(u64, String), Vec<(Ns, Ns)>>,
    /// Lines that a cut left unfinished; a sign of life of nobody.
    pub torn: usize,
}

impl Stamps {
    /// All files in `<volume>/stamps`; none when the folder is not there yet.
    ///
    /// # Errors
    /// It cannot be read, or holds what no writer left there.
    pub fn read(volume: &Path) -> Result<Self> {
        let folder = volume.join("stamps");
        let mut all = Self::default();
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(missing) if missing.kind() == ErrorKind::NotFound => return Ok(all),
            Err(failed) => return Err(failed).with_context(|| format!("cannot list {}", folder.display())),
        };
        for entry in entries {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let token = token_of(&name).with_context(|| format!("{} is no writer's file", path.display()))?;
            let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            all.add(token, &name, &bytes);
        }
        for stamps in all.of.values_mut() {
            stamps.sort_unstable();
        }
        Ok(all)
    }

    fn add(&mut self, token: u64, name: &str, bytes: &[u8]) {
        let stamps = self.of.entry(token).or_default();
        let before = stamps.len();
        *self.writers.entry(token).or_default() += 1;
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let text = std::str::from_utf8(line).unwrap_or_default();
            // What was cut in the middle of a line may still be the beginning of a number.
            match text.strip_suffix('\n').map(|text| text.trim_end().parse()) {
                Some(Ok(ns)) => stamps.push(Ns(ns)),
                Some(Err(_)) | None => self.torn += 1,
            }
        }
        let own = &stamps[before..];
        if let (Some(first), Some(last)) = (own.iter().min(), own.iter().max()) {
            let writer = name.split('.').nth(1).unwrap_or_default().to_owned();
            self.lives.entry((token, writer)).or_default().push((*first, *last));
        }
    }

    /// For how long two instances under the same token wrote, at most of all pairs.
    pub fn twins_ms(&self) -> u64 {
        let of_writer = |lives: &Vec<(Ns, Ns)>| {
            let mut lives = lives.clone();
            lives.sort_unstable();
            lives.windows(2).filter(|pair| pair[0].1 >= pair[1].0).map(|pair| pair[0].1.min(pair[1].1).ms_since(pair[1].0).max(1)).max()
        };
        self.lives.values().filter_map(of_writer).max().unwrap_or(0)
    }

    pub fn count(&self, token: u64) -> usize {
        self.of.get(&token).map_or(0, Vec::len)
    }
}

/// The token in the name of a writer's file.
pub fn token_of(name: &str) -> Option<u64> {
    name.split_once('.')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{Ns, Stamps, token_of};

    #[test]
    fn whole_lines_are_stamps_and_torn_ones_are_not() {
        let mut seen = Stamps::default();
        seen.add(7, "7.w1.buffered.1", b"100\n200   \n30");
        seen.add(7, "7.w2.buffered.1", b"\0\0\0\n150\n");
        assert_eq!(seen.of[&7], [Ns(100), Ns(200), Ns(150)]);
        assert_eq!((seen.writers[&7], seen.torn), (2, 2));
    }

    #[test]
    fn two_instances_under_one_token_are_seen_and_two_writers_of_one_instance_are_none() {
        let mut seen = Stamps::default();
        seen.add(7, "7.w1.buffered.1", b"1000000\n9000000\n");
        seen.add(7, "7.w2.buffered.1", b"1000000\n9000000\n");
        assert_eq!(seen.twins_ms(), 0);
        seen.add(7, "7.w1.buffered.2", b"10000000\n12000000\n");
        assert_eq!(seen.twins_ms(), 0, "one after the other");
        seen.add(7, "7.w2.buffered.2", b"6000000\n12000000\n");
        assert_eq!(seen.twins_ms(), 3);
    }

    #[test]
    fn a_file_belongs_to_the_token_it_is_named_by() {
        assert_eq!(token_of("42.w1.buffered.99"), Some(42));
        assert_eq!(token_of("lost+found"), None);
    }

    #[test]
    fn a_tenth_of_a_millisecond_is_not_zero() {
        assert_eq!(Ns(100_000).ms_since(Ns(0)), 1);
        assert_eq!(Ns(0).ms_since(Ns(100_000)), 0);
    }
}
