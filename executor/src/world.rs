//! The workloads of this host and the facts that arrive about them. Pure; owned by the manager. Facts come from assignments, the ledger, the runtimes and
//! ended steps; each is applied here, and nowhere else.

use std::collections::{BTreeMap, BTreeSet};

use berth_state::ids::{LeaseId, Token};
use berth_state::noun::lease::{Exit, InstanceHealth, InstanceStatus};

use crate::assignments::AssignmentBook;
use crate::clock::HolderTime;
use crate::deadline::{DeadlineBook, Lost, Right};
use crate::plan::Step;
use crate::runtime::{InstanceKey, InstanceState, Observed};
use crate::step_done::{StepDone, StepError};
use crate::workload::{RETRY_MS, Seen, Wish, Workload};

#[derive(Debug, Default)]
pub struct Workloads {
    all: BTreeMap<Token, Workload>,
    /// Counts beginnings and ends of steps.
    counter: u64,
}

impl Workloads {
    #[must_use]
    pub fn all(&self) -> &BTreeMap<Token, Workload> {
        &self.all
    }

    #[must_use]
    pub fn counter(&self) -> u64 {
        self.counter
    }

    pub fn insert(&mut self, workload: Workload) {
        self.all.insert(workload.token, workload);
    }

    /// Takes the newest set. A token that this process has finished with is not taken up again.
    pub fn assign(&mut self, assigned: &AssignmentBook, book: &DeadlineBook, now: HolderTime) {
        for lease in assigned.leases().filter(|lease| book.right(lease.token) != Right::Over(Lost::Released)) {
            let workload = self.all.entry(lease.token).or_insert_with(|| Workload::from_lease(lease));
            workload.assign(lease);
            workload.decide(now);
        }
        for workload in self.all.values_mut() {
            if assigned.says_ended(workload.lease, workload.token) {
                workload.wish = Wish::Ended;
            }
        }
    }

    /// Notes whose right is over, before any exit is judged.
    pub fn note_lost(&mut self, book: &DeadlineBook, now: HolderTime) {
        for workload in self.all.values_mut() {
            workload.lost = book.is_over(workload.token, now);
        }
    }

    /// What this host asks to have renewed: all that it holds or wants to begin, until its release is sent.
    #[must_use]
    pub fn claims(&self, book: &DeadlineBook) -> BTreeSet<Token> {
        let wanted = self.all.values().filter(|w| {
            let claimable = match w.wish {
                Wish::Unknown | Wish::Run => true,
                // Revoked before anything began: there is nothing to stop.
                Wish::Stop => w.recorded || !w.dead,
                Wish::Closed | Wish::Ended => false,
            };
            claimable && !w.releasing
        });
        wanted.map(|w| w.token).filter(|token| !matches!(book.right(*token), Right::Over(_))).collect()
    }

    /// What is reported.
    #[must_use]
    pub fn statuses(&self, book: &DeadlineBook) -> BTreeMap<(LeaseId, Token), InstanceStatus> {
        let status = |w: &Workload| {
            let mut status = w.status(matches!(book.right(w.token), Right::Over(_)));
            if let Right::Over(why) = book.right(w.token)
                && status.message.is_empty()
            {
                status.message = why.reason().to_owned();
            }
            status
        };
        self.all.values().map(|w| ((w.lease, w.token), status(w))).collect()
    }

    /// Whether an observed instance is of a workload here, and of its newest attempt or the one before (kept for its logs).
    #[must_use]
    pub fn knows(&self, seen: &Observed) -> bool {
        self.all.get(&Token(seen.key.token)).is_some_and(|w| {
            let former_and_over = seen.key.attempt + 1 == w.attempt && matches!(seen.state, InstanceState::Exited { .. });
            seen.key.attempt == w.attempt || former_and_over || w.busy.start
        })
    }

    /// What a runtime saw of one workload's newest attempt; `None`: nothing. `at`: the counter before it looked. Returns whether it runs now and
    /// was not known to.
    pub fn observed(&mut self, token: Token, at: u64, state: Option<&InstanceState>, now: HolderTime) -> bool {
        let Some(workload) = self.all.get_mut(&token) else { return false };
        if workload.touched > at || workload.busy.start || workload.busy.stop || workload.attempt == 0 {
            return false;
        }
        match state {
            Some(InstanceState::Running) => {
                let news = !workload.running();
                workload.runs(now);
                workload.prepared |= workload.recorded;
                news
            }
            Some(InstanceState::Created) => {
                workload.seen = Seen::Created;
                false
            }
            Some(InstanceState::Exited { code, reason }) => {
                workload.exited(Exit { code: *code, reason: reason.clone() }, now);
                false
            }
            None => {
                let gone = Exit { code: -1, reason: "the runtime has no trace of the instance any more".to_owned() };
                match workload.seen {
                    Seen::Running { .. } => workload.exited(gone, now),
                    Seen::Nothing | Seen::Created | Seen::Exited => {}
                }
                false
            }
        }
    }

    pub fn health(&mut self, key: &InstanceKey, health: InstanceHealth) {
        if let Some(workload) = self.all.get_mut(&Token(key.token))
            && workload.attempt == key.attempt
            && workload.running()
        {
            workload.health = health;
        }
    }

