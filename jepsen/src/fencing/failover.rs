//! How fast a takeover is, against what it is to be: the second table. [`Aim`] is pure; the runs behind it use the rig like the scenarios do. Called by the run.

use crate::fencing::kind::{DriverKind, Rule};
use crate::fencing::rig::{Power, Rig, RigPlan};
use crate::fencing::stamps::Ns;
use crate::fencing::tap::{ending, when};
use anyhow::{Context, Result, ensure};
use serde::Serialize;
use std::fmt;
use std::time::Duration;

/// One aim and what was measured.
#[derive(Debug, Clone, Serialize)]
pub struct Aim {
    pub what: String,
    pub at_most_ms: i64,
    pub min_ms: i64,
    pub median_ms: i64,
    pub max_ms: i64,
    pub met: bool,
}

impl Aim {
    /// `measured` is not empty; `at_least_ms` is what would be too early.
    pub fn judge(what: &str, at_least_ms: i64, at_most_ms: i64, mut measured: Vec<i64>) -> Option<Self> {
        measured.sort_unstable();
        let (min_ms, max_ms) = (*measured.first()?, *measured.last()?);
        let met = min_ms >= at_least_ms && max_ms <= at_most_ms;
        Some(Self { what: what.to_owned(), at_most_ms, min_ms, median_ms: measured[measured.len() / 2], max_ms, met })
    }
}

impl fmt::Display for Aim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let met = if self.met { "yes" } else { "NO" };
        write!(f, "{:<58} {:>7} {:>7} {:>7} {:>7}  {met}", self.what, self.at_most_ms, self.min_ms, self.median_ms, self.max_ms)
    }
}

/// What is done and what it must not take longer than.
struct Race {
    what: &'static str,
    ttl: Duration,
    driver: DriverKind,
    rule: Rule,
    power: bool,
    at_most_ms: i64,
    deed: Deed,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Deed {
    KillHost,
    KillHostAndLeader,
    Move,
}

const TEN: Duration = Duration::from_secs(10);
const THREE: Duration = Duration::from_secs(3);
const BOUND: Duration = Duration::from_secs(60);

fn races() -> Vec<Race> {
    let race = |what, ttl, driver, rule, power, at_most_ms, deed| Race { what, ttl, driver, rule, power, at_most_ms, deed };
    use {DriverKind::Glusterfs, DriverKind::Path, Rule::AfterExpiry, Rule::AfterFence};
    vec![
        race("ttl 10 s, host killed: running elsewhere", TEN, Path, AfterExpiry, false, 13_000, Deed::KillHost),
        race("ttl 10 s, host and leader killed: running elsewhere", TEN, Path, AfterExpiry, false, 14_000, Deed::KillHostAndLeader),
        race("ttl 10 s, power fence, host killed: running elsewhere", TEN, Path, AfterFence, true, 4_000, Deed::KillHost),
        race("ttl 10 s, storage fence, host killed: running elsewhere", TEN, Glusterfs, AfterFence, false, 4_000, Deed::KillHost),
        race("ttl 3 s, host killed: running elsewhere", THREE, Path, AfterExpiry, false, 5_000, Deed::KillHost),
        race("planned move: silence", TEN, Path, AfterExpiry, false, 2_500, Deed::Move),
    ]
}

/// All races, `times` each.
pub fn run(times: u32, failed: &mut Vec<String>, mut after: impl FnMut(&[Aim])) -> Vec<Aim> {
    let (mut aims, mut lateness, mut lateness_leader) = (Vec::new(), Vec::new(), Vec::new());
    for race in races() {
        let mut measured = Vec::new();
        for round in 1..=times {
            match once(&race) {
                Ok((took, late)) => {
                    println!("{} ({round}): {took} ms", race.what);
                    measured.push(took);
                    let of_this_kind = if race.deed == Deed::KillHostAndLeader { &mut lateness_leader } else { &mut lateness };
                    of_this_kind.extend(late);
                }
                Err(error) => failed.push(format!("{}: {error:#}", race.what)),
            }
        }
        aims.extend(Aim::judge(race.what, 0, race.at_most_ms, measured));
        after(&aims);
    }
    // Counted from the moment at which the holder's last renewal was sent, as its own deadline tells: its way into the log is in it.
    aims.extend(Aim::judge("expiry, after wait(ttl) from the last renewal", 0, 100, lateness));
    aims.extend(Aim::judge("the same when the leader dies with the holder", 0, 1_000, lateness_leader));
    after(&aims);
    aims
}

/// How long it took, and how long after wait(T) from the last renewal the lease expired, if it did.
fn once(race: &Race) -> Result<(i64, Option<i64>)> {
    let power = race.power.then_some(Power { fails: 0, lies: false });
    let mut rig = Rig::start(RigPlan { driver: race.driver, rule: race.rule, ttl: race.ttl, power })?;
    rig.fault_now();
    match race.deed {
        Deed::KillHost => rig.machine()?.kill_host()?,
        Deed::KillHostAndLeader => {
            rig.machine()?.kill_host()?;
            rig.cluster.kill_node(rig.leader)?;
        }
        Deed::Move => drop(rig.berth(&["host", "drain", &rig.holder])?),
    }
    ensure!(rig.await_takeover(BOUND), "nobody took over; the lease ended by {:?}", ending(&rig.heard(), rig.token));
    let stamps = rig.stamps()?;
    let first_new = stamps.of.range(rig.token + 1..).filter_map(|(_, own)| own.first()).min().copied().context("no new stamp")?;
    let since = match race.deed {
        Deed::KillHost | Deed::KillHostAndLeader => rig.fault(),
        Deed::Move => stamps.of.get(&rig.token).and_then(|own| own.last()).copied().unwrap_or(rig.fault()),
    };
    let late = lateness(&rig, race.ttl);
    let took = i64::try_from(first_new.ms_since(since))?;
    rig.teardown()?;
    Ok((took, late))
}

fn lateness(rig: &Rig, ttl: Duration) -> Option<i64> {
    let expired = when(&rig.heard(), "LeaseExpired", rig.token)?;
    let deadline = *rig.watch().deadlines().get(&rig.token)?;
    let ttl_ms = u64::try_from(ttl.as_millis()).ok()?;
    let hold_ms = berth_state::noun::cluster::hold_ms(ttl_ms).saturating_sub(berth_executor::DEFAULT_MARGIN_MS);
    let due = Ns(deadline.0.saturating_sub(hold_ms * 1_000_000)).plus_ms(berth_state::noun::cluster::wait_ms(ttl_ms));
    Some((i64::try_from(expired.0).ok()? - i64::try_from(due.0).ok()?) / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::Aim;

    #[test]
    fn one_run_that_is_too_slow_or_too_early_misses_the_aim() {
        let judge = |measured: &[i64]| Aim::judge("x", 0, 100, measured.to_vec()).map(|aim| (aim.median_ms, aim.met));
        assert_eq!(judge(&[30, 10, 100]), Some((30, true)));
        assert_eq!(judge(&[30, 10, 101]), Some((30, false)));
        assert_eq!(judge(&[30, -1, 50]), Some((30, false)));
        assert_eq!(judge(&[]), None);
    }
}
