//! Who held which volume, from which event to which, and why it ended: kept from the events, beside the replayed state. Called by `prover`.

use std::collections::BTreeMap;

use berth_state::ids::{LeaseId, Revision, Time, Token, VolumeId};
use berth_state::noun::lease::{Evidence, Lease};
use berth_state::noun::session::{Cut, Guard};
use berth_state::noun::volume::{Driver, Takeover};
use berth_state::{ClusterState, Event, Fact};
use serde::Serialize;

use super::rules;

/// Something that must not be in a history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Of the event; `None`: of the history as a whole.
    pub revision: Option<Revision>,
    /// The rule that it breaks: `hash-chain`, `replay`, or a number of docs/protocol.md.
    pub rule: &'static str,
    pub what: String,
    /// Whose lease breaks it; empty: it concerns every volume.
    #[serde(skip)]
    pub volumes: Vec<VolumeId>,
}

/// One volume under one lease.
#[derive(Clone, Debug, Serialize)]
pub struct Holding {
    pub volume: VolumeId,
    pub lease: LeaseId,
    pub token: Token,
    pub host: String,
    pub container: String,
    pub driver: Driver,
    /// The rule in force: frozen at the grant.
    pub takeover: Takeover,
    pub guard: Guard,
    pub cut: Cut,
    pub coherent: bool,
    pub granted: Revision,
    pub granted_time: Time,
    /// Since when it could write.
    pub activated: Option<Revision>,
    pub activated_time: Option<Time>,
    pub end: Option<End>,
    /// From the end of the holding before it to this grant, by the leaders' clocks.
    pub gap_ms: Option<u64>,
}

#[derive(Clone, Debug, Serialize)]
pub struct End {
    pub revision: Revision,
    pub time: Time,
    /// `withdrawn`, `released` or `fenced`.
    pub by: &'static str,
    /// What the log has as evidence; for a release: the session that said so.
    pub evidence: String,
}

/// So many findings are kept; one is enough for the verdict, and a forged history may break a rule with every event.
const MAX_FINDINGS: usize = 100;

#[derive(Default)]
pub struct Book {
    by_volume: BTreeMap<VolumeId, Vec<Holding>>,
    max_token: Token,
    findings: Vec<Finding>,
    /// Of every volume: how many more there were.
    dropped: u64,
}

