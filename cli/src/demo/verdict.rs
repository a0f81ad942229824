//! The verdict: whether the volume shows one writer at a time, and every acknowledged write. Pure; called by the demo with what it
//! read from the volume itself and what the writers had acknowledged. Must never take a bad history for a good one: whatever it
//! does not understand is a problem.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::line::{Ack, Line};

/// What is wrong, with the place. `line` counts from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("nothing was written at all")]
    Silent,
    #[error("write {n} under token {token} was acknowledged and is not in the volume")]
    Lost { token: u64, n: u64 },
    #[error("line {line}: a write under token {token} after the first one under token {newer}: two writers at once")]
    Overlap { line: usize, token: u64, newer: u64 },
    #[error("line {line}: token {token} begins after token {newer}: tokens went back")]
    WentBack { line: usize, token: u64, newer: u64 },
    #[error("a write under token {token} was acknowledged after the first one under token {newer}: two writers at once")]
    LateAck { token: u64, newer: u64 },
    #[error("line {line}: token {token} has write {n} where {expected} is next")]
    OutOfTurn { line: usize, token: u64, n: u64, expected: u64 },
    #[error("line {line}: {second} writes under token {token}, which is {first}'s")]
    TwoWriters { line: usize, token: u64, first: String, second: String },
    #[error("line {line}: written for volume {key}")]
    ForeignKey { line: usize, key: String },
    #[error("line {line} is no line of the witness")]
    Unreadable { line: usize },
}

/// Everything that can be said about the volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Acknowledged writes.
    pub writes: u64,
    /// Of these, those that the volume lacks.
    pub lost: u64,
    /// Writes of an older token among those of a newer one, by their order in the volume or by the clock.
    pub overlaps: u64,
    /// In the order of their first line in the volume.
    pub tokens: Vec<u64>,
    #[serde(serialize_with = "as_texts")]
    pub problems: Vec<Problem>,
}

/// Judges the file of volume `key` against what was acknowledged, in any order.
#[must_use]
pub fn judge(key: &str, file: &[u8], acks: &[Ack]) -> Verdict {
    let mut reader = Reader::default();
    for (index, bytes) in whole_lines(file).enumerate() {
        reader.take(key, index + 1, bytes);
    }
    let acked: BTreeSet<(u64, u64)> = acks.iter().map(|ack| (ack.token, ack.n)).collect();
    let lost: Vec<_> = acked.difference(&reader.seen).map(|&(token, n)| Problem::Lost { token, n }).collect();
    let late = late_acks(acks);
    let overlaps = reader.overlaps + late.len() as u64;
    let silent = (reader.seen.is_empty() || acked.is_empty()).then_some(Problem::Silent);
    Verdict {
        writes: acked.len() as u64,
        lost: lost.len() as u64,
        overlaps,
        tokens: reader.tokens,
        problems: silent.into_iter().chain(lost).chain(reader.problems).chain(late).collect(),
    }
}

/// A last line without its end was cut off by the writer's death: it was never acknowledged, and the next writer removes it.
fn whole_lines(file: &[u8]) -> impl Iterator<Item = &[u8]> {
    file.split_inclusive(|byte| *byte == b'\n').filter_map(|line| line.strip_suffix(b"\n"))
}

/// What was read so far.
#[derive(Default)]
struct Reader {
    seen: BTreeSet<(u64, u64)>,
    /// For each token: its writer and its highest n.
    by_token: BTreeMap<u64, (String, u64)>,
    tokens: Vec<u64>,
    overlaps: u64,
    problems: Vec<Problem>,
}

impl Reader {
    fn take(&mut self, key: &str, number: usize, bytes: &[u8]) {
        let Ok(line) = serde_json::from_slice::<Line>(bytes) else {
            self.problems.push(Problem::Unreadable { line: number });
            return;
        };
        if line.key != key {
            self.problems.push(Problem::ForeignKey { line: number, key: line.key });
            return;
        }
        self.check_order(number, line.token);
        self.check_turn(number, &line);
        self.seen.insert((line.token, line.n));
    }

