//! Failovers, as the event log and the writers' acknowledgements tell of them. Pure; called by the demo at its end. Must never report an
//! outage shorter than the writers saw it.

use std::collections::BTreeMap;

use berth_state::ids::{HostId, Token};
use berth_state::{Event, Fact};
use serde::Serialize;

use super::fault::{Deed, Fault};
use super::line::Ack;

/// One change of the writer after the old one was fenced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failover {
    /// What the demo did: `host-killed`, `leader-killed`, or both; `unknown` when it did nothing.
    pub cause: &'static str,
    pub host_before: String,
    pub host_after: String,
    pub token_before: u64,
    pub token_after: u64,
    /// What proved that the old writer writes no more.
    pub evidence: &'static str,
    /// From the last write acknowledged under an older token to the first under the new one; absent: there is none.
    pub outage_ms: Option<u64>,
}

/// Every failover of the one container that the demo runs, oldest first.
#[must_use]
pub fn failovers(events: &[Event], acks: &[Ack], faults: &[Fault]) -> Vec<Failover> {
    let mut holders: BTreeMap<Token, &HostId> = BTreeMap::new();
    let mut fenced: Option<(Token, &'static str, u64)> = None;
    let mut found: Vec<Failover> = vec![];
    // Deeds up to here have their failover.
    let mut told_ms = 0;
    for event in events {
        if let Fact::LeaseGranted { token, host, .. } = &event.fact {
            holders.insert(*token, host);
        }
        if let Fact::LeaseFenced { token, evidence, .. } = &event.fact {
            fenced = Some((*token, evidence.label(), event.time.0));
        }
        // Not the grant: a grant that nobody claims is withdrawn, and another host takes over.
        let Fact::LeaseActivated { token, .. } = &event.fact else { continue };
        let Some((before, evidence, at_ms)) = fenced.take() else { continue };
        let host = |token| holders.get(&token).map(ToString::to_string).unwrap_or_default();
        let since: Vec<_> = faults.iter().filter(|fault| (told_ms..=at_ms).contains(&fault.time_ms)).map(|fault| &fault.deed).collect();
        told_ms = at_ms;
        found.push(Failover {
            cause: cause(&since, &host(before)),
            host_before: host(before),
            host_after: host(*token),
            token_before: before.0,
            token_after: token.0,
            evidence,
            outage_ms: outage_ms(acks, token.0),
        });
    }
    found
}

fn cause(since: &[&Deed], host: &str) -> &'static str {
    let host_killed = since.iter().any(|deed| matches!(deed, Deed::HostKilled { host: killed } if killed == host));
    let leader_killed = since.iter().any(|deed| matches!(deed, Deed::LeaderKilled { .. }));
    match (leader_killed, host_killed) {
        (false, true) => "host-killed",
        (true, true) => "leader-killed, then host-killed",
        (true, false) => "leader-killed",
        (false, false) => "unknown",
    }
}

/// Rounded up to whole milliseconds.
fn outage_ms(acks: &[Ack], token: u64) -> Option<u64> {
    let first = acks.iter().filter(|ack| ack.token == token).map(|ack| ack.at_ns).min()?;
    let last = acks.iter().filter(|ack| ack.token < token).map(|ack| ack.at_ns).max()?;
    Some(first.saturating_sub(last).div_ceil(1_000_000))
}

/// A new leader, and how long the writer was held up by that: not at all, as leases go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeaderChange {
    pub node_before: u64,
    pub node_after: u64,
    pub term_before: u64,
    pub term_after: u64,
    /// From the kill until another node led with a majority.
    pub election_ms: u64,
    /// Longest time between two acknowledged writes meanwhile.
    pub write_gap_ms: u64,
}

