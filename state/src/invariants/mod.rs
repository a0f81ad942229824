//! Invariants that one applied entry and the state after it can show, each a named check in its own file. Run after every apply in debug
//! builds and in every test. I1, I2, I8, I10-I12 and I15-I17 speak of clocks, hosts and disks: the simulation checks those.

mod clean_host;
mod cut_order;
mod ended_is_final;
mod ended_needs_cause;
mod expire_names_last;
mod index_agrees;
mod no_dangling;
mod not_on_cordoned;
mod one_session;
mod one_unended;
mod token_monotone;

use std::collections::BTreeMap;

use crate::event::Event;
use crate::ids::{HostId, LeaseId, Token, VolumeId};
use crate::noun::lease::Lease;
use crate::noun::session::Renewal;
use crate::state::ClusterState;

/// One broken invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// `I3 one-unended` and the like.
    pub name: &'static str,
    pub detail: String,
}

/// What the checks compare with: the state before the entry.
#[derive(Clone, Debug, Default)]
pub struct Before {
    max_token: Token,
    leases: BTreeMap<LeaseId, Lease>,
    renewals: BTreeMap<Token, Renewal>,
    /// Of each barred host: the tokens without proof of death.
    bars: BTreeMap<(VolumeId, HostId), Vec<Token>>,
    /// Of each fenced host: the same.
    fenced: BTreeMap<HostId, Vec<Token>>,
}

impl Before {
    /// Empty in release builds, where no check runs by itself.
    pub(crate) fn of(state: &ClusterState) -> Self {
        if cfg!(debug_assertions) { Self::copy(state) } else { Self::default() }
    }

    #[must_use]
    pub fn copy(state: &ClusterState) -> Self {
        let max_token = state.cluster.as_ref().map(|c| c.max_token).unwrap_or_default();
        let bars = state.volumes.values().flat_map(|v| v.bars.iter().map(|bar| ((v.id.clone(), bar.host.clone()), bar.tokens.clone())));
        let fenced = state.hosts.values().filter(|h| !h.fenced.is_empty());
        let fenced = fenced.map(|h| (h.id.clone(), h.fenced.iter().map(|holder| holder.token).collect()));
        Self { max_token, leases: state.leases.clone(), renewals: state.renewals.clone(), bars: bars.collect(), fenced: fenced.collect() }
    }
}

/// Every check over one step; empty when all hold.
#[must_use]
pub fn check(before: &Before, events: &[Event], after: &ClusterState) -> Vec<Violation> {
    let mut broken = Vec::new();
    let mut run = |name, found: Vec<String>| broken.extend(found.into_iter().map(|detail| Violation { name, detail }));
    run("I3 one-unended", one_unended::check(after));
    run("I4 token-monotone", token_monotone::check(before, events, after));
    run("I5 ended-needs-cause", ended_needs_cause::check(before, events, after));
    run("I6 ended-is-final", ended_is_final::check(before, after));
    run("I9 expire-names-last", expire_names_last::check(before, events));
    run("I13 one-session", one_session::check(after));
    run("I14 cut-order", cut_order::check(before, events, after));
    run("S1 no-dangling", no_dangling::check(after));
    run("S2 not-on-cordoned", not_on_cordoned::check(events, after));
    run("S3 index-agrees", index_agrees::check(after));
    run("S4 clean-host", clean_host::check(before, events));
    broken
}
