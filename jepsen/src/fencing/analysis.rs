//! The measures of a case, from what was seen from outside: stamps in the volume, growth of the storage, deadlines of the pages, times of grants. Pure. Called
//! by the run; knows neither what the scenario was nor what was promised.

use crate::fencing::stamps::Ns;
use std::collections::BTreeMap;

/// A writer that paused for less was writing all the time; after more it had stopped in between.
const SAME_STRETCH_MS: u64 = 1_000;
/// What one stamp stands for.
const STAMP_NS: u64 = 1_000_000;

/// Bytes that came to the storage from the holder of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Growth {
    pub at: Ns,
    pub token: u64,
    pub bytes: u64,
}

/// All that was seen in a case.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// In order of time for each token.
    pub stamps: BTreeMap<u64, Vec<Ns>>,
    /// From when on each token's holder had to be silent. None for leases that need not stop on silence.
    pub deadlines: BTreeMap<u64, Ns>,
    pub granted: BTreeMap<u64, Ns>,
    pub growth: Vec<Growth>,
    pub fault: Ns,
    pub end: Ns,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Measures {
    /// Stamps later than the deadline of their token, and the latest of them in ms after it.
    pub late_writes: u64,
    pub late_ms: u64,
    /// Bytes that reached the storage from the holder of a token after a higher token had been granted.
    pub bytes_after_grant: u64,
    /// For how long the holders of two tokens wrote.
    pub overlap_ms: u64,
    /// The longest time in which nobody wrote.
    pub outage_ms: u64,
}

pub fn measure(seen: &Seen) -> Measures {
    let (late_writes, late_ms) = late(seen);
    let (bytes_after_grant, overlap_ms, outage_ms) = (bytes_after_grant(seen), overlap_ms(&seen.stamps), outage_ms(seen));
    Measures { late_writes, late_ms, bytes_after_grant, overlap_ms, outage_ms }
}

fn late(seen: &Seen) -> (u64, u64) {
    let pairs = seen.deadlines.iter().filter_map(|(token, deadline)| Some((deadline, seen.stamps.get(token)?)));
    let late: Vec<u64> =
        pairs.flat_map(|(deadline, stamps)| stamps.iter().filter(|s| *s > deadline).map(|s| s.ms_since(*deadline))).collect();
    (late.len() as u64, late.into_iter().max().unwrap_or(0))
}

/// The earliest moment at which a token above `token` existed.
fn superseded(seen: &Seen, token: u64) -> Option<Ns> {
    seen.granted.range(token + 1..).map(|(_, at)| *at).min()
}

fn bytes_after_grant(seen: &Seen) -> u64 {
    let late = |growth: &&Growth| superseded(seen, growth.token).is_some_and(|granted| growth.at > granted);
    seen.growth.iter().filter(late).map(|growth| growth.bytes).sum()
}

/// Times at which the holder of a token was writing.
fn stretches(stamps: &[Ns]) -> Vec<(u64, u64)> {
    let mut found: Vec<(u64, u64)> = Vec::new();
    for stamp in stamps {
        match found.last_mut() {
            Some(open) if stamp.ms_since(Ns(open.1)) < SAME_STRETCH_MS => open.1 = open.1.max(stamp.0 + STAMP_NS),
            Some(_) | None => found.push((stamp.0, stamp.0 + STAMP_NS)),
        }
    }
    found
}

fn overlap_ms(stamps: &BTreeMap<u64, Vec<Ns>>) -> u64 {
    let mut turns: Vec<(u64, i32)> = stamps.values().flat_map(|s| stretches(s)).flat_map(|(begin, end)| [(begin, 1), (end, -1)]).collect();
    turns.sort_unstable();
    let (mut open, mut since, mut total) = (0, 0, 0);
    for (at, change) in turns {
        if open > 1 {
            total += at - since;
        }
        (open, since) = (open + change, at);
    }
    // A stamp of a lower token after a higher one has begun counts, though it falls into a pause of the other.
    let begun = |token: u64| stamps.range(token + 1..).filter_map(|(_, later)| later.first()).min().copied();
    let behind = stamps.iter().any(|(token, own)| begun(*token).is_some_and(|begun| own.last().is_some_and(|last| *last > begun)));
    total.div_ceil(1_000_000).max(u64::from(behind))
}

