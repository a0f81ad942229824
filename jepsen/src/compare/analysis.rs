//! The judge of a case: from the writers' own stamps to recovery, silence, overlap and late lines. Pure. Called by the faults after each case; knows
//! neither which system ran nor what it promised.

use crate::compare::lines::{BootNs, WriterLines};
use serde::{Deserialize, Serialize};

/// A writer that paused for less (a slow fsync, a busy machine) was writing all the time; after more it had stopped in between.
const SAME_STRETCH_NS: u64 = 1_000_000_000;
/// What one line stands for: 200 a second.
const LINE_NS: u64 = 5_000_000;

/// What one case did to the data's users.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measured {
    /// From the fault to the first line of a writer that began after it; `None`: none began.
    pub recovery_ms: Option<u64>,
    /// The longest time in which nobody wrote, from the last line before the fault to the end of the watch.
    pub silence_ms: u64,
    /// For how long two writers or more were writing.
    pub overlap_ms: u64,
    /// Lines that a writer wrote after the first line of one that began later.
    pub late_lines: u64,
    /// The last of them.
    pub last_late: Option<u64>,
    /// Writers that began after the fault.
    pub new_writers: usize,
    /// Two were still writing at the end of the watch.
    pub still_two: bool,
}

/// Judges the lines up to `until`, the end of the watch.
pub fn measure(writers: &[WriterLines], fault: BootNs, until: BootNs) -> Measured {
    let mut seen: Vec<Vec<BootNs>> = writers.iter().map(|w| w.stamps.iter().copied().filter(|s| *s <= until).collect()).collect();
    seen.retain(|stamps: &Vec<BootNs>| !stamps.is_empty());
    seen.sort_by_key(|stamps| stamps[0]);
    let late = late_lines(&seen);
    let begun: Vec<BootNs> = seen.iter().map(|stamps| stamps[0]).filter(|first| *first > fault).collect();
    let stretches: Vec<(u64, u64)> = seen.iter().flat_map(|stamps| stretches(stamps)).collect();
    let at_the_end = stretches.iter().filter(|(_, end)| end + SAME_STRETCH_NS > until.0).count();
    Measured {
        recovery_ms: begun.first().map(|first| first.ms_since(fault)),
        silence_ms: longest_silence(&seen, fault, until),
        overlap_ms: rounded_up_ms(overlap_ns(&stretches)),
        late_lines: late.len() as u64,
        last_late: late.iter().max().map(|stamp| stamp.0),
        new_writers: begun.len(),
        still_two: at_the_end > 1,
    }
}

/// A tenth of a millisecond of two writers is not zero.
fn rounded_up_ms(ns: u64) -> u64 {
    ns.div_ceil(1_000_000)
}

/// `seen` is sorted by first line, so the earliest start after a writer's own is the next one's.
fn late_lines(seen: &[Vec<BootNs>]) -> Vec<BootNs> {
    let pairs = seen.iter().zip(seen.iter().skip(1));
    pairs.flat_map(|(old, next)| old.iter().copied().filter(|stamp| *stamp > next[0])).collect()
}

/// The times in which one writer was writing, each with the time of its last line's period.
fn stretches(stamps: &[BootNs]) -> Vec<(u64, u64)> {
    let mut found: Vec<(u64, u64)> = Vec::new();
    for stamp in stamps {
        match found.last_mut() {
            Some(open) if stamp.0.saturating_sub(open.1) < SAME_STRETCH_NS => open.1 = stamp.0 + LINE_NS,
            Some(_) | None => found.push((stamp.0, stamp.0 + LINE_NS)),
        }
    }
    found
}

/// How long at least two stretches ran. One writer's own stretches never touch, so two at once are two writers.
fn overlap_ns(stretches: &[(u64, u64)]) -> u64 {
    let ends = stretches.iter().map(|(_, end)| (*end, -1_i32));
    let mut turns: Vec<(u64, i32)> = stretches.iter().map(|(begin, _)| (*begin, 1)).chain(ends).collect();
    turns.sort_unstable();
    let (mut open, mut since, mut total) = (0, 0, 0);
    for (at, change) in turns {
        if open > 1 {
            total += at - since;
        }
        (open, since) = (open + change, at);
    }
    total
}

