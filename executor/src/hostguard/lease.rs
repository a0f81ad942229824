//! One lease as the guard sees it: its page, its order, and how far its enforcement is. Kills first, then cuts, then unmounts; a cut does not wait for ever for
//! a kill that cannot be verified. Must never take a deadline back that it has seen pass, and never wait.

use std::sync::Arc;

use berth_guard::page::{Deadline, PageReader};

use super::facts::{ActKind, Facts};
use super::hands::Hands;
use super::order::Order;
use super::volume::Volume;

/// The cut begins at the latest so long after the first kill: an instance that hangs in its storage dies only once that is cut.
const KILL_PATIENCE_NS: u64 = 100_000_000;
/// The unmount, in the same case: lazily, behind the cut.
const UNMOUNT_PATIENCE_NS: u64 = 5_000_000_000;
/// When all is done it is looked after again this often, as long as its folder is there: a start or a mount may have been under way.
const RECHECK_NS: u64 = 200_000_000;

/// Where a deadline is read; the page, or a number in tests.
pub(super) trait Page {
    fn deadline(&self) -> Deadline;
}

impl Page for PageReader {
    fn deadline(&self) -> Deadline {
        Self::deadline(self)
    }
}

pub(super) struct Lease {
    pub token: u64,
    page: Box<dyn Page>,
    order: Option<Order>,
    /// As last seen, ns.
    deadline: Deadline,
    /// How far ahead the deadline was when it was last moved on: about the lease's ttl. `None`: no renewal seen.
    lead_ns: Option<u64>,
    over: Option<Over>,
}

/// From the moment the deadline was seen to have passed.
struct Over {
    /// When it was: the page's number, or when a page that was taken back was seen.
    at_ns: u64,
    dead: bool,
    volumes: Vec<Volume>,
    next_check_ns: u64,
    facts: Facts,
}

/// What the watchdog has to know of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    pub token: u64,
    /// When it is, or was, over; `None`: there is no time.
    pub until_ns: Option<u64>,
    pub margin_ns: u64,
    pub lead_ns: Option<u64>,
    /// Dead and cut.
    pub verified: bool,
}

impl Lease {
    pub fn new(token: u64, page: Box<dyn Page>) -> Self {
        let deadline = page.deadline();
        Self { token, page, order: None, deadline, lead_ns: None, over: None }
    }

    /// The page is another file now. What was over stays over.
    pub fn read_from(&mut self, page: Box<dyn Page>) {
        self.page = page;
    }

    /// The executor has written another order.
    pub fn ordered(&mut self, order: Order) {
        if let Some(over) = &mut self.over {
            for plan in &order.cuts {
                if !over.volumes.iter().any(|volume| volume.plan == *plan) {
                    over.volumes.push(Volume::new(plan.clone()));
                }
            }
            (over.dead, over.next_check_ns) = (false, 0);
        }
        self.order = Some(order);
    }

    /// One look: notices the deadline, does what is due; returns what is worth a line in the log.
    pub fn look(&mut self, hands: &Arc<dyn Hands>) -> Option<Facts> {
        let now = hands.now_ns();
        self.read_page(now);
        let order = self.order.as_ref();
        let over = self.over.as_mut()?;
        if now < over.next_check_ns {
            return None;
        }
        let mut news = over.kill(order, hands);
        let patient = now.saturating_sub(over.facts.noticed_ns);
        if over.dead || patient >= KILL_PATIENCE_NS {
            let may_unmount = over.dead || patient >= UNMOUNT_PATIENCE_NS;
            for volume in &mut over.volumes {
                news |= volume.advance(hands, may_unmount, &mut over.facts);
            }
        }
        if over.facts.verified_ns.is_none() && over.verified() {
            over.facts.verified_ns = Some(hands.now_ns());
            news = true;
        }
        over.rest(hands);
        news.then(|| over.facts.clone())
    }

