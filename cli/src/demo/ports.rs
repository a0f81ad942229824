//! Free loopback ports for the control nodes. Below the range that the kernel gives to outgoing connections: a port from that range could be
//! taken by any connection while its node is down, even by a client's attempt to reach that very node.

use std::net::{SocketAddr, TcpListener};

use anyhow::Context;

/// Below are well-known and much used ports.
const LOWEST: u16 = 10_000;
/// Random ports tried before the search is given up.
const TRIES: usize = 1_000;

/// Loopback addresses that nobody listens on. All are found before one is given back, so that none comes twice.
///
/// # Errors
/// There are none, or no randomness.
pub fn free(count: usize) -> anyhow::Result<Vec<SocketAddr>> {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let below = range.split_whitespace().next().and_then(|port| port.parse().ok()).filter(|port| *port > LOWEST).unwrap_or(u16::MAX);
    let mut listeners = vec![];
    for _ in 0..TRIES {
        if listeners.len() == count {
            break;
        }
        let mut random = [0; 2];
        getrandom::fill(&mut random).map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
        let port = LOWEST + u16::from_ne_bytes(random) % (below - LOWEST);
        listeners.extend(TcpListener::bind(("127.0.0.1", port)));
    }
    anyhow::ensure!(listeners.len() == count, "no {count} free loopback ports from {LOWEST} to {below}");
    listeners.iter().map(TcpListener::local_addr).collect::<Result<_, _>>().context("addresses of free ports")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test")]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ports_differ_and_can_be_bound() {
        let found = free(5).unwrap();
        assert_eq!(found.iter().collect::<BTreeSet<_>>().len(), 5);
        assert!(found.iter().all(|address| TcpListener::bind(address).is_ok()));
    }
}
