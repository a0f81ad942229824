//! A workload: one lease on this host, and all that is known of what runs under it. Pure: facts, and what follows from one fact alone. Owned by the manager;
//! read by `plan`. Must never hold what only another process could know.

use std::collections::BTreeSet;

use berth_state::ids::{ContainerId, LeaseId, Token, VolumeId};
use berth_state::noun::container::{RestartPolicy, RuntimeKind};
use berth_state::noun::lease::{Exit, InstanceHealth, InstanceState, InstanceStatus, Lease, Phase};

use crate::backoff::{Backoff, STEADY_MS};
use crate::clock::HolderTime;
use crate::ledger::Record;
use crate::runtime::InstanceKey;

/// So many failures in a row to get it started, and the lease is given back: another host may do better.
pub const MAX_FAILURES: u32 = 5;
/// Stop steps are repeated after this.
pub const RETRY_MS: u64 = 200;

/// What the control plane wants, by the newest assignments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Only the ledger knows it: no set has come yet. What runs goes on.
    Unknown,
    Run,
    /// Revoked: stop softly, then release (L14).
    Stop,
    /// Closing or expired: no renewal any more. Kill, then release.
    Closed,
    /// It has ended: kill what is left.
    Ended,
}

/// The instance of the newest attempt, as last seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    Nothing,
    Created,
    Running { since: HolderTime },
    Exited,
}

/// Steps under way: at most one of each kind. A kill may run beside the others; a hanging mount must not keep it waiting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Busy {
    pub start: bool,
    pub stop: bool,
    pub kill: bool,
}

impl Busy {
    #[must_use]
    pub fn any(self) -> bool {
        self.start || self.stop || self.kill
    }
}

/// The lease is to be given back, whatever is wished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    pub exit: Option<Exit>,
    /// Ended for good by its restart policy.
    pub finished: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    pub token: Token,
    pub lease: LeaseId,
    pub container: ContainerId,
    pub runtime: RuntimeKind,
    pub volumes: BTreeSet<VolumeId>,
    /// As assigned; `None` while only the ledger knows it.
    pub granted: Option<Lease>,
    pub wish: Wish,
    /// The ledger has a record of it.
    pub recorded: bool,
    /// Volumes are, or may be, attached or mounted.
    pub mounted: bool,
    /// All volumes are mounted and carry our fence.
    pub prepared: bool,
    /// The newest attempt; 0: none.
    pub attempt: u32,
    pub seen: Seen,
    pub health: InstanceHealth,
    pub last_exit: Option<Exit>,
    /// The instance has exited, and the restart policy was not known yet.
    pub undecided: bool,
    pub restarts: Backoff,
    /// Tries in a row to get it started that failed for reasons of the host.
    pub failures: Backoff,
    /// No start step before this.
    pub start_at: HolderTime,
    /// No stop step before this.
    pub stop_at: HolderTime,
    pub ending: Option<Ending>,
    /// It is known that no process of it lives, and no start step has begun since.
    pub dead: bool,
    /// Counts beginnings and ends of start steps.
    pub starts: u64,
    pub busy: Busy,
    /// The right to run it is over: an exit from now on is our doing, and says nothing of the container.
    pub lost: bool,
    /// The release is on its way: the lease is not claimed any more.
    pub releasing: bool,
    /// What went wrong last, for people.
    pub message: String,
    /// The manager's step counter when a step of it last began or ended: what was observed before says nothing.
    pub touched: u64,
}

impl Workload {
    #[must_use]
    pub fn from_lease(lease: &Lease) -> Self {
        let mut new = Self::new(lease.token, lease.id, lease.container.clone(), lease.spec.runtime);
        // Nothing of it was ever begun here: a ledger without a record proves that.
        new.dead = true;
        new.assign(lease);
        new
    }

    /// What an earlier process left.
    #[must_use]
    pub fn from_record(record: &Record) -> Self {
        let mut new = Self::new(record.token, record.lease, record.container.clone(), record.runtime);
        new.recorded = true;
        new.volumes = record.volumes.iter().map(|v| v.volume.clone()).collect();
        new.mounted = !record.volumes.is_empty();
        new.attempt = record.attempt;
        new.ending = record.release.as_ref().map(|r| Ending { exit: r.exit.clone(), finished: r.finished });
        new
    }