    fn check_order(&mut self, line: usize, token: u64) {
        let newest = self.by_token.last_key_value().map(|(newest, _)| *newest);
        if let Some(newer) = newest.filter(|newer| token < *newer) {
            self.overlaps += 1;
            let known = self.by_token.contains_key(&token);
            self.problems.push(if known { Problem::Overlap { line, token, newer } } else { Problem::WentBack { line, token, newer } });
        }
    }

    fn check_turn(&mut self, number: usize, line: &Line) {
        let token = line.token;
        let (writer, last) = self.by_token.entry(token).or_insert_with(|| {
            self.tokens.push(token);
            (line.writer.clone(), 0)
        });
        if *writer != line.writer {
            let (first, second) = (writer.clone(), line.writer.clone());
            self.problems.push(Problem::TwoWriters { line: number, token, first, second });
        }
        let expected = *last + 1;
        if line.n != expected {
            self.problems.push(Problem::OutOfTurn { line: number, token, n: line.n, expected });
        }
        *last = (*last).max(line.n);
    }
}

/// The same question asked of the clock: every acknowledgement under a token is older than the first one under any higher token.
fn late_acks(acks: &[Ack]) -> Vec<Problem> {
    let mut first: BTreeMap<u64, u64> = BTreeMap::new();
    for ack in acks {
        let at = first.entry(ack.token).or_insert(ack.at_ns);
        *at = ack.at_ns.min(*at);
    }
    let late = |ack: &Ack| {
        let newer = first.range(ack.token + 1..).find(|(_, at)| **at <= ack.at_ns);
        newer.map(|(newer, _)| Problem::LateAck { token: ack.token, newer: *newer })
    };
    acks.iter().filter_map(late).collect()
}

