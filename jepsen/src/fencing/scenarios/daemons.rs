//! The processes of one host: executor, dockerd, shim. What they do to a lease depends on who is left to renew it.

use super::{AFTERWARDS, EACH_AND_CUT, Scenario, TAKEOVER, either};
use crate::fencing::rig::Rig;
use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;

pub fn all() -> Vec<Scenario> {
    vec![
        Scenario { short: true, settings: EACH_AND_CUT, ..Scenario::takeover("executor killed", executor_killed) },
        Scenario::takeover("executor stopped", executor_stopped),
        Scenario { expected: either, ..Scenario::takeover("dockerd killed", dockerd_killed) },
        Scenario { expected: either, ..Scenario::takeover("dockerd stopped", dockerd_stopped) },
        Scenario { expected: either, ..Scenario::takeover("shim killed", shim_killed) },
    ]
}

fn executor_killed(rig: &mut Rig) -> Result<()> {
    rig.fault_now();
    let holder = rig.holder.clone();
    rig.cluster.kill_executor(&holder)?;
    rig.await_takeover(TAKEOVER);
    rig.cluster.start_executor(&holder)?;
    rig.pause(AFTERWARDS);
    Ok(())
}

fn executor_stopped(rig: &mut Rig) -> Result<()> {
    rig.fault_now();
    rig.cluster.signal_executor(&rig.holder, Signal::STOP)?;
    rig.await_takeover(TAKEOVER);
    rig.cluster.signal_executor(&rig.holder, Signal::CONT)?;
    rig.pause(AFTERWARDS);
    Ok(())
}

fn dockerd_killed(rig: &mut Rig) -> Result<()> {
    rig.fault_now();
    rig.docker()?.kill_dockerd()?;
    rig.pause(rig.ttl() * 2);
    rig.docker()?.start_dockerd()?;
    rig.await_writing(TAKEOVER);
    rig.pause(AFTERWARDS);
    Ok(())
}

fn dockerd_stopped(rig: &mut Rig) -> Result<()> {
    rig.fault_now();
    rig.docker()?.signal_dockerd(Signal::STOP)?;
    rig.pause(rig.ttl() * 2);
    rig.docker()?.signal_dockerd(Signal::CONT)?;
    rig.await_writing(TAKEOVER);
    rig.pause(AFTERWARDS);
    Ok(())
}

fn shim_killed(rig: &mut Rig) -> Result<()> {
    let shim = |pid: &i32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.starts_with("containerd-shim"));
    let pids: Vec<i32> = rig.docker()?.pids().into_iter().filter(shim).collect();
    ensure!(!pids.is_empty(), "no shim runs on {}", rig.holder);
    rig.fault_now();
    for pid in pids {
        kill_process(Pid::from_raw(pid).context("pid 0")?, Signal::KILL)?;
    }
    rig.pause(rig.ttl() * 2);
    rig.await_writing(TAKEOVER);
    rig.pause(AFTERWARDS);
    Ok(())
}
