//! `always`, `on-failure[:N]`, `never`: what happens when a container ends by itself.

use berth_state::noun::container::RestartPolicy;

use super::Unclear;

/// # Errors
/// [`Unclear`].
pub fn parse(text: &str) -> Result<RestartPolicy, Unclear> {
    let unclear = || Unclear::new(text, "always, never, on-failure or on-failure:N");
    match text {
        "always" => Ok(RestartPolicy::Always),
        "never" => Ok(RestartPolicy::Never),
        "on-failure" => Ok(RestartPolicy::OnFailure { max_attempts: 0 }),
        // Docker's words, which people will try. Berth's policy is its own: dockerd would start the instance without a lease.
        "no" => Err(Unclear::new(text, "that is Docker's word: here it is never")),
        "unless-stopped" => {
            let want = "that is Docker's word: use always; `berth container stop` holds until `berth container start`, and Berth restarts it on the host that has the lease, never Docker by itself";
            Err(Unclear::new(text, want))
        }
        other => {
            let attempts = other.strip_prefix("on-failure:").and_then(|n| n.parse().ok()).filter(|n| *n > 0).ok_or_else(unclear)?;
            Ok(RestartPolicy::OnFailure { max_attempts: attempts })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restart_policies_are_these_and_no_others() {
        assert_eq!(parse("always"), Ok(RestartPolicy::Always));
        assert_eq!(parse("never"), Ok(RestartPolicy::Never));
        assert_eq!(parse("on-failure"), Ok(RestartPolicy::OnFailure { max_attempts: 0 }));
        assert_eq!(parse("on-failure:3"), Ok(RestartPolicy::OnFailure { max_attempts: 3 }));
        for bad in ["", "no", "on-failure:", "on-failure:0", "on-failure:-1", "on-failure:x", "unless-stopped", "always:1"] {
            assert!(parse(bad).is_err(), "{bad:?} passed");
        }
    }
}