fn as_texts<S: serde::Serializer>(problems: &[Problem], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(problems.iter().map(ToString::to_string))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ledger";

    fn line(token: u64, n: u64) -> Line {
        Line { key: KEY.to_owned(), token, writer: format!("h{token}"), n }
    }

    fn file(lines: &[Line]) -> Vec<u8> {
        lines.iter().flat_map(|line| (serde_json::to_string(line).unwrap() + "\n").into_bytes()).collect()
    }

    /// One acknowledgement a line, in the lines' order by the clock.
    fn acks(lines: &[Line]) -> Vec<Ack> {
        lines.iter().zip(1..).map(|(line, at_ns)| Ack { token: line.token, n: line.n, at_ns }).collect()
    }

    fn takeover() -> Vec<Line> {
        vec![line(7, 1), line(7, 2), line(7, 3), line(9, 1), line(9, 2)]
    }

    /// The volume as `lines` say, everything in it acknowledged.
    fn judged(lines: &[Line]) -> Verdict {
        judge(KEY, &file(lines), &acks(lines))
    }

    #[test]
    fn a_clean_takeover_is_good() {
        let verdict = judged(&takeover());
        assert_eq!(verdict, Verdict { writes: 5, lost: 0, overlaps: 0, tokens: vec![7, 9], problems: vec![] });
    }

    #[test]
    fn a_last_write_without_acknowledgement_may_be_there_or_not() {
        let lines = takeover();
        let mut unacknowledged = acks(&lines);
        unacknowledged.remove(2);
        assert_eq!(judge(KEY, &file(&lines), &unacknowledged).problems, []);
    }

    #[test]
    fn a_torn_last_line_is_no_write() {
        let mut torn = file(&takeover());
        torn.extend_from_slice(b"{\"key\":\"led");
        assert_eq!(judge(KEY, &torn, &acks(&takeover())), judged(&takeover()));
    }

    #[test]
    fn an_acknowledged_write_that_is_not_there_is_lost() {
        let lines = takeover();
        let mut acknowledged = acks(&lines);
        acknowledged.push(Ack { token: 9, n: 3, at_ns: 100 });
        let verdict = judge(KEY, &file(&lines), &acknowledged);
        assert_eq!((verdict.writes, verdict.lost), (6, 1));
        assert_eq!(verdict.problems, [Problem::Lost { token: 9, n: 3 }]);
    }

    #[test]
    fn a_torn_line_does_not_count_as_kept() {
        let lines = takeover();
        let bytes = file(&lines);
        let verdict = judge(KEY, &bytes[..bytes.len() - 1], &acks(&lines));
        assert_eq!(verdict.problems, [Problem::Lost { token: 9, n: 2 }]);
    }

    #[test]
    fn an_old_writer_after_a_new_ones_first_line_overlaps() {
        let lines = [line(7, 1), line(9, 1), line(7, 2), line(9, 2)];
        let verdict = judge(KEY, &file(&lines), &acks(&takeover())[..1]);
        assert_eq!(verdict.overlaps, 1);
        assert_eq!(verdict.problems, [Problem::Overlap { line: 3, token: 7, newer: 9 }]);
    }

    #[test]
    fn a_lower_token_that_begins_later_is_found() {
        let lines = [line(9, 1), line(7, 1)];
        let verdict = judge(KEY, &file(&lines), &acks(&lines)[..1]);
        assert_eq!((verdict.overlaps, verdict.tokens), (1, vec![9, 7]));
        assert_eq!(verdict.problems, [Problem::WentBack { line: 2, token: 7, newer: 9 }]);
    }

    #[test]
    fn an_acknowledgement_after_the_successors_first_is_an_overlap_even_where_the_volume_looks_clean() {
        let lines = takeover();
        let mut acknowledged = acks(&lines);
        acknowledged[2].at_ns = acknowledged[3].at_ns + 1;
        let verdict = judge(KEY, &file(&lines), &acknowledged);
        assert_eq!(verdict.overlaps, 1);
        assert_eq!(verdict.problems, [Problem::LateAck { token: 7, newer: 9 }]);
    }

    #[test]
    fn numbers_that_repeat_or_skip_are_found() {
        let twice = [line(7, 1), line(7, 2), line(7, 2), line(7, 3)];
        assert_eq!(judged(&twice).problems, [Problem::OutOfTurn { line: 3, token: 7, n: 2, expected: 3 }]);
        let skipped = [line(7, 1), line(7, 3)];
        assert_eq!(judged(&skipped).problems, [Problem::OutOfTurn { line: 2, token: 7, n: 3, expected: 2 }]);
        let late = [line(7, 2)];
        assert_eq!(judged(&late).problems, [Problem::OutOfTurn { line: 1, token: 7, n: 2, expected: 1 }]);
    }

    #[test]
    fn two_writers_under_one_token_are_found() {
        let mut lines = takeover();
        lines[1].writer = "h8".to_owned();
        let expected = Problem::TwoWriters { line: 2, token: 7, first: "h7".to_owned(), second: "h8".to_owned() };
        assert_eq!(judged(&lines).problems, [expected]);
    }

    #[test]
    fn what_is_not_understood_is_a_problem() {
        let mut bytes = file(&takeover()[..1]);
        bytes.extend_from_slice(b"{\"key\":\"led\n");
        bytes.extend_from_slice(b"{\"key\":\"other\",\"token\":7,\"writer\":\"h7\",\"n\":2}\n");
        let verdict = judge(KEY, &bytes, &acks(&takeover())[..1]);
        assert_eq!(verdict.problems, [Problem::Unreadable { line: 2 }, Problem::ForeignKey { line: 3, key: "other".to_owned() }]);
    }

    #[test]
    fn nothing_written_is_no_success() {
        assert_eq!(judge(KEY, b"", &[]).problems, [Problem::Silent]);
        assert!(judge(KEY, &file(&takeover()), &[]).problems.contains(&Problem::Silent));
    }
}
