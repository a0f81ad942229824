//! Times as people write them: `500ms`, `10s`, `5m`, `1h`; a unit is needed.

use std::time::Duration;

use super::Unclear;

const WANT: &str = "a time like 500ms, 10s, 5m or 1h";

/// # Errors
/// [`Unclear`].
pub fn parse(text: &str) -> Result<Duration, Unclear> {
    milliseconds(text).map(Duration::from_millis)
}

/// The same in whole milliseconds.
///
/// # Errors
/// [`Unclear`], also for more than a u64 holds.
pub fn milliseconds(text: &str) -> Result<u64, Unclear> {
    let unclear = || Unclear::new(text, WANT);
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(unclear()),
    };
    number.parse::<u64>().ok().and_then(|n| n.checked_mul(factor)).ok_or_else(unclear)
}

/// The shortest text that reads back as the same time.
#[must_use]
pub fn text(duration: Duration) -> String {
    milliseconds_text(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

/// The shortest text that reads back as the same number of milliseconds.
#[must_use]
pub fn milliseconds_text(ms: u64) -> String {
    for (factor, unit) in [(3_600_000, "h"), (60_000, "m"), (1_000, "s")] {
        if ms >= factor && ms.is_multiple_of(factor) {
            return format!("{}{unit}", ms / factor);
        }
    }
    format!("{ms}ms")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_mean_what_they_say_and_read_back() {
        for (written, ms) in [("0ms", 0), ("500ms", 500), ("10s", 10_000), ("5m", 300_000), ("1h", 3_600_000), ("90s", 90_000)] {
            assert_eq!(milliseconds(written), Ok(ms));
            assert_eq!(milliseconds(&milliseconds_text(ms)), Ok(ms));
        }
        assert_eq!(milliseconds_text(1_500), "1500ms");
        assert_eq!(text(Duration::from_secs(120)), "2m");
    }

    #[test]
    fn times_without_unit_sign_or_sense_are_refused() {
        for bad in ["", "5", "s", "-1s", "1.5s", "1 s", "1d", "99999999999999999999s", "18446744073709551615h", "ms5"] {
            assert!(milliseconds(bad).is_err(), "{bad:?} passed");
        }
    }
}