    fn new(token: Token, lease: LeaseId, container: ContainerId, runtime: RuntimeKind) -> Self {
        Self {
            token,
            lease,
            container,
            runtime,
            volumes: BTreeSet::new(),
            granted: None,
            wish: Wish::Unknown,
            recorded: false,
            mounted: false,
            prepared: false,
            attempt: 0,
            seen: Seen::Nothing,
            health: InstanceHealth::Unchecked,
            last_exit: None,
            undecided: false,
            restarts: Backoff::default(),
            failures: Backoff::default(),
            start_at: HolderTime(0),
            stop_at: HolderTime(0),
            ending: None,
            dead: false,
            starts: 0,
            busy: Busy::default(),
            lost: false,
            releasing: false,
            message: String::new(),
            touched: 0,
        }
    }

    #[must_use]
    pub fn key(&self, attempt: u32) -> InstanceKey {
        InstanceKey { container: self.container.to_string(), token: self.token.0, attempt }
    }

    /// The lease as the newest set has it.
    pub fn assign(&mut self, lease: &Lease) {
        self.wish = match (lease.phase, &lease.revoked) {
            (Phase::Granted | Phase::Active, None) => Wish::Run,
            (Phase::Granted | Phase::Active, Some(_)) => Wish::Stop,
            (Phase::Closing | Phase::Expired, _) => Wish::Closed,
        };
        self.volumes.extend(lease.volumes.iter().map(|v| v.volume.clone()));
        self.granted = Some(lease.clone());
    }

    #[must_use]
    pub fn running(&self) -> bool {
        match self.seen {
            Seen::Running { .. } => true,
            Seen::Nothing | Seen::Created | Seen::Exited => false,
        }
    }

    /// The instance was seen running: started, or found after a restart of the executor.
    pub fn runs(&mut self, now: HolderTime) {
        if !self.running() {
            self.seen = Seen::Running { since: now };
            let checked = self.granted.as_ref().is_some_and(|lease| lease.spec.health_check.is_some());
            self.health = if checked { InstanceHealth::Starting } else { InstanceHealth::Unchecked };
        }
        self.failures.reset();
        self.message.clear();
    }

    /// The instance has exited; says once what follows by the restart policy.
    pub fn exited(&mut self, exit: Exit, now: HolderTime) {
        if self.seen == Seen::Exited {
            return;
        }
        if let Seen::Running { since } = self.seen
            && now.ms_since(since) >= STEADY_MS
        {
            self.restarts.reset();
        }
        self.seen = Seen::Exited;
        self.last_exit = Some(exit);
        self.undecided = true;
        self.decide(now);
    }

    /// Applies the restart policy to an exit, as soon as both are known.
    pub fn decide(&mut self, now: HolderTime) {
        if self.lost {
            return;
        }
        let (true, Some(lease), Some(exit)) = (self.undecided, &self.granted, &self.last_exit) else { return };
        self.undecided = false;
        let failed = exit.code != 0 || self.health == InstanceHealth::Unhealthy;
        let again = match lease.spec.restart {
            RestartPolicy::Always => true,
            RestartPolicy::OnFailure { max_attempts } => failed && (max_attempts == 0 || self.restarts.tries() < max_attempts),
            RestartPolicy::Never => false,
        };
        if again {
            self.start_at = now.plus_ms(self.restarts.next_ms());
        } else if self.ending.is_none() && self.wish == Wish::Run {
            self.ending = Some(Ending { exit: Some(exit.clone()), finished: true });
        }
    }

    /// A step towards the start failed.
    pub fn failed(&mut self, reason: String, may_succeed_later: bool, now: HolderTime) {
        self.start_at = now.plus_ms(self.failures.next_ms());
        self.message = reason;
        if (self.failures.tries() >= MAX_FAILURES || !may_succeed_later) && self.ending.is_none() {
            self.ending = Some(Ending { exit: Some(Exit { code: -1, reason: self.message.clone() }), finished: false });
        }
    }

    /// Whether an unhealthy instance is to be restarted.
    #[must_use]
    pub fn restart_unhealthy(&self) -> bool {
        let restarts = self.granted.as_ref().is_some_and(|lease| match lease.spec.restart {
            RestartPolicy::Always | RestartPolicy::OnFailure { .. } => true,
            RestartPolicy::Never => false,
        });
        self.health == InstanceHealth::Unhealthy && restarts
    }

    /// What the release says of the end.
    #[must_use]
    pub fn ending(&self) -> Ending {
        self.ending.clone().unwrap_or(Ending { exit: self.last_exit.clone(), finished: false })
    }

