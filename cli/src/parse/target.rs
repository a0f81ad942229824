//! How a lease is named on the command line: a number (lease id or token), a name (container or host), or `LEASE/TOKEN`, which is exact and needs
//! no look at the registry.

use berth_state::ids::{LeaseId, Token};

use super::Unclear;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Exact { lease: LeaseId, token: Token },
    Number(u64),
    Name(String),
}

/// # Errors
/// [`Unclear`].
pub fn parse(text: &str) -> Result<Target, Unclear> {
    let want = "a lease id, a token, a name, or LEASE/TOKEN";
    if let Some((lease, token)) = text.split_once('/') {
        return match (lease.parse(), token.parse()) {
            (Ok(lease), Ok(token)) => Ok(Target::Exact { lease: LeaseId(lease), token: Token(token) }),
            (_, _) => Err(Unclear::new(text, want)),
        };
    }
    if text.is_empty() {
        return Err(Unclear::new(text, want));
    }
    Ok(text.parse().map_or_else(|_| Target::Name(text.to_owned()), Target::Number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_number_a_name_or_exact() {
        assert_eq!(parse("12"), Ok(Target::Number(12)));
        assert_eq!(parse("h1"), Ok(Target::Name("h1".to_owned())));
        assert_eq!(parse("12/13"), Ok(Target::Exact { lease: LeaseId(12), token: Token(13) }));
        for bad in ["", "/", "12/", "/13", "a/13"] {
            assert!(parse(bad).is_err(), "{bad:?} passed");
        }
    }
}
