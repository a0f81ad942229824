//! The keepalive rule (L6): what one transmitted keepalive means at its place in the log. Called by `decide`; what it finds is recorded
//! by `evolve::session::renew`. Never refuses a batch: each keepalive has its own answer, and that answer is all an executor ever gets (L7).

use std::collections::{BTreeMap, BTreeSet};

use crate::command::{Keepalive, RecordKeepalives};
use crate::decide::Decision;
use crate::event::{CloseReason, Fact};
use crate::ids::{Nonce, Seq, SessionId, Token};
use crate::noun::host::Health;
use crate::noun::lease::{Lease, Phase};
use crate::noun::session::Session;
use crate::outcome::{GoneReason, KeepaliveAnswer, LeaseVerdict, SessionVerdict};
use crate::state::ClusterState;

/// An accepted keepalive: what is renewed by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) session: SessionId,
    pub(crate) seq: Seq,
    pub(crate) nonce: Nonce,
    pub(crate) renewed: Vec<Token>,
}

/// Decides the keepalives of one entry in order. All of one entry share its index; the effects of earlier ones count for later ones.
pub(super) fn record(state: &ClusterState, cmd: &RecordKeepalives) -> Decision {
    let mut batch = Batch::default();
    let answers = cmd.keepalives.iter().map(|k| batch.one(state, k)).collect();
    Decision::Keepalives { facts: batch.facts, heard: batch.heard, answers }
}

/// What earlier keepalives of the same entry have changed.
#[derive(Default)]
struct Batch {
    facts: Vec<Fact>,
    heard: Vec<Heard>,
    pulses: BTreeMap<SessionId, (Seq, Nonce)>,
    /// Leases that this entry activated or closed, on top of the state's phases.
    phases: BTreeMap<Token, Phase>,
    revived: BTreeSet<SessionId>,
}

impl Batch {
    fn one(&mut self, state: &ClusterState, k: &Keepalive) -> KeepaliveAnswer {
        let verdict = self.verdict(state, k);
        KeepaliveAnswer { session: k.session, seq: k.seq, verdict }
    }

    fn verdict(&mut self, state: &ClusterState, k: &Keepalive) -> SessionVerdict {
        let same_life = state.cluster().is_some_and(|c| c.incarnation == k.incarnation);
        let (Some(session), Some(pulse), true) = (state.session(k.session), state.pulse(k.session), same_life) else {
            return SessionVerdict::Gone;
        };
        let (seq, nonce) = self.pulses.get(&session.id).copied().unwrap_or((pulse.seq, pulse.nonce));
        if k.seq == seq && k.nonce != nonce && seq != Seq(0) {
            self.cloned(state, session);
            return SessionVerdict::Gone;
        }
        // An older message came late: it must not kill a live holder, so it means nothing.
        if k.seq <= seq {
            return SessionVerdict::Stale;
        }
        self.pulses.insert(session.id, (k.seq, k.nonce));
        self.revive(state, session);
        let ttl_ms = state.settings().ttl_ms;
        let leases: Vec<_> = k.tokens.iter().map(|token| (*token, self.lease(state, session, *token, ttl_ms))).collect();
        let renewed = leases.iter().filter_map(|(token, v)| matches!(v, LeaseVerdict::Live { .. }).then_some(*token)).collect();
        self.heard.push(Heard { session: session.id, seq: k.seq, nonce: k.nonce, renewed });
        SessionVerdict::Heard { ttl_ms, leases }
    }

    fn lease(&mut self, state: &ClusterState, session: &Session, token: Token, ttl_ms: u64) -> LeaseVerdict {
        let Some(lease) = state.lease_by_token(token) else { return LeaseVerdict::Gone(GoneReason::Ended) };
        if lease.session != session.id {
            return LeaseVerdict::Gone(GoneReason::NotYours);
        }
        match self.phase(lease) {
            Phase::Granted => {
                self.phases.insert(token, Phase::Active);
                self.facts.push(Fact::LeaseActivated { lease: lease.id, token });
                LeaseVerdict::Live { ttl_ms }
            }
            Phase::Active => LeaseVerdict::Live { ttl_ms },
            Phase::Closing => LeaseVerdict::Gone(GoneReason::Closing),
            Phase::Expired => LeaseVerdict::Gone(GoneReason::Expired),
        }
    }

    fn phase(&self, lease: &Lease) -> Phase {
        self.phases.get(&lease.token).copied().unwrap_or(lease.phase)
    }

    /// L17: the same number with another nonce: two machines run from one memory image. Neither may go on.
    fn cloned(&mut self, state: &ClusterState, session: &Session) {
        self.facts.push(Fact::SessionCloned { session: session.id, host: session.host.clone() });
        let leases: Vec<&Lease> = state.leases_of_session(session.id).collect();
        for lease in leases {
            match self.phase(lease) {
                Phase::Granted | Phase::Active => {
                    self.phases.insert(lease.token, Phase::Closing);
                    self.facts.push(Fact::LeaseClosed { lease: lease.id, token: lease.token, why: CloseReason::SessionCloned });
                }
                Phase::Closing | Phase::Expired => {}
            }
        }
    }

    /// A host that is heard of again is live again.
    fn revive(&mut self, state: &ClusterState, session: &Session) {
        let marked = state.host(&session.host).is_some_and(|h| h.health != Health::Live);
        if marked && self.revived.insert(session.id) {
            self.facts.push(Fact::HostHealthChanged { host: session.host.clone(), health: Health::Live });
        }
    }
}
