//! A health command: a line for the container's shell, or a JSON list of words for containers without one.

use super::Unclear;

/// # Errors
/// [`Unclear`].
pub fn command(text: &str) -> Result<Vec<String>, Unclear> {
    let want = r#"a line for /bin/sh, or a JSON list like ["pg_isready","-q"] to run without a shell"#;
    let words = if text.trim_start().starts_with('[') {
        serde_json::from_str(text).map_err(|e| Unclear::new(text, format!("{want} ({e})")))?
    } else {
        vec!["/bin/sh".to_owned(), "-c".to_owned(), text.to_owned()]
    };
    let blank = text.trim().is_empty() || words.first().is_none_or(String::is_empty);
    if blank { Err(Unclear::new(text, want)) } else { Ok(words) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_goes_to_the_shell_and_a_list_does_not() {
        assert_eq!(command("pg_isready -q"), Ok(vec!["/bin/sh".to_owned(), "-c".to_owned(), "pg_isready -q".to_owned()]));
        assert_eq!(command(r#"["a","b c"]"#), Ok(vec!["a".to_owned(), "b c".to_owned()]));
        for bad in ["", "  ", "[", "[]", r#"[""]"#, "[1]"] {
            assert!(command(bad).is_err(), "{bad:?} passed");
        }
    }
}