    fn read_page(&mut self, now: u64) {
        let read = self.page.deadline();
        // Once over, over: whatever the page says later. And a page without an order may not have been written for the first time yet.
        if self.over.is_some() || self.order.is_none() {
            return;
        }
        if let (Deadline::At(old), Deadline::At(new)) = (self.deadline, read)
            && new > old
        {
            self.lead_ns = Some(new.saturating_sub(now));
        }
        self.deadline = read;
        if read.left_ns(now).is_some() {
            return;
        }
        let (at_ns, deadline_ns) = match read {
            Deadline::At(ns) => (ns, ns),
            Deadline::Over | Deadline::None => (now, 0),
        };
        let plans = self.order.iter().flat_map(|order| order.cuts.iter().cloned());
        let (token, guard_pid) = (self.token, std::process::id());
        let facts = Facts { token, guard_pid, deadline_ns, noticed_ns: now, ..Facts::default() };
        self.over = Some(Over { at_ns, dead: false, volumes: plans.map(Volume::new).collect(), next_check_ns: 0, facts });
    }

    /// All is done.
    pub fn is_settled(&self) -> bool {
        self.over.as_ref().is_some_and(|over| over.dead && over.volumes.iter().all(Volume::is_unmounted))
    }

    /// Its deadline has come, and it was not seen before.
    pub fn falls_due(&self, hands: &Arc<dyn Hands>) -> bool {
        self.over.is_none() && self.order.is_some() && self.page.deadline().left_ns(hands.now_ns()).is_none()
    }

    /// Whether nothing of it is alive or mounted now, as far as its order says.
    pub fn is_harmless(&self, hands: &Arc<dyn Hands>) -> bool {
        let Some(order) = &self.order else { return true };
        order.kills.iter().all(|target| hands.is_gone(target) == Ok(true)) && !order.cuts.iter().any(|plan| hands.is_mounted(plan))
    }

    pub fn is_over(&self) -> bool {
        self.over.is_some()
    }

    /// Something is still to be done for it.
    pub fn is_unverified(&self) -> bool {
        self.over.as_ref().is_some_and(|over| !over.verified())
    }

    pub fn view(&self) -> View {
        let until_ns = match (&self.over, self.deadline) {
            (Some(over), _) => Some(over.at_ns),
            (None, Deadline::At(ns)) => Some(ns),
            (None, Deadline::Over | Deadline::None) => None,
        };
        let margin_ns = self.order.as_ref().map_or(0, |order| order.margin_ms.saturating_mul(1_000_000));
        let verified = self.over.as_ref().is_some_and(Over::verified);
        View { token: self.token, until_ns, margin_ns, lead_ns: self.lead_ns, verified }
    }
}

impl Over {
    /// At every look, until all are gone: a process may have been forked at the very moment. Whether there is news.
    fn kill(&mut self, order: Option<&Order>, hands: &Arc<dyn Hands>) -> bool {
        let (mut news, mut dead) = (false, true);
        for target in order.iter().flat_map(|order| &order.kills) {
            let words = target.words();
            let now = hands.now_ns();
            match hands.is_gone(target) {
                Ok(true) if self.dead => continue,
                Ok(true | false) => {}
                Err(error) => news |= self.facts.add(ActKind::Dead, &words, now, Err(error)),
            }
            let killed = hands.kill(target).map(|()| "sent".to_owned());
            news |= self.facts.add(ActKind::Kill, &words, now, killed);
            let gone = hands.is_gone(target) == Ok(true);
            if gone {
                news |= self.facts.add(ActKind::Dead, &words, hands.now_ns(), Ok("no process left".to_owned()));
            }
            dead &= gone;
        }
        self.dead = dead;
        news
    }

    fn verified(&self) -> bool {
        self.dead && self.volumes.iter().all(Volume::is_cut)
    }

    /// All done: looks again later, and then for what came after the fact too.
    fn rest(&mut self, hands: &Arc<dyn Hands>) {
        if !self.dead || !self.volumes.iter().all(Volume::is_unmounted) {
            return;
        }
        self.next_check_ns = hands.now_ns().saturating_add(RECHECK_NS);
        for volume in &mut self.volumes {
            if hands.is_mounted(&volume.plan) {
                volume.begin_anew();
                self.next_check_ns = 0;
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test; it waits for threads")]
#[path = "lease_tests.rs"]
mod tests;
