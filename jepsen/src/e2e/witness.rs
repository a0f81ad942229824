//! What the client knows: every row it tried to write, and which of them were acknowledged. From that and the rows read back the checker says what was lost,
//! what is there that nobody wrote, and whether a row came from an older holder after a newer one. Filled by the test's writer; asks nobody.

use crate::e2e::stamp::Stamp;
use berth_state::ids::Token;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Number of a row: rises by one with each attempt, never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RowNumber(pub i64);

/// One row: its number, and who held the volume when the writer last asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub number: RowNumber,
    pub token: Token,
    pub host: String,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "row {} (token {}, {})", self.number.0, self.token, self.host)
    }
}

#[derive(Debug, Clone)]
struct Attempt {
    row: Row,
    /// When the commit was acknowledged. `None`: it failed or nobody answered, so it may or may not be there.
    acked: Option<Stamp>,
}

/// Every attempt of one writer.
#[derive(Debug, Clone, Default)]
pub struct Witness {
    attempts: BTreeMap<RowNumber, Attempt>,
}

/// What is wrong with the rows that were read back. All empty: nothing.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Acknowledged, and not there.
    pub lost: Vec<Row>,
    /// There, and never written, or not so.
    pub invented: Vec<Row>,
    /// Written later than a row with a higher token.
    pub went_back: Vec<Row>,
}

impl Findings {
    pub fn is_clean(&self) -> bool {
        self.lost.is_empty() && self.invented.is_empty() && self.went_back.is_empty()
    }
}

impl Witness {
    /// Notes an attempt. To be called before anything of it is sent.
    pub fn attempt(&mut self, token: Token, host: &str) -> RowNumber {
        let number = RowNumber(self.attempts.last_key_value().map_or(1, |(last, _)| last.0 + 1));
        let row = Row { number, token, host: host.to_string() };
        self.attempts.insert(number, Attempt { row, acked: None });
        number
    }

    /// Notes that the commit of the row was acknowledged.
    pub fn acknowledge(&mut self, number: RowNumber, at: Stamp) {
        if let Some(attempt) = self.attempts.get_mut(&number) {
            attempt.acked = Some(at);
        }
    }

    pub fn acked(&self) -> usize {
        self.attempts.values().filter(|a| a.acked.is_some()).count()
    }

    /// Attempts whose outcome the client does not know.
    pub fn unknown(&self) -> usize {
        self.attempts.len() - self.acked()
    }

    /// The token under which a row was last acknowledged, if that was after `since`.
    pub fn newest_token(&self, since: Stamp) -> Option<Token> {
        let newest = self.attempts.values().rev().find(|a| a.acked.is_some())?;
        newest.acked.filter(|at| *at > since).map(|_| newest.row.token)
    }

    /// The longest time without an acknowledgement that touches the time from `since` to `until`.
    pub fn longest_silence(&self, since: Stamp, until: Stamp) -> Duration {
        let acked: Vec<Stamp> = self.attempts.values().filter_map(|a| a.acked).collect();
        let before = acked.iter().copied().filter(|at| *at <= since).max().unwrap_or(since);
        let within = acked.iter().copied().filter(|at| *at > since && *at <= until);
        let mut last = before;
        let mut longest = Duration::ZERO;
        for at in within.chain([until]) {
            longest = longest.max(at.since(last));
            last = at;
        }
        longest
    }

    /// Compares with the rows read back. `self` is the witness from before the read, `later` the one from after it: a row may be acknowledged meanwhile.
    pub fn judge(&self, later: &Self, present: &[Row]) -> Findings {
        let there: BTreeMap<RowNumber, &Row> = present.iter().map(|row| (row.number, row)).collect();
        let acked = self.attempts.values().filter(|a| a.acked.is_some());
        let lost = acked.filter(|a| !there.contains_key(&a.row.number)).map(|a| a.row.clone()).collect();
        let written = |row: &Row| later.attempts.get(&row.number).is_some_and(|a| a.row == *row);
        let invented = present.iter().filter(|row| !written(row)).cloned().collect();
        let mut highest = Token(0);
        let mut went_back = Vec::new();
        for row in there.values() {
            if row.token < highest {
                went_back.push((*row).clone());
            }
            highest = highest.max(row.token);
        }
        Findings { lost, invented, went_back }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three rows: the first two acknowledged at 10 and 20 ms, the third with an unknown outcome.
    fn witness() -> Witness {
        let mut witness = Witness::default();
        for (token, acked) in [(7, Some(10)), (7, Some(20)), (9, None)] {
            let number = witness.attempt(Token(token), "h1");
            acked.into_iter().for_each(|ms| witness.acknowledge(number, Stamp::from_ms(ms)));
        }
        witness
    }

    fn row(number: i64, token: u64) -> Row {
        Row { number: RowNumber(number), token: Token(token), host: "h1".to_string() }
    }

    #[test]
    fn an_unknown_row_may_be_there_or_not() {
        let w = witness();
        assert!(w.judge(&w, &[row(1, 7), row(2, 7)]).is_clean());
        assert!(w.judge(&w, &[row(1, 7), row(2, 7), row(3, 9)]).is_clean());
        assert_eq!((w.acked(), w.unknown()), (2, 1));
    }

    #[test]
    fn an_acknowledged_row_that_is_not_there_is_lost() {
        let w = witness();
        let findings = w.judge(&w, &[row(1, 7), row(3, 9)]);
        assert_eq!(findings, Findings { lost: vec![row(2, 7)], ..Findings::default() });
        assert!(!findings.is_clean());
    }

    #[test]
    fn a_row_nobody_wrote_or_wrote_otherwise_is_invented() {
        let w = witness();
        assert_eq!(w.judge(&w, &[row(1, 7), row(2, 7), row(4, 9)]).invented, vec![row(4, 9)]);
        assert_eq!(w.judge(&w, &[row(1, 7), row(2, 8)]).invented, vec![row(2, 8)]);
    }

    #[test]
    fn a_row_of_an_older_token_after_a_newer_one_went_back() {
        let mut w = witness();
        let late = w.attempt(Token(8), "h1");
        assert_eq!(late, RowNumber(4));
        assert_eq!(w.judge(&w, &[row(1, 7), row(2, 7), row(3, 9), row(4, 8)]).went_back, vec![row(4, 8)]);
    }

    #[test]
    fn rows_written_during_the_read_are_neither_lost_nor_invented() {
        let before = witness();
        let mut after = before.clone();
        let number = after.attempt(Token(9), "h1");
        after.acknowledge(number, Stamp::from_ms(30));
        assert!(before.judge(&after, &[row(1, 7), row(2, 7)]).is_clean());
        assert!(before.judge(&after, &[row(1, 7), row(2, 7), row(4, 9)]).is_clean());
    }

    #[test]
    fn the_longest_silence_counts_from_the_last_answer_before_and_to_the_end() {
        let w = witness();
        let silence = |from, to| w.longest_silence(Stamp::from_ms(from), Stamp::from_ms(to)).as_millis();
        assert_eq!(silence(12, 25), 10, "from the answer at 10 to the one at 20");
        assert_eq!(silence(12, 90), 70, "nothing came after 20");
    }

    #[test]
    fn the_newest_token_is_of_an_acknowledged_row_after_the_given_moment() {
        let w = witness();
        assert_eq!(w.newest_token(Stamp::from_ms(15)), Some(Token(7)), "the outcome of the row under 9 is unknown");
        assert_eq!(w.newest_token(Stamp::from_ms(20)), None);
    }
}
