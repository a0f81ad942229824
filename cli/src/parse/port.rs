//! `[IP:]HOST:CONTAINER[/tcp|/udp]`: a published port. An IPv6 address stands in brackets.

use std::net::IpAddr;

use berth_state::noun::container::{Port, Protocol};

use super::Unclear;

/// # Errors
/// [`Unclear`].
pub fn parse(text: &str) -> Result<Port, Unclear> {
    let unclear = || Unclear::new(text, "a published port like 5432:5432, 127.0.0.1:8080:80 or 53:53/udp");
    let (ports, protocol) = match text.split_once('/') {
        None => (text, Protocol::Tcp),
        Some((ports, "tcp")) => (ports, Protocol::Tcp),
        Some((ports, "udp")) => (ports, Protocol::Udp),
        Some(_) => return Err(unclear()),
    };
    let (front, container) = ports.rsplit_once(':').ok_or_else(unclear)?;
    let (address, host) = match front.rsplit_once(':') {
        None => ("", front),
        Some((address, host)) => (address, host),
    };
    let host_address = match address {
        "" if !front.contains(':') => String::new(),
        _ => {
            let bare = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
            bare.parse::<IpAddr>().map_err(|_| unclear())?.to_string()
        }
    };
    let port = |digits: &str| match digits.parse::<u16>() {
        Ok(number) if number > 0 && digits.bytes().all(|b| b.is_ascii_digit()) => Ok(number),
        Ok(_) | Err(_) => Err(unclear()),
    };
    Ok(Port { host_address, host_port: port(host)?, container_port: port(container)?, protocol })
}

/// The same text again, for tables.
#[must_use]
pub fn text(port: &Port) -> String {
    let protocol = match port.protocol {
        Protocol::Tcp => "",
        Protocol::Udp => "/udp",
    };
    let address = match port.host_address.as_str() {
        "" => String::new(),
        six if six.contains(':') => format!("[{six}]:"),
        four => format!("{four}:"),
    };
    format!("{address}{}:{}{protocol}", port.host_port, port.container_port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_address_host_container_and_protocol() {
        let table = [
            ("80:8080", "", 80, 8_080, Protocol::Tcp),
            ("127.0.0.1:80:8080", "127.0.0.1", 80, 8_080, Protocol::Tcp),
            ("53:53/udp", "", 53, 53, Protocol::Udp),
            ("[::1]:80:81/tcp", "::1", 80, 81, Protocol::Tcp),
        ];
        for (written, address, host_port, container_port, protocol) in table {
            let want = Port { host_address: address.to_owned(), host_port, container_port, protocol };
            assert_eq!(parse(written), Ok(want.clone()));
            assert_eq!(parse(&text(&want)), Ok(want));
        }
        for bad in ["", "80", "0:80", "80:0", "80:65536", "+80:80", "a:80:80", ":80:80", "80:80/sctp", "1.2.3:80:80"] {
            assert!(parse(bad).is_err(), "{bad:?} passed");
        }
    }
}
