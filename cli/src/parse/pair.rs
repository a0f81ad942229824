//! `KEY=VALUE`, alone and in env files.

use std::collections::BTreeMap;

use super::Unclear;

/// # Errors
/// [`Unclear`].
pub fn parse(text: &str) -> Result<(String, String), Unclear> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        Some(_) | None => Err(Unclear::new(text, "KEY=VALUE")),
    }
}

/// An env file: a pair a line, taken as it is, without quotes or expansion; empty lines and lines that begin with `#` are skipped.
///
/// # Errors
/// [`Unclear`] naming the line.
pub fn file(content: &str) -> Result<BTreeMap<String, String>, Unclear> {
    let mut pairs = BTreeMap::new();
    for (index, line) in content.lines().enumerate() {
        let start = line.trim_start();
        if start.is_empty() || start.starts_with('#') {
            continue;
        }
        let (key, value) = parse(start).map_err(|e| Unclear::new(&e.text, format!("line {} must be KEY=VALUE", index + 1)))?;
        pairs.insert(key, value);
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_cut_at_the_first_equals_sign() {
        for (text, key, value) in [("A=b", "A", "b"), ("A=", "A", ""), ("A=b=c", "A", "b=c"), ("A= b ", "A", " b ")] {
            assert_eq!(parse(text), Ok((key.to_owned(), value.to_owned())));
        }
        for bad in ["", "A", "=b"] {
            assert!(parse(bad).is_err(), "{bad:?} passed");
        }
    }

    #[test]
    fn an_env_file_skips_comments_and_names_the_wrong_line() {
        let pairs = file("# note\n\nA=1\n  B=\"2\"\nA=3\n").unwrap();
        assert_eq!(pairs, BTreeMap::from([("A".to_owned(), "3".to_owned()), ("B".to_owned(), "\"2\"".to_owned())]));
        assert!(file("A=1\nnonsense\n").unwrap_err().to_string().contains("line 2"));
    }
}
