//! Amounts: memory (`512m`, `2g`, powers of 1024) and CPUs (`0.5`), as Docker writes them.

use super::Unclear;

/// # Errors
/// [`Unclear`], also for more than a u64 holds.
pub fn bytes(text: &str) -> Result<u64, Unclear> {
    let unclear = || Unclear::new(text, "a size like 512m, 2g or 1048576 (k, m, g, t are powers of 1024)");
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return Err(unclear()),
    };
    number.parse::<u64>().ok().and_then(|n| n.checked_mul(1 << shift)).ok_or_else(unclear)
}

/// CPUs with up to three decimals, in thousandths.
///
/// # Errors
/// [`Unclear`].
pub fn cpu_millis(text: &str) -> Result<u64, Unclear> {
    let unclear = || Unclear::new(text, "a number of CPUs like 2 or 0.5, to three decimals");
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let plain = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
    if !plain(whole) || !plain(fraction) || fraction.len() > 3 {
        return Err(unclear());
    }
    let thousandths: u64 = format!("{fraction:0<3}").parse().map_err(|_| unclear())?;
    whole.parse::<u64>().ok().and_then(|n| n.checked_mul(1_000)).and_then(|n| n.checked_add(thousandths)).ok_or_else(unclear)
}

/// For tables: `512m`, `2g`, or plain bytes.
#[must_use]
pub fn bytes_text(bytes: u64) -> String {
    for (shift, unit) in [(40, "t"), (30, "g"), (20, "m"), (10, "k")] {
        if bytes >= 1 << shift && bytes.is_multiple_of(1 << shift) {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    bytes.to_string()
}

/// For tables: `0.5`.
#[must_use]
pub fn cpu_text(millis: u64) -> String {
    let text = format!("{}.{:03}", millis / 1_000, millis % 1_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1024_and_read_back() {
        for (written, size) in
            [("0", 0), ("7", 7), ("1k", 1_024), ("512m", 536_870_912), ("2G", 2_147_483_648), ("1tb", 1 << 40), ("3MiB", 3 << 20)]
        {
            assert_eq!(bytes(written), Ok(size));
            assert_eq!(bytes(&bytes_text(size)), Ok(size));
        }
        for bad in ["", "m", "-1", "1.5g", "1 g", "1x", "99999999999999999999", "99999999t"] {
            assert!(bytes(bad).is_err(), "{bad:?} passed");
        }
    }

    #[test]
    fn cpus_have_up_to_three_decimals() {
        for (written, millis) in [("1", 1_000), ("0.5", 500), ("2.25", 2_250), ("0.001", 1), ("10.000", 10_000)] {
            assert_eq!(cpu_millis(written), Ok(millis));
            assert_eq!(cpu_millis(&cpu_text(millis)), Ok(millis));
        }
        for bad in ["", ".", ".5", "1.", "-1", "1e3", "0.0005", "1,5", "99999999999999999999"] {
            assert!(cpu_millis(bad).is_err(), "{bad:?} passed");
        }
    }
}