fn longest_silence(seen: &[Vec<BootNs>], fault: BootNs, until: BootNs) -> u64 {
    let mut all: Vec<BootNs> = seen.iter().flatten().copied().collect();
    all.sort_unstable();
    let before = all.iter().copied().filter(|s| *s <= fault).max().unwrap_or(fault);
    let mut points: Vec<BootNs> = std::iter::once(before).chain(all.into_iter().filter(|s| *s > fault)).collect();
    points.push(until);
    points.windows(2).map(|pair| pair[1].ms_since(pair[0])).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{Measured, measure};
    use crate::compare::lines::{BootNs, WriterLines};

    const MS: u64 = 1_000_000;

    /// A writer with a line each 5 ms from `from` to `to`, both in ms, `to` not included, in each of the stretches.
    fn writer(name: &str, stretches: &[(u64, u64)]) -> WriterLines {
        let of = |(from, to): &(u64, u64)| (*from..*to).step_by(5).map(|ms| BootNs(ms * MS)).collect::<Vec<_>>();
        WriterLines { name: name.to_string(), stamps: stretches.iter().flat_map(of).collect() }
    }

    fn judged(writers: &[WriterLines], until_ms: u64) -> Measured {
        measure(writers, BootNs(1_000 * MS), BootNs(until_ms * MS))
    }

    #[test]
    fn a_clean_takeover_has_a_recovery_and_nothing_else() {
        let seen = judged(&[writer("old", &[(0, 1_000)]), writer("new", &[(18_000, 25_000)])], 25_000);
        assert_eq!((seen.recovery_ms, seen.silence_ms), (Some(17_000), 17_005));
        assert_eq!((seen.overlap_ms, seen.late_lines, seen.last_late, seen.new_writers, seen.still_two), (0, 0, None, 1, false));
    }

    #[test]
    fn an_old_writer_that_goes_on_is_an_overlap_with_every_one_of_its_lines() {
        let seen = judged(&[writer("old", &[(0, 60_000)]), writer("new", &[(18_000, 70_000)])], 70_000);
        assert_eq!(seen.overlap_ms, 42_000);
        assert_eq!(
            seen.late_lines, 8_399,
            "18.005 s to 59.995 s, each 5 ms; the line at the very moment of the first new one is not later"
        );
        assert_eq!((seen.last_late, seen.still_two), (Some(59_995 * MS), false));
        assert_eq!(seen.silence_ms, 5, "somebody wrote all the time");
    }

    #[test]
    fn a_thawed_writer_overlaps_only_while_it_writes_and_not_while_it_is_frozen() {
        let old = writer("old", &[(0, 1_000), (41_000, 42_100)]);
        let seen = judged(&[writer("new", &[(18_000, 50_000)]), old], 50_000);
        assert_eq!((seen.overlap_ms, seen.late_lines), (1_100, 220));
        assert_eq!(seen.recovery_ms, Some(17_000));
    }

    #[test]
    fn one_single_late_line_is_seen_though_it_falls_into_a_pause_of_the_new_writer() {
        let old = writer("old", &[(0, 1_000), (41_000, 41_005)]);
        let during = judged(&[old.clone(), writer("new", &[(18_000, 50_000)])], 50_000);
        assert_eq!((during.overlap_ms, during.late_lines), (5, 1));
        let between = judged(&[old, writer("new", &[(18_000, 30_000), (45_000, 50_000)])], 50_000);
        assert_eq!((between.overlap_ms, between.late_lines), (0, 1), "not at once, but late all the same");
    }

    #[test]
    fn two_writers_at_the_end_of_the_watch_are_said_to_be_still_there() {
        let seen = judged(&[writer("old", &[(0, 30_000)]), writer("new", &[(18_000, 30_000)])], 30_000);
        assert!(seen.still_two);
        let cut = judged(&[writer("old", &[(0, 40_000)]), writer("new", &[(18_000, 40_000)])], 30_000);
        assert_eq!(cut.overlap_ms, 12_005, "what comes after the watch is not counted");
    }

    #[test]
    fn without_a_new_writer_the_silence_tells_whether_the_old_one_went_on() {
        let went_on = judged(&[writer("old", &[(0, 30_000)])], 30_000);
        assert_eq!((went_on.recovery_ms, went_on.silence_ms, went_on.overlap_ms), (None, 5, 0));
        let nobody = judged(&[writer("old", &[(0, 1_000)])], 30_000);
        assert_eq!((nobody.recovery_ms, nobody.silence_ms), (None, 29_005));
        assert_eq!(judged(&[], 30_000).silence_ms, 29_000);
    }

    #[test]
    fn three_writers_at_once_are_counted_once_in_time_and_each_in_lines() {
        let seen = judged(&[writer("a", &[(0, 4_000)]), writer("b", &[(2_000, 4_000)]), writer("c", &[(3_000, 5_000)])], 5_000);
        assert_eq!(seen.overlap_ms, 2_000);
        assert_eq!(seen.late_lines, 399 + 199);
        assert_eq!(seen.new_writers, 2);
    }
}