    /// What is reported to the control plane. `over`: the right is lost.
    #[must_use]
    pub fn status(&self, over: bool) -> InstanceStatus {
        let stopping = over || self.ending.is_some() || matches!(self.wish, Wish::Stop | Wish::Closed | Wish::Ended);
        let state = match (stopping, self.seen) {
            (true, _) if self.dead => InstanceState::Stopped,
            (true, _) => InstanceState::Stopping,
            (false, Seen::Running { .. }) => InstanceState::Running,
            (false, Seen::Exited) => InstanceState::BackOff,
            (false, Seen::Nothing | Seen::Created) if self.failures.tries() > 0 => InstanceState::BackOff,
            (false, Seen::Nothing | Seen::Created) => InstanceState::Preparing,
        };
        InstanceStatus {
            attempt: self.attempt,
            state,
            health: self.health,
            last_exit: self.last_exit.clone(),
            message: self.message.clone(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test")]
mod tests {
    use super::*;
    use crate::testing::lease;

    const NOW: HolderTime = HolderTime(1_000_000_000_000);

    fn under(policy: RestartPolicy) -> Workload {
        let mut lease = lease(11);
        lease.spec.restart = policy;
        let mut workload = Workload::from_lease(&lease);
        workload.runs(NOW);
        workload
    }

    fn exit(code: i32) -> Exit {
        Exit { code, reason: String::new() }
    }

    #[test]
    fn always_restarts_after_success_and_failure_with_back_off() {
        let mut workload = under(RestartPolicy::Always);
        workload.exited(exit(0), NOW);
        assert_eq!((workload.start_at, workload.ending.clone()), (NOW.plus_ms(100), None));
        workload.runs(NOW);
        workload.exited(exit(1), NOW);
        assert_eq!((workload.start_at, workload.ending), (NOW.plus_ms(1_000), None));
    }

    #[test]
    fn never_finishes_at_the_first_exit() {
        let mut workload = under(RestartPolicy::Never);
        workload.exited(exit(3), NOW);
        assert_eq!(workload.ending, Some(Ending { exit: Some(exit(3)), finished: true }));
    }

    #[test]
    fn on_failure_finishes_on_success_and_after_its_attempts() {
        let mut workload = under(RestartPolicy::OnFailure { max_attempts: 2 });
        workload.exited(exit(0), NOW);
        assert_eq!(workload.ending, Some(Ending { exit: Some(exit(0)), finished: true }));
        let mut workload = under(RestartPolicy::OnFailure { max_attempts: 2 });
        for _ in 0..2 {
            workload.exited(exit(1), NOW);
            assert_eq!(workload.ending, None);
            workload.runs(NOW);
        }
        workload.exited(exit(1), NOW);
        assert_eq!(workload.ending, Some(Ending { exit: Some(exit(1)), finished: true }));
    }

    #[test]
    fn a_long_run_starts_the_count_from_anew() {
        let mut workload = under(RestartPolicy::OnFailure { max_attempts: 1 });
        workload.exited(exit(1), NOW);
        workload.runs(NOW);
        workload.exited(exit(1), NOW.plus_ms(STEADY_MS));
        assert_eq!(workload.ending, None);
    }

    #[test]
    fn an_exit_is_decided_on_once_and_only_with_the_policy_known() {
        let mut workload = under(RestartPolicy::Never);
        let lease = workload.granted.take().unwrap();
        workload.exited(exit(1), NOW);
        workload.exited(exit(2), NOW);
        assert_eq!((workload.ending.clone(), workload.last_exit.clone()), (None, Some(exit(1))));
        workload.assign(&lease);
        workload.decide(NOW);
        assert_eq!(workload.ending, Some(Ending { exit: Some(exit(1)), finished: true }));
    }

    #[test]
    fn an_unhealthy_end_counts_as_failure_whatever_its_code() {
        let mut workload = under(RestartPolicy::OnFailure { max_attempts: 0 });
        workload.health = InstanceHealth::Unhealthy;
        workload.exited(exit(0), NOW);
        assert_eq!(workload.ending, None);
    }

    #[test]
    fn a_start_that_fails_for_the_host_gives_the_lease_back_unfinished() {
        let mut workload = Workload::from_lease(&lease(11));
        for _ in 1..MAX_FAILURES {
            workload.failed("no such image".to_owned(), true, NOW);
            assert_eq!(workload.ending, None);
        }
        workload.failed("no such image".to_owned(), true, NOW);
        let expected = Exit { code: -1, reason: "no such image".to_owned() };
        assert_eq!(workload.ending, Some(Ending { exit: Some(expected), finished: false }));
    }
}
