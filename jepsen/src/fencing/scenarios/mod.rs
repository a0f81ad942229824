//! What is done in each case of the report. A scenario is data and one function; files group them by what suffers. Called by the run.
//!
//! - `daemons`: executor, dockerd, shim. `hosts`: freeze, cut, reboot, power. `leaders`: control nodes. `clocks`: steps.
//!   `leases`: revoke, move, slow mount, upgrade. `plain`: plain `docker run`.
//! - `sabotage`: the same report with a defence taken away from outside, which must be noticed.

mod clocks;
mod daemons;
mod hosts;
mod leaders;
mod leases;
mod plain;
pub mod sabotage;

use crate::fencing::kind::{DriverKind, Rule};
use crate::fencing::rig::{Power, Rig};
use crate::fencing::row::{Expected, Leave};
use anyhow::Result;
use std::time::Duration;

/// What a driver is tested under.
pub type Setting = (DriverKind, Rule);

pub const EACH: &[Setting] =
    &[(DriverKind::Path, Rule::AfterExpiry), (DriverKind::Image, Rule::AfterExpiry), (DriverKind::Glusterfs, Rule::AfterFence)];

/// And GlusterFS as a storage that nobody fences: its client's own cut has to do.
pub const EACH_AND_CUT: &[Setting] = &[
    (DriverKind::Path, Rule::AfterExpiry),
    (DriverKind::Image, Rule::AfterExpiry),
    (DriverKind::Glusterfs, Rule::AfterFence),
    (DriverKind::Glusterfs, Rule::AfterExpiry),
];

#[derive(Clone, Copy)]
pub struct Scenario {
    pub name: &'static str,
    pub settings: &'static [Setting],
    /// Part of the short form, with the first setting.
    pub short: bool,
    /// Begins without a container.
    pub bare: bool,
    /// What this machine lacks for it.
    pub needs: fn() -> Option<String>,
    pub power: Option<Power>,
    /// By the rule: what a storage fence decides differs from what silence decides.
    pub expected: fn(Rule) -> Expected,
    pub leave: fn(DriverKind, Rule) -> Option<Leave>,
    /// Beyond the lease's own time.
    pub outage_bound: Duration,
    pub act: fn(&mut Rig) -> Result<()>,
}

/// From the fault to the end of a takeover, with room for a busy machine.
pub const TAKEOVER: Duration = Duration::from_secs(40);
/// Watched after a fault has been undone.
pub const AFTERWARDS: Duration = Duration::from_secs(3);

const SILENCE: &[&str] = &["ran-out", "released"];
const FENCES: &[&str] = &["storage-cut", "powered-off", "released"];

pub fn moves_by_rule(rule: Rule) -> Expected {
    match rule {
        Rule::AfterExpiry | Rule::Manual => Expected::Moves(SILENCE),
        Rule::AfterFence => Expected::Moves(FENCES),
    }
}

pub fn stays(_: Rule) -> Expected {
    Expected::Stays
}

pub fn either(_: Rule) -> Expected {
    Expected::Either
}

fn nothing_needed() -> Option<String> {
    None
}

pub fn nothing_left(_: DriverKind, _: Rule) -> Option<Leave> {
    None
}

impl Scenario {
    /// Most of them: each driver, nothing left open, a takeover.
    const fn takeover(name: &'static str, act: fn(&mut Rig) -> Result<()>) -> Self {
        let outage_bound = Duration::from_secs(20);
        Self {
            name,
            settings: EACH,
            short: false,
            bare: false,
            needs: nothing_needed,
            power: None,
            expected: moves_by_rule,
            leave: nothing_left,
            outage_bound,
            act,
        }
    }

    /// The holder keeps its lease.
    const fn no_takeover(name: &'static str, act: fn(&mut Rig) -> Result<()>) -> Self {
        Self { expected: stays, ..Self::takeover(name, act) }
    }
}

pub fn all() -> Vec<Scenario> {
    [daemons::all(), hosts::all(), leaders::all(), clocks::all(), leases::all(), plain::all()].into_iter().flatten().collect()
}
