//! The double-start checker: from what the watchers saw of Postgres on each host, was it ever up twice at one moment? Called after each case; must
//! never call a doubt an overlap: every life counts only for the time it was seen for certain.

use crate::e2e::stamp::Stamp;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Something of Postgres on one host that was up for certain from `begun` to `seen`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Life {
    pub host: String,
    pub begun: Stamp,
    pub seen: Stamp,
}

/// Postgres up on two hosts at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlap {
    pub earlier: Life,
    pub later: Life,
}

impl fmt::Display for Overlap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let both = self.earlier.seen.min(self.later.seen).since(self.later.begun);
        write!(f, "up on {} and on {} at once, for at least {both:?}", self.earlier.host, self.later.host)
    }
}

/// Joins the lives of each host whose times touch: a process tree has many processes, a host is up while any of them is.
pub fn spans(lives: &[Life]) -> BTreeMap<String, Vec<Life>> {
    let mut sorted = lives.to_vec();
    sorted.sort_by_key(|life| life.begun);
    let mut spans: BTreeMap<String, Vec<Life>> = BTreeMap::new();
    // A life whose end was seen before its start proves nothing.
    for life in sorted.into_iter().filter(|life| life.begun <= life.seen) {
        let of_host = spans.entry(life.host.clone()).or_default();
        match of_host.last_mut() {
            Some(last) if life.begun <= last.seen => last.seen = last.seen.max(life.seen),
            Some(_) | None => of_host.push(life),
        }
    }
    spans
}

/// Every pair of spans on different hosts that share a moment. Empty: Postgres was never up twice.
pub fn overlaps(lives: &[Life]) -> Vec<Overlap> {
    let mut all: Vec<Life> = spans(lives).into_values().flatten().collect();
    all.sort_by_key(|life| life.begun);
    let mut found = Vec::new();
    for (i, earlier) in all.iter().enumerate() {
        let touching = all[i + 1..].iter().take_while(|later| later.begun <= earlier.seen);
        found.extend(touching.filter(|l| l.host != earlier.host).map(|later| Overlap { earlier: earlier.clone(), later: later.clone() }));
    }
    found
}

/// The quiet between the last sight on `from` before the first sight on `to` after `since`; `None` when there was no such hand-over.
pub fn quiet_between(lives: &[Life], from: &str, to: &str, since: Stamp) -> Option<Duration> {
    let spans = spans(lives);
    let begun = spans.get(to)?.iter().map(|life| life.begun).find(|begun| *begun >= since)?;
    let seen = spans.get(from)?.iter().filter(|life| life.begun <= begun).map(|life| life.seen).max()?;
    Some(begun.since(seen))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life(host: &str, begun: u64, seen: u64) -> Life {
        Life { host: host.to_string(), begun: Stamp::from_ms(begun), seen: Stamp::from_ms(seen) }
    }

    #[test]
    fn lives_that_follow_each_other_are_no_overlap() {
        assert_eq!(overlaps(&[life("a", 0, 100), life("b", 101, 200), life("a", 201, 300)]), vec![]);
        assert_eq!(overlaps(&[]), vec![]);
    }

    #[test]
    fn one_shared_moment_on_two_hosts_is_an_overlap() {
        assert_eq!(overlaps(&[life("b", 100, 200), life("a", 0, 100)]).len(), 1);
        let found = overlaps(&[life("a", 0, 1000), life("b", 500, 600), life("c", 550, 2000)]);
        let pairs: Vec<_> = found.iter().map(|o| (o.earlier.host.as_str(), o.later.host.as_str())).collect();
        assert_eq!(pairs, [("a", "b"), ("a", "c"), ("b", "c")]);
        assert_eq!(found[0].to_string(), "up on a and on b at once, for at least 100ms");
    }

    #[test]
    fn an_overlap_with_a_long_life_is_found_behind_short_ones() {
        let lives = [life("a", 0, 1000), life("a", 10, 20), life("a", 30, 40), life("b", 900, 950)];
        assert_eq!(overlaps(&lives).len(), 1, "the long life of a covers b although younger lives of a had ended");
    }

    #[test]
    fn many_processes_of_one_host_are_not_twice() {
        assert_eq!(overlaps(&[life("a", 0, 100), life("a", 50, 90), life("a", 20, 300)]), vec![]);
        assert_eq!(spans(&[life("a", 0, 100), life("a", 50, 90), life("a", 20, 300)])["a"], vec![life("a", 0, 300)]);
    }

    #[test]
    fn what_was_not_seen_for_certain_proves_nothing() {
        assert_eq!(overlaps(&[life("a", 0, 100), life("b", 60, 50)]), vec![]);
    }

    #[test]
    fn the_quiet_of_a_hand_over_is_from_the_last_sight_to_the_next_start() {
        let lives = [life("a", 0, 100), life("b", 40, 50), life("b", 130, 200), life("a", 300, 400)];
        assert_eq!(quiet_between(&lives, "a", "b", Stamp::from_ms(60)), Some(Duration::from_millis(30)));
        assert_eq!(quiet_between(&lives, "a", "c", Stamp::from_ms(0)), None);
    }
}
