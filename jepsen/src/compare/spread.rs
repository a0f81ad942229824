//! Minimum, median and maximum of a few rounds, as a table shows them. Called by the document; must never hide how many rounds have no value.

/// `min / median / max`, in the given unit; values that look the same once. `None`s are counted: `17.1 / 17.4 / 18.0 (1 of 4 none)`.
pub(super) fn spread(values: &[Option<u64>], show: impl Fn(u64) -> String, none: &str) -> String {
    let mut known: Vec<u64> = values.iter().flatten().copied().collect();
    known.sort_unstable();
    let (Some(least), Some(most)) = (known.first(), known.last()) else {
        return if values.is_empty() { "not run".to_string() } else { none.to_string() };
    };
    let (low, middle, high) = (show(*least), show(known[(known.len() - 1) / 2]), show(*most));
    let all = if low == high { low } else { format!("{low} / {middle} / {high}") };
    let missing = values.len() - known.len();
    if missing == 0 { all } else { format!("{all} ({missing} of {}: {none})", values.len()) }
}

/// Seconds with one digit; below a tenth of a second in milliseconds, because 0.0 would say zero.
pub(super) fn seconds(ms: u64) -> String {
    match ms {
        0 => "0".to_string(),
        1..100 => format!("{ms} ms"),
        _ => format!("{}.{} s", (ms + 50) / 1000, (ms + 50) % 1000 / 100),
    }
}

#[cfg(test)]
mod tests {
    use super::{seconds, spread};

    #[test]
    fn a_spread_shows_least_median_and_most() {
        let shown = |values: &[Option<u64>]| spread(values, |v| v.to_string(), "none");
        assert_eq!(shown(&[Some(30), Some(10), Some(20)]), "10 / 20 / 30");
        assert_eq!(shown(&[Some(0), Some(0)]), "0");
        assert_eq!(shown(&[Some(7), None, Some(9)]), "7 / 7 / 9 (1 of 3: none)");
        assert_eq!(shown(&[None, None]), "none");
        assert_eq!(shown(&[]), "not run");
    }

    #[test]
    fn what_is_not_zero_is_never_shown_as_zero() {
        assert_eq!([0, 1, 99, 100, 1_149, 17_960, 59_999].map(seconds), ["0", "1 ms", "99 ms", "0.1 s", "1.1 s", "18.0 s", "60.0 s"]);
    }
}
