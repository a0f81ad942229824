//! The deadline book (L8): until when each token may be acted on. Pure. Owned by the enforcer, which decides by it; fed by the keepalive loop. Must
//! never lengthen a right by anything but an answered keepalive whose sending this very process remembers.

use std::collections::{BTreeMap, BTreeSet};

use berth_state::ids::{Seq, SessionId, Token};
use berth_state::noun::cluster::hold_ms;
use berth_state::outcome::{GoneReason, KeepaliveAnswer, LeaseVerdict, SessionVerdict};

use crate::clock::HolderTime;

/// Keepalives whose answer may still count. More than are ever in flight at once; the answer to an older one counts for nothing.
pub const MAX_OUTSTANDING: usize = 32;
/// Finished tokens that are remembered so that nothing revives them. Tokens only rise, so the smallest are forgotten first.
pub const MAX_RETIRED: usize = 4_096;

/// What this holder may do under a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// No answer yet: nothing may be attached, mounted or started.
    Never,
    /// Until then, by the holder's clock.
    Until(HolderTime),
    /// Without an end: the storage is fenced before anybody else gets it, so the holder need not stop on silence (L11). It can still be lost.
    Open,
    /// For ever over: stop, never act again.
    Over(Lost),
}

/// How a right was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    DeadlinePassed,
    /// The control plane's answer for this token.
    Gone(GoneReason),
    /// The whole session is not live any more.
    SessionGone,
    /// Another boot or another life of the control plane recorded it (L9), or it was over already when the executor was restarted.
    Stale,
    /// The ledger cannot be written: nothing may run that a successor would not know of.
    LedgerFailed,
    /// Another holder's heartbeat advanced on one of its volumes.
    SplitBrain,
    /// This process has released it.
    Released,
}

impl Lost {
    /// For people.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::DeadlinePassed => "the lease was not renewed before its deadline",
            Self::Gone(GoneReason::Ended) => "the lease has ended",
            Self::Gone(GoneReason::Closing) => "the lease is being closed",
            Self::Gone(GoneReason::Expired) => "the lease has expired",
            Self::Gone(GoneReason::NotYours) => "another session holds the lease",
            Self::SessionGone => "the host's session is over",
            Self::Stale => "it is of an earlier boot, of an earlier life of the cluster, or was over before the executor was restarted",
            Self::LedgerFailed => "the executor's ledger cannot be written",
            Self::SplitBrain => "another holder's heartbeat advanced on its volume: a split brain is suspected",
            Self::Released => "the lease was released",
        }
    }
}

/// What an answer meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Unknown, late or of another session: it counts for nothing.
    Nothing,
    Renewed {
        ttl_ms: u64,
    },
    SessionGone,
}

#[derive(Clone, Debug)]
struct Sent {
    t_send: HolderTime,
    tokens: BTreeSet<Token>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    right: Right,
    /// hold(T) of the newest renewal; 0: none in this process.
    hold_ms: u64,
    /// Whether this process has had a Live for it. Without one what runs goes on, but nothing new begins.
    confirmed: bool,
    /// A Live gives a right without an end.
    open: bool,
}

#[derive(Debug)]
pub struct DeadlineBook {
    margin_ms: u64,
    session: Option<SessionId>,
    sent: BTreeMap<Seq, Sent>,
    entries: BTreeMap<Token, Entry>,
    retired: BTreeSet<Token>,
}

impl DeadlineBook {
    /// `margin_ms`: m, what killing and polling may take.
    #[must_use]
    pub fn new(margin_ms: u64) -> Self {
        Self { margin_ms, session: None, sent: BTreeMap::new(), entries: BTreeMap::new(), retired: BTreeSet::new() }
    }

    /// Numbers start anew with a session; what was sent on the former one counts for nothing from here on.
    pub fn begin_session(&mut self, session: SessionId) {
        self.session = Some(session);
        self.sent.clear();
    }

    /// A right that the ledger of an earlier process of this boot tells of: its deadline goes on unchanged (L9, I12).
    pub fn adopt(&mut self, token: Token, deadline: HolderTime) {
        let right = Right::Until(deadline);
        self.entries.entry(token).or_insert(Entry { right, hold_ms: 0, confirmed: false, open: false });
    }

    /// The same for a right without an end.
    pub fn adopt_open(&mut self, token: Token) {
        self.entries.entry(token).or_insert(Entry { right: Right::Open, hold_ms: 0, confirmed: false, open: true });
    }

    /// The lease under `token` never expires by silence: from its first Live on it has no deadline.
    pub fn without_end(&mut self, token: Token) {
        if self.retired.contains(&token) {
            return;
        }
        let entry = self.entries.entry(token).or_insert(Entry { right: Right::Never, hold_ms: 0, confirmed: false, open: true });
        entry.open = true;
        match entry.right {
            // A deadline that was adopted is no Live of this process.
            Right::Until(_) if entry.confirmed => entry.right = Right::Open,
            Right::Never | Right::Until(_) | Right::Open | Right::Over(_) => {}
        }
    }

    /// To be called with the time read before the message is built (I8), and before it leaves.
    pub fn sent(&mut self, seq: Seq, t_send: HolderTime, tokens: &BTreeSet<Token>) {
        let former = self.sent.insert(seq, Sent { t_send, tokens: tokens.clone() });
        debug_assert!(former.is_none(), "every transmission has a new number (L5)");
        while self.sent.len() > MAX_OUTSTANDING {
            self.sent.pop_first();
        }
    }

