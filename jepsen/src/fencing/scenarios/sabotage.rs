//! The same report with one defence taken away, from outside, so that it is the shipped program that is sabotaged and no build of its own. Each must be
//! noticed by the measures; a report that calls such a run clean proves nothing. Called by the run.

use super::{Scenario, TAKEOVER};
use crate::fencing::kind::{DriverKind, Rule};
use crate::fencing::rig::{Power, Rig, run_dir};
use crate::fencing::row::Expected;
use crate::fencing::run::Defence;
use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::time::Duration;

/// Until the kernel has written a dead process's dirty pages by itself: they expire after 30 s, and it looks each 5 s.
const WRITE_BACK: Duration = Duration::from_secs(40);

/// What each does, for the report.
pub fn what(defence: Defence) -> &'static str {
    match defence {
        Defence::Guard => "the instance's guard stopped, host guard and executor killed",
        Defence::Cut => "host guard and executor killed: nobody cuts or unmounts",
        Defence::Ledger => "the deadline put off while the executor is away, as one would that forgot it",
        Defence::Fence => "a fence agent that says \"done\" and does nothing",
    }
}

pub fn of(defence: Defence) -> Scenario {
    const PATH: &[super::Setting] = &[(DriverKind::Path, Rule::AfterExpiry)];
    const IMAGE: &[super::Setting] = &[(DriverKind::Image, Rule::AfterExpiry)];
    const FENCED: &[super::Setting] = &[(DriverKind::Path, Rule::AfterFence)];
    let (name, settings, power, act): (_, _, _, fn(&mut Rig) -> Result<()>) = match defence {
        Defence::Guard => ("without guard", PATH, None, without_guard),
        Defence::Cut => ("without cut", IMAGE, None, without_cut),
        Defence::Ledger => ("without ledger", PATH, None, without_ledger),
        Defence::Fence => ("without fence", FENCED, Some(Power { fails: 0, lies: true }), without_fence),
    };
    let outage_bound = Duration::from_secs(60);
    let base = Scenario::takeover(name, act);
    Scenario { settings, power, expected: |_| Expected::Either, outage_bound, ..base }
}

fn pids(rig: &Rig, is: impl Fn(&str, &str) -> bool) -> Result<Vec<Pid>> {
    let of = |pid: &i32| {
        let read = |file: &str| fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let comm = String::from_utf8_lossy(&read("comm")).trim().to_owned();
        let line = String::from_utf8_lossy(&read("cmdline")).replace('\0', " ");
        is(&comm, &line)
    };
    Ok(rig.docker()?.pids().into_iter().filter(of).filter_map(Pid::from_raw).collect())
}

fn kill_host_guard(rig: &Rig) -> Result<()> {
    let guards = pids(rig, |_, line| line.contains(berth_executor::hostguard::HOST_GUARD_COMMAND))?;
    ensure!(!guards.is_empty(), "no host guard runs on {}", rig.holder);
    for pid in guards {
        kill_process(pid, Signal::KILL)?;
    }
    Ok(())
}

fn without_guard(rig: &mut Rig) -> Result<()> {
    let guards = pids(rig, |_, line| line.starts_with("/.berth/guard"))?;
    ensure!(!guards.is_empty(), "no guard runs in the instance");
    rig.fault_now();
    for pid in guards {
        kill_process(pid, Signal::STOP)?;
    }
    rig.cluster.kill_executor(&rig.holder.clone())?;
    kill_host_guard(rig)?;
    rig.await_takeover(TAKEOVER);
    rig.pause(Duration::from_secs(2));
    Ok(())
}

fn without_cut(rig: &mut Rig) -> Result<()> {
    rig.fault_now();
    rig.cluster.kill_executor(&rig.holder.clone())?;
    kill_host_guard(rig)?;
    rig.await_takeover(TAKEOVER);
    rig.pause(WRITE_BACK);
    Ok(())
}

fn without_ledger(rig: &mut Rig) -> Result<()> {
    let page = run_dir(rig.cluster.host(&rig.holder)?).join("leases").join(rig.token.to_string()).join("page");
    let page = File::options().read(true).write(true).open(&page).with_context(|| format!("cannot open {}", page.display()))?;
    rig.fault_now();
    rig.machine()?.partition()?;
    rig.cluster.kill_executor(&rig.holder.clone())?;
    let mut word = [0_u8; 8];
    page.read_exact_at(&mut word, 16)?;
    page.write_all_at(&(u64::from_le_bytes(word) + 30_000_000_000).to_le_bytes(), 16)?;
    rig.cluster.start_executor(&rig.holder.clone())?;
    rig.await_takeover(TAKEOVER);
    rig.pause(Duration::from_secs(2));
    Ok(())
}

fn without_fence(rig: &mut Rig) -> Result<()> {
    rig.fault_now();
    rig.machine()?.partition()?;
    rig.await_takeover(TAKEOVER);
    rig.pause(Duration::from_secs(2));
    Ok(())
}
