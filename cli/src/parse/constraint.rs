//! `key==value` and `key!=value`: where a container may run. The key `host` is the host's name.

use berth_state::noun::container::Constraint;

use super::Unclear;

/// # Errors
/// [`Unclear`].
pub fn parse(text: &str) -> Result<Constraint, Unclear> {
    let unclear = || Unclear::new(text, "a constraint like zone==a or host!=h3");
    let equals = text.find("==");
    let differs = text.find("!=");
    let (at, equal) = match (equals, differs) {
        (Some(at), None) => (at, true),
        (None, Some(at)) => (at, false),
        // The first operator counts; the other belongs to the value.
        (Some(e), Some(d)) => (e.min(d), e < d),
        (None, None) => return Err(unclear()),
    };
    let (key, value) = (text[..at].trim(), text[at + 2..].trim());
    if key.is_empty() || value.is_empty() {
        return Err(unclear());
    }
    Ok(Constraint { key: key.to_owned(), equal, value: value.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constraint_is_key_operator_and_value() {
        for (text, key, equal, value) in
            [("zone==a", "zone", true, "a"), ("host!=h3", "host", false, "h3"), ("a == b", "a", true, "b"), ("a==b!=c", "a", true, "b!=c")]
        {
            assert_eq!(parse(text), Ok(Constraint { key: key.to_owned(), equal, value: value.to_owned() }));
        }
        for bad in ["", "zone", "zone=a", "==a", "zone==", "!=", " ==a"] {
            assert!(parse(bad).is_err(), "{bad:?} passed");
        }
    }
}