fn outage_ms(seen: &Seen) -> u64 {
    let mut all: Vec<Ns> = seen.stamps.values().flatten().copied().filter(|s| *s <= seen.end).collect();
    all.sort_unstable();
    let before = all.iter().copied().filter(|s| *s <= seen.fault).max().unwrap_or(seen.fault);
    let after = all.into_iter().filter(|s| *s > seen.fault);
    let points: Vec<Ns> = std::iter::once(before).chain(after).chain([seen.end]).collect();
    points.windows(2).map(|pair| pair[1].ms_since(pair[0])).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{Growth, Measures, Seen, measure};
    use crate::fencing::stamps::Ns;

    fn ms(at: u64) -> Ns {
        Ns(at * 1_000_000)
    }

    fn each_5ms(from: u64, to: u64) -> Vec<Ns> {
        (from..to).step_by(5).map(ms).collect()
    }

    /// Token 10 until 1 s, its deadline at 5 s; token 20 granted at 6 s, writing from 7 s to 10 s.
    fn clean() -> Seen {
        Seen {
            stamps: [(10, each_5ms(0, 1_000)), (20, each_5ms(7_000, 10_000))].into(),
            deadlines: [(10, ms(5_000))].into(),
            granted: [(10, ms(0)), (20, ms(6_000))].into(),
            growth: vec![Growth { at: ms(900), token: 10, bytes: 64 }, Growth { at: ms(8_000), token: 20, bytes: 64 }],
            fault: ms(1_000),
            end: ms(10_000),
        }
    }

    #[test]
    fn a_clean_takeover_has_an_outage_and_nothing_else() {
        let outage_ms = 6_005;
        assert_eq!(measure(&clean()), Measures { outage_ms, ..Measures::default() });
    }

    #[test]
    fn one_stamp_after_the_deadline_is_a_late_write() {
        let mut seen = clean();
        seen.stamps.get_mut(&10).unwrap().push(ms(5_003));
        let found = measure(&seen);
        assert_eq!((found.late_writes, found.late_ms, found.overlap_ms), (1, 3, 0));
    }

    #[test]
    fn a_stamp_at_the_deadline_is_not_late_and_a_lease_without_one_has_none() {
        let mut seen = clean();
        seen.stamps.get_mut(&10).unwrap().push(ms(5_000));
        assert_eq!(measure(&seen).late_writes, 0);
        seen.stamps.get_mut(&10).unwrap().push(ms(5_500));
        seen.deadlines.clear();
        assert_eq!(measure(&seen).late_writes, 0);
    }

    #[test]
    fn a_byte_that_reaches_the_storage_after_the_new_grant_counts_though_nobody_stamped_it() {
        let mut seen = clean();
        seen.growth.push(Growth { at: ms(6_001), token: 10, bytes: 512 });
        seen.growth.push(Growth { at: ms(5_999), token: 10, bytes: 4_096 });
        let found = measure(&seen);
        assert_eq!((found.bytes_after_grant, found.late_writes, found.overlap_ms), (512, 0, 0));
    }

    #[test]
    fn two_holders_that_write_at_once_overlap_for_as_long_as_both_do() {
        let mut seen = clean();
        seen.stamps.insert(10, each_5ms(0, 8_000));
        let found = measure(&seen);
        assert!((995..=1_001).contains(&found.overlap_ms), "{found:?}");
        assert!(found.late_writes > 500 && found.late_ms >= 2_990, "{found:?}");
    }

    #[test]
    fn a_thawed_holder_overlaps_only_while_it_writes() {
        let mut seen = clean();
        seen.stamps.get_mut(&10).unwrap().extend(each_5ms(8_000, 8_020));
        let found = measure(&seen);
        assert!((15..=17).contains(&found.overlap_ms), "{found:?}");
    }

    #[test]
    fn one_stamp_behind_a_new_holder_counts_though_that_one_pauses() {
        let mut seen = clean();
        seen.stamps.get_mut(&20).unwrap().retain(|stamp| *stamp < ms(7_500) || *stamp > ms(9_500));
        seen.stamps.get_mut(&10).unwrap().push(ms(8_500));
        assert!(measure(&seen).overlap_ms >= 1);
    }

    #[test]
    fn without_a_new_holder_the_outage_lasts_to_the_end() {
        let mut seen = clean();
        seen.stamps.remove(&20);
        assert_eq!(measure(&seen).outage_ms, 9_005);
    }
}
