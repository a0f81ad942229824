//! One volume of a lease whose deadline has come: cut, then unmounted, each tried until it has worked. Driven by the guard's loop, which never waits for it:
//! what may block runs on a thread of its own, one at a time for each volume, so that a hanging volume delays no other.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};

use super::facts::{ActKind, Facts};
use super::hands::{Hands, chain};
use crate::volumes::{CutPlan, CutReport};

/// Between tries.
const AGAIN_NS: u64 = 250_000_000;

type Outcome = Result<String, String>;

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Uncut,
    /// Nothing of it is written any more.
    Cut,
    Unmounted,
}

pub(super) struct Volume {
    pub plan: CutPlan,
    stage: Stage,
    job: Option<Job>,
    not_before_ns: u64,
}

struct Job {
    kind: ActKind,
    outcome: Receiver<Outcome>,
}

impl Volume {
    pub fn new(plan: CutPlan) -> Self {
        Self { plan, stage: Stage::Uncut, job: None, not_before_ns: 0 }
    }

    /// Cut, so far as this storage can be.
    pub fn is_cut(&self) -> bool {
        match self.stage {
            Stage::Uncut => false,
            Stage::Cut | Stage::Unmounted => true,
        }
    }

    pub fn is_unmounted(&self) -> bool {
        self.stage == Stage::Unmounted
    }

    /// Something was mounted after we were done: a mount that had hung. From the start.
    pub fn begin_anew(&mut self) {
        (self.stage, self.not_before_ns) = (Stage::Uncut, 0);
    }

    /// Takes in what has ended and begins what is next; whether there is news.
    pub fn advance(&mut self, hands: &Arc<dyn Hands>, may_unmount: bool, facts: &mut Facts) -> bool {
        let now = hands.now_ns();
        let news = self.take(now, facts);
        if self.job.is_none() && now >= self.not_before_ns {
            match self.stage {
                Stage::Uncut => self.begin(ActKind::Cut, hands, now),
                Stage::Cut if may_unmount => self.begin(ActKind::Unmount, hands, now),
                Stage::Cut | Stage::Unmounted => {}
            }
        }
        news
    }

    fn take(&mut self, now: u64, facts: &mut Facts) -> bool {
        let Some(job) = &self.job else { return false };
        let kind = job.kind;
        let outcome = match job.outcome.try_recv() {
            Ok(outcome) => outcome,
            Err(TryRecvError::Empty) => return false,
            Err(TryRecvError::Disconnected) => Err("its thread has ended without a word".to_owned()),
        };
        self.job = None;
        match (&outcome, kind) {
            (Ok(_), ActKind::Cut) => self.stage = Stage::Cut,
            (Ok(_), ActKind::Unmount) => self.stage = Stage::Unmounted,
            (Ok(_), ActKind::Kill | ActKind::Dead) | (Err(_), _) => self.not_before_ns = now.saturating_add(AGAIN_NS),
        }
        facts.add(kind, &self.plan.volume, now, outcome)
    }

    fn begin(&mut self, kind: ActKind, hands: &Arc<dyn Hands>, now: u64) {
        // One message: the outcome.
        let (sender, outcome) = sync_channel(1);
        let (hands, plan) = (Arc::clone(hands), self.plan.clone());
        let act = move || {
            let result = match kind {
                ActKind::Unmount => hands.unmount(&plan),
                ActKind::Kill | ActKind::Dead | ActKind::Cut => hands.cut(&plan),
            };
            let _ = sender.send(result.map(|report| words(report).to_owned()).map_err(|error| chain(&error)));
        };
        match std::thread::Builder::new().name("berth-volume".to_owned()).spawn(act) {
            Ok(_) => self.job = Some(Job { kind, outcome }),
            // The machine gives no thread now: again a little later.
            Err(_) => self.not_before_ns = now.saturating_add(AGAIN_NS),
        }
    }
}

fn words(report: CutReport) -> &'static str {
    match report {
        CutReport::CannotCut => "nothing done: this storage cannot be cut from here",
        CutReport::NotMounted => "nothing mounted",
        CutReport::ShutDown => "file system shut down",
        CutReport::Aborted { .. } => "FUSE connection aborted and its server killed",
        CutReport::ByProgram => "done by the driver's program",
        CutReport::Unmounted => "unmounted",
    }
}