    /// A step begins; returns the number of start steps so far, which its end must bring back.
    pub fn begin(&mut self, token: Token, step: Step) -> u64 {
        self.counter += 1;
        let Some(workload) = self.all.get_mut(&token) else { return 0 };
        workload.touched = self.counter;
        match step {
            Step::Kill => workload.busy.kill = true,
            Step::StopSoft | Step::Unmount { .. } | Step::Forget => workload.busy.stop = true,
            Step::Release => {
                workload.busy.stop = true;
                workload.releasing = true;
            }
            Step::Prepare => {
                workload.busy.start = true;
                workload.starts += 1;
                workload.dead = false;
                workload.recorded = true;
                workload.mounted = !workload.volumes.is_empty();
            }
            Step::Launch { attempt } => {
                workload.busy.start = true;
                workload.starts += 1;
                workload.dead = false;
                workload.attempt = attempt;
                workload.seen = Seen::Nothing;
            }
        }
        workload.starts
    }

    /// A step has ended. Returns whether the workload is finished with and was removed.
    pub fn end(&mut self, token: Token, starts: u64, done: StepDone, now: HolderTime) -> bool {
        self.counter += 1;
        let counter = self.counter;
        let Some(workload) = self.all.get_mut(&token) else { return false };
        workload.touched = counter;
        match done {
            StepDone::Prepared(result) => prepared(workload, result, now),
            StepDone::Launched(result) => launched(workload, result, now),
            StepDone::Killed(result) => {
                workload.busy.kill = false;
                silenced(workload, starts, result.map(|()| None), now);
            }
            StepDone::Stopped(result) => {
                workload.busy.stop = false;
                silenced(workload, starts, result, now);
            }
            StepDone::Unmounted(result) => {
                workload.busy.stop = false;
                match result {
                    Ok(()) => (workload.mounted, workload.prepared) = (false, false),
                    Err(error) => postpone(workload, &error, now),
                }
            }
            StepDone::Released(result) => {
                workload.busy.stop = false;
                match result {
                    Ok(()) => {
                        self.all.remove(&token);
                        return true;
                    }
                    Err(error) => postpone(workload, &error, now),
                }
            }
        }
        false
    }
}

fn prepared(workload: &mut Workload, result: Result<(), StepError>, now: HolderTime) {
    workload.busy.start = false;
    workload.starts += 1;
    match result {
        Ok(()) => workload.prepared = true,
        Err(error) => start_failed(workload, error, now),
    }
}

fn launched(workload: &mut Workload, result: Result<(), StepError>, now: HolderTime) {
    workload.busy.start = false;
    workload.starts += 1;
    match result {
        Ok(()) => workload.runs(now),
        Err(error) => start_failed(workload, error, now),
    }
}

fn start_failed(workload: &mut Workload, error: StepError, now: HolderTime) {
    match error {
        // No failure of the host: the right was lost meanwhile, or will be renewed.
        StepError::NoRight => workload.start_at = now.plus_ms(RETRY_MS),
        StepError::Failed { reason, may_succeed_later } => workload.failed(reason, may_succeed_later, now),
        // The manager ends the process.
        StepError::Ledger(error) => workload.message = error.to_string(),
    }
}

/// Nothing of it runs any more, unless a start step was under way at any time meanwhile.
fn silenced(workload: &mut Workload, starts: u64, result: Result<Option<Exit>, StepError>, now: HolderTime) {
    match result {
        Ok(exit) => {
            if workload.starts == starts && !workload.busy.start {
                workload.dead = true;
            } else {
                workload.stop_at = now.plus_ms(RETRY_MS);
            }
            match (workload.seen, exit) {
                (Seen::Running { .. }, Some(exit)) => workload.exited(exit, now),
                (Seen::Running { .. }, None) => workload.exited(Exit { code: 137, reason: "killed by the executor".to_owned() }, now),
                (Seen::Nothing | Seen::Created | Seen::Exited, _) => {}
            }
        }
        Err(error) => postpone(workload, &error, now),
    }
}

fn postpone(workload: &mut Workload, error: &StepError, now: HolderTime) {
    workload.stop_at = now.plus_ms(RETRY_MS);
    workload.message = error.to_string();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::lease;

    const NOW: HolderTime = HolderTime(1_000_000_000);
    const T: Token = Token(11);

    fn launching() -> (Workloads, u64) {
        let mut workloads = Workloads::default();
        workloads.insert(Workload::from_lease(&lease(11)));
        let starts = workloads.begin(T, Step::Launch { attempt: 1 });
        (workloads, starts)
    }

    fn dead(workloads: &Workloads) -> bool {
        workloads.all()[&T].dead
    }

    #[test]
    fn a_kill_beside_a_start_proves_nothing() {
        let (mut workloads, _) = launching();
        let kill = workloads.begin(T, Step::Kill);
        workloads.end(T, kill, StepDone::Killed(Ok(())), NOW);
        assert!(!dead(&workloads), "the start is still under way");
    }

    #[test]
    fn a_kill_that_began_before_a_start_had_ended_proves_nothing() {
        let (mut workloads, launch) = launching();
        let kill = workloads.begin(T, Step::Kill);
        workloads.end(T, launch, StepDone::Launched(Ok(())), NOW);
        workloads.end(T, kill, StepDone::Killed(Ok(())), NOW);
        assert!(!dead(&workloads), "it may have looked before the start");
        let kill = workloads.begin(T, Step::Kill);
        workloads.end(T, kill, StepDone::Killed(Ok(())), NOW);
        assert!(dead(&workloads));
    }

    #[test]
    fn what_was_seen_before_a_step_ended_is_no_news() {
        let (mut workloads, launch) = launching();
        let before = workloads.counter();
        workloads.end(T, launch, StepDone::Launched(Ok(())), NOW);
        workloads.observed(T, before, None, NOW);
        assert!(workloads.all()[&T].running());
        workloads.observed(T, workloads.counter(), None, NOW);
        assert!(!workloads.all()[&T].running());
    }
}
