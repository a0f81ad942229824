//! The engine's own present as its events API wants it. Called when an event stream is opened. Never compared with any clock of
//! ours: the engine said it, the engine gets it back.

/// `2026-11-21T02:43:14.95+01:00` (RFC 3339, as in the engine's info) as `seconds.nanoseconds` since 1970, which is the only form
/// that `since` takes. `None`: not understood.
pub(super) fn unix_time(rfc3339: &str) -> Option<String> {
    let (date, clock) = rfc3339.split_once('T')?;
    let mut date = date.splitn(3, '-').map(str::parse::<i64>);
    let (year, month, day) = (date.next()?.ok()?, date.next()?.ok()?, date.next()?.ok()?);
    let (clock, offset_seconds) = split_offset(clock)?;
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    if !(1..=12).contains(&month) || fraction.len() > 9 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let seconds = days_since_1970(year, month, day) * 86_400 + seconds_of(clock)? - offset_seconds;
    Some(format!("{seconds}.{fraction:0<9}"))
}

/// The clock without its zone, and the zone in seconds east of UTC.
fn split_offset(clock: &str) -> Option<(&str, i64)> {
    if let Some(utc) = clock.strip_suffix('Z') {
        return Some((utc, 0));
    }
    let at = clock.rfind(['+', '-'])?;
    let (clock, zone) = clock.split_at(at);
    let seconds = seconds_of(zone.get(1..)?)?;
    Some((clock, if zone.starts_with('-') { -seconds } else { seconds }))
}

/// `hours:minutes` or `hours:minutes:seconds`.
fn seconds_of(clock: &str) -> Option<i64> {
    let mut parts = clock.splitn(3, ':').map(str::parse::<i64>);
    let (hours, minutes) = (parts.next()?.ok()?, parts.next()?.ok()?);
    let seconds = parts.next().unwrap_or(Ok(0)).ok()?;
    Some(hours * 3600 + minutes * 60 + seconds)
}

/// Gregorian calendar. Years are counted from March, so that a leap day is the last of its year.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    // The months from March on have 31 30 31 30 31 days, over and over.
    let before_month = (153 * month + 2) / 5;
    // 719469: days from the first of March of year 0 to 1970, less one because days of a month start at 1.
    year * 365 + leap_days + before_month + day - 719_469
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments_are_converted() {
        let known = [
            ("1970-01-01T00:00:00Z", "0.000000000"),
            ("2000-02-29T12:00:00Z", "951825600.000000000"),
            ("2000-03-01T00:00:00Z", "951868800.000000000"),
            ("2024-12-31T23:59:59.5Z", "1735689599.500000000"),
            ("2026-11-21T02:43:14.123456789Z", "1795228994.123456789"),
            ("2026-11-21T03:43:14.1+01:00", "1795228994.100000000"),
            ("2026-11-20T21:13:14-05:30", "1795228994.000000000"),
        ];
        for (text, expected) in known {
            assert_eq!(unix_time(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn nonsense_is_not_understood() {
        for text in
            ["", "now", "2026-11-21", "2026-13-21T00:00:00Z", "2026-11-21T00:00:00", "2026-11-21Tx:00:00Z", "2026-11-21T00:00:00.x-Z"]
        {
            assert_eq!(unix_time(text), None, "{text}");
        }
    }
}