/// The longest time without an acknowledged write in a span of time, in ms, rounded up.
#[must_use]
pub fn longest_gap_ms(acks: &[Ack], from_ns: u64, to_ns: u64) -> u64 {
    let mut times: Vec<u64> = acks.iter().map(|ack| ack.at_ns).filter(|at| (from_ns..to_ns).contains(at)).collect();
    times.extend([from_ns, to_ns]);
    times.sort_unstable();
    let gaps = times.windows(2).map(|pair| pair[1] - pair[0]);
    gaps.max().unwrap_or(0).div_ceil(1_000_000)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test")]
mod tests {
    use berth_state::ids::{ContainerId, LeaseId, Revision, SessionId, Time, Version};
    use berth_state::noun::lease::{Evidence, GrantCause, WithdrawReason};

    use super::*;

    fn event(time_ms: u64, fact: Fact) -> Event {
        Event { revision: Revision(time_ms), time: Time(time_ms), actor: String::new(), fact }
    }

    fn granted(time_ms: u64, token: u64, host: &str) -> Event {
        let fact = Fact::LeaseGranted {
            lease: LeaseId(token),
            token: Token(token),
            container: ContainerId::new("writer").unwrap(),
            version: Version(1),
            host: HostId::new(host).unwrap(),
            session: SessionId(1),
            cause: GrantCause::Placed,
        };
        event(time_ms, fact)
    }

    fn activated(time_ms: u64, token: u64) -> Event {
        event(time_ms, Fact::LeaseActivated { lease: LeaseId(token), token: Token(token) })
    }

    fn fenced(time_ms: u64, token: u64) -> Event {
        let evidence = Evidence::RanOut { expired_at: Revision(time_ms) };
        event(time_ms, Fact::LeaseFenced { lease: LeaseId(token), token: Token(token), evidence })
    }

    fn ack(token: u64, at_ms: u64) -> Ack {
        Ack { token, n: at_ms, at_ns: at_ms * 1_000_000 }
    }

    fn fault(time_ms: u64, deed: Deed) -> Fault {
        Fault { deed, time_ms, at_ns: time_ms * 1_000_000 }
    }

    #[test]
    fn a_failover_runs_from_fence_to_activation_and_its_outage_from_write_to_write() {
        let events = [granted(1, 7, "h1"), activated(2, 7), fenced(50, 7), granted(51, 9, "h2"), activated(52, 9)];
        let acks = [ack(7, 10), ack(7, 20), ack(9, 61), ack(9, 70)];
        let faults = [fault(21, Deed::HostKilled { host: "h1".to_owned() })];
        let expected = Failover {
            cause: "host-killed",
            host_before: "h1".to_owned(),
            host_after: "h2".to_owned(),
            token_before: 7,
            token_after: 9,
            evidence: "RanOut",
            outage_ms: Some(41),
        };
        assert_eq!(failovers(&events, &acks, &faults), [expected]);
    }

    #[test]
    fn a_grant_that_nobody_claimed_is_not_the_end_of_an_outage() {
        let withdrawn = Fact::LeaseWithdrawn { lease: LeaseId(8), token: Token(8), why: WithdrawReason::NotActivated };
        let events = [
            granted(1, 7, "h1"),
            activated(2, 7),
            fenced(5, 7),
            granted(6, 8, "h2"),
            event(7, withdrawn),
            granted(8, 9, "h3"),
            activated(9, 9),
        ];
        let found = failovers(&events, &[], &[]);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].token_after, found[0].host_after.as_str(), found[0].outage_ms), (9, "h3", None));
        assert_eq!(found[0].cause, "unknown");
    }

    #[test]
    fn a_release_and_a_new_grant_are_no_failover() {
        assert_eq!(failovers(&[granted(1, 7, "h1"), activated(2, 7), granted(6, 8, "h2"), activated(7, 8)], &[], &[]), []);
    }

    #[test]
    fn each_deed_is_the_cause_of_one_failover() {
        let events = [
            granted(1, 7, "h1"),
            activated(2, 7),
            fenced(10, 7),
            granted(11, 9, "h2"),
            activated(12, 9),
            fenced(30, 9),
            granted(31, 11, "h3"),
            activated(32, 11),
        ];
        let kill = |time_ms, host: &str| fault(time_ms, Deed::HostKilled { host: host.to_owned() });
        let faults = [kill(3, "h1"), fault(15, Deed::LeaderKilled { node: 1 }), kill(20, "h2")];
        let causes: Vec<_> = failovers(&events, &[], &faults).iter().map(|failover| failover.cause).collect();
        assert_eq!(causes, ["host-killed", "leader-killed, then host-killed"]);
    }

    #[test]
    fn a_gap_counts_to_the_ends_of_the_span() {
        assert_eq!(longest_gap_ms(&[ack(7, 10), ack(7, 15), ack(7, 100)], 8_000_000, 30_000_000), 15);
        assert_eq!(longest_gap_ms(&[], 8_000_000, 30_000_000), 22);
    }
}