    /// L8. A second answer to the same number counts for nothing, and harms nothing.
    pub fn answer(&mut self, answer: &KeepaliveAnswer) -> Heard {
        if self.session != Some(answer.session) {
            return Heard::Nothing;
        }
        let Some(sent) = self.sent.remove(&answer.seq) else { return Heard::Nothing };
        match &answer.verdict {
            SessionVerdict::Stale => Heard::Nothing,
            SessionVerdict::Gone => {
                for token in &sent.tokens {
                    self.lose(*token, Lost::SessionGone);
                }
                self.lose_all(Lost::SessionGone);
                Heard::SessionGone
            }
            SessionVerdict::Heard { ttl_ms, leases } => {
                for (token, verdict) in leases.iter().filter(|(token, _)| sent.tokens.contains(token)) {
                    match verdict {
                        LeaseVerdict::Live { ttl_ms } => self.renew(*token, sent.t_send, *ttl_ms),
                        LeaseVerdict::Gone(why) => self.lose(*token, Lost::Gone(*why)),
                    }
                }
                Heard::Renewed { ttl_ms: *ttl_ms }
            }
        }
    }

    fn renew(&mut self, token: Token, t_send: HolderTime, ttl_ms: u64) {
        if self.retired.contains(&token) {
            return;
        }
        let hold_ms = hold_ms(ttl_ms).saturating_sub(self.margin_ms);
        let until = t_send.plus_ms(hold_ms);
        let entry = self.entries.entry(token).or_insert(Entry { right: Right::Never, hold_ms, confirmed: false, open: false });
        let right = match entry.right {
            Right::Over(_) => return,
            Right::Never | Right::Until(_) if entry.open => Right::Open,
            Right::Never => Right::Until(until),
            // Answers may come in another order than the keepalives left.
            Right::Until(old) => Right::Until(old.max(until)),
            Right::Open => Right::Open,
        };
        *entry = Entry { right, hold_ms, confirmed: true, open: entry.open };
    }

    /// Ends the right under `token` for ever. The first reason stays.
    pub fn lose(&mut self, token: Token, why: Lost) {
        if self.retired.contains(&token) {
            return;
        }
        let entry = self.entries.entry(token).or_insert(Entry { right: Right::Never, hold_ms: 0, confirmed: false, open: false });
        match entry.right {
            Right::Never | Right::Until(_) | Right::Open => entry.right = Right::Over(why),
            Right::Over(_) => {}
        }
    }

    /// Ends every right there is.
    pub fn lose_all(&mut self, why: Lost) {
        let tokens: Vec<Token> = self.entries.keys().copied().collect();
        for token in tokens {
            self.lose(token, why);
        }
    }

    /// Ends the rights whose deadline has come; returns those tokens.
    pub fn expire(&mut self, now: HolderTime) -> Vec<Token> {
        let mut over = Vec::new();
        for (token, entry) in &mut self.entries {
            if let Right::Until(deadline) = entry.right
                && now >= deadline
            {
                entry.right = Right::Over(Lost::DeadlinePassed);
                over.push(*token);
            }
        }
        over
    }

    /// Whether a right without an end is held: then silence, and not a deadline, makes the control plane act.
    #[must_use]
    pub fn any_open(&self) -> bool {
        self.entries.values().any(|entry| entry.right == Right::Open)
    }

    #[must_use]
    pub fn right(&self, token: Token) -> Right {
        if self.retired.contains(&token) {
            return Right::Over(Lost::Released);
        }
        self.entries.get(&token).map_or(Right::Never, |entry| entry.right)
    }

    /// Whether a right there was is over at `now`, whether or not the enforcer has looked since.
    #[must_use]
    pub fn is_over(&self, token: Token, now: HolderTime) -> bool {
        match self.right(token) {
            Right::Over(_) => true,
            Right::Until(deadline) => now >= deadline,
            Right::Never | Right::Open => false,
        }
    }

    /// I11: whether attach, mount or create may happen at `now`.
    #[must_use]
    pub fn may_act(&self, token: Token, now: HolderTime) -> bool {
        self.entries.get(&token).is_some_and(|entry| match entry.right {
            Right::Until(deadline) => entry.confirmed && now < deadline,
            Right::Open => entry.confirmed,
            Right::Never | Right::Over(_) => false,
        })
    }

    /// The same for a start, with a quarter of hold(T) to spare: from asking the runtime until the enforcer has the kill handle the instance
    /// cannot be killed without the runtime's help.
    #[must_use]
    pub fn may_start(&self, token: Token, now: HolderTime) -> bool {
        self.entries.get(&token).is_some_and(|entry| self.may_act(token, now.plus_ms(entry.hold_ms / 4)))
    }

    /// Every token with a right, or one that was lost, for the ledger.
    pub fn rights(&self) -> impl Iterator<Item = (Token, Right)> {
        self.entries.iter().map(|(token, entry)| (*token, entry.right))
    }

    /// The token is finished with on this host: nothing may ever revive it.
    pub fn retire(&mut self, token: Token) {
        self.entries.remove(&token);
        self.retired.insert(token);
        while self.retired.len() > MAX_RETIRED {
            self.retired.pop_first();
        }
    }
}

#[cfg(test)]
#[path = "deadline_tests.rs"]
mod tests;