impl Book {
    pub fn add(&mut self, finding: Finding) {
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(finding);
        } else {
            self.dropped += 1;
        }
    }

    fn find(&mut self, event: &Event, rule: &'static str, what: String, volumes: Vec<VolumeId>) {
        self.add(Finding { revision: Some(event.revision), rule, what, volumes });
    }

    /// Looks at an event and the state before it.
    pub fn before(&mut self, state: &ClusterState, event: &Event) {
        for (rule, what) in rules::broken_by(state, event) {
            let lease = rules::about(&event.fact).and_then(|(lease, _)| state.lease(lease));
            self.find(event, rule, what, lease.map(volumes).unwrap_or_default());
        }
        if let Fact::LeaseGranted { token, .. } = &event.fact {
            let highest = self.max_token;
            if *token <= highest {
                self.find(event, "I4", format!("token {token} is granted after token {highest}"), Vec::new());
            }
            self.max_token = highest.max(*token);
        }
        if let Some((lease, end)) = end_of(state, event) {
            for holding in self.held_by(&lease) {
                holding.end = Some(end.clone());
            }
        }
        if let Fact::LeaseActivated { lease, .. } = &event.fact
            && let Some(lease) = state.lease(*lease)
        {
            for holding in self.held_by(lease) {
                (holding.activated, holding.activated_time) = (Some(event.revision), Some(event.time));
            }
        }
    }

    /// Looks at an event and the state after it: a grant is in it whole.
    pub fn after(&mut self, state: &ClusterState, event: &Event) {
        let Fact::LeaseGranted { lease, .. } = &event.fact else { return };
        let Some(lease) = state.lease(*lease) else { return };
        for held in &lease.volumes {
            let list = self.by_volume.entry(held.volume.clone()).or_default();
            let former = list.last();
            let open = former.filter(|former| former.end.is_none()).map(|former| (former.token, former.host.clone()));
            let gap_ms = former.and_then(|f| f.end.as_ref()).map(|end| event.time.0.saturating_sub(end.time.0));
            list.push(Holding {
                volume: held.volume.clone(),
                lease: lease.id,
                token: lease.token,
                host: lease.host.to_string(),
                container: lease.container.to_string(),
                driver: held.spec.driver,
                takeover: held.spec.takeover,
                guard: lease.guard,
                cut: held.cut,
                coherent: held.spec.coherent,
                granted: event.revision,
                granted_time: event.time,
                activated: None,
                activated_time: None,
                end: None,
                gap_ms,
            });
            if let Some((token, host)) = open {
                let what = format!(
                    "volume {} is granted under token {} to host {} while token {token} of host {host} has not ended",
                    held.volume, lease.token, lease.host
                );
                self.find(event, "I3", what, vec![held.volume.clone()]);
            }
        }
        for (rule, what) in rules::broken_by_grant(state, lease) {
            self.find(event, rule, what, volumes(lease));
        }
    }

    fn held_by(&mut self, lease: &Lease) -> impl Iterator<Item = &mut Holding> {
        let (id, volumes) = (lease.id, volumes(lease));
        let of_volumes = self.by_volume.iter_mut().filter(move |(volume, _)| volumes.contains(volume));
        of_volumes.flat_map(|(_, list)| list.iter_mut()).filter(move |holding| holding.lease == id)
    }

    /// The holdings of one volume, oldest first, and the findings that concern it.
    #[must_use]
    pub fn close(mut self, volume: &VolumeId) -> (Vec<Holding>, Vec<Finding>) {
        self.findings.retain(|finding| finding.volumes.is_empty() || finding.volumes.contains(volume));
        if self.dropped > 0 {
            let what = format!("{} more findings, of this volume or others, are not listed", self.dropped);
            self.findings.push(Finding { revision: None, rule: "more", what, volumes: Vec::new() });
        }
        (self.by_volume.remove(volume).unwrap_or_default(), self.findings)
    }
}

fn volumes(lease: &Lease) -> Vec<VolumeId> {
    lease.volumes.iter().map(|held| held.volume.clone()).collect()
}

/// The lease that the event ends, and how.
fn end_of(state: &ClusterState, event: &Event) -> Option<(Lease, End)> {
    let (lease, by, evidence) = if let Fact::LeaseWithdrawn { lease, .. } = &event.fact {
        (lease, "withdrawn", "never activated".to_owned())
    } else if let Fact::LeaseReleased { lease, session, .. } = &event.fact {
        (lease, "released", format!("session {session}"))
    } else if let Fact::LeaseFenced { lease, token, evidence } = &event.fact {
        (lease, "fenced", evidence_text(state, *token, evidence))
    } else {
        return None;
    };
    let lease = state.lease(*lease)?.clone();
    Some((lease, End { revision: event.revision, time: event.time, by, evidence }))
}

fn evidence_text(state: &ClusterState, token: Token, evidence: &Evidence) -> String {
    let done = || state.fence(token).and_then(|fence| fence.tries.iter().rev().find(|tried| tried.ok));
    match evidence {
        Evidence::RanOut { expired_at } => format!("RanOut, expired at {expired_at}"),
        Evidence::StorageCut | Evidence::PoweredOff => {
            let by = done().map(|tried| format!(", attempt {} by {} on node {}", tried.attempt, tried.agent, tried.node));
            format!("{}{}", evidence.label(), by.unwrap_or_else(|| ", no attempt of it is in the log".to_owned()))
        }
        Evidence::OperatorConfirmed { name, reason } => format!("OperatorConfirmed by {name}: {reason}"),
    }
}
