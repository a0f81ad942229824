//! `host:port` of a control node.

use super::Unclear;

/// # Errors
/// [`Unclear`].
pub fn parse(text: &str) -> Result<String, Unclear> {
    let unclear = || Unclear::new(text, "an endpoint is host:port, without a scheme; several are separated by commas");
    let (host, port) = text.rsplit_once(':').ok_or_else(unclear)?;
    let bracketed = host.starts_with('[') && host.ends_with(']');
    let host_ok =
        !host.is_empty() && (bracketed || !host.contains(':')) && host.chars().all(|c| c.is_ascii_graphic() && !"/@?#,".contains(c));
    if host_ok && port.parse::<u16>().is_ok_and(|p| p > 0) { Ok(text.to_owned()) } else { Err(unclear()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_host_and_port() {
        for good in ["n1:7400", "127.0.0.1:1", "[::1]:7400", "a.b-c:65535"] {
            assert_eq!(parse(good).as_deref(), Ok(good));
        }
        for bad in ["", "n1", ":7400", "n1:", "n1:0", "n1:x", "http://n1:7400", "::1:7400", "n 1:7400", "n1:65536"] {
            assert!(parse(bad).is_err(), "{bad:?} passed");
        }
    }
}
