//! What happens to a lease in the course of things: revoked, its container moved, its mount slow, its executor replaced by a newer one.

use super::{AFTERWARDS, Scenario, TAKEOVER};
use crate::fencing::kind::{DriverKind, Rule};
use crate::fencing::rig::{CONTAINER, Rig};
use crate::fencing::row::Expected;
use crate::lab::wait_until;
use anyhow::{Context, Result};
use rustix::process::Signal;
use std::fs;
use std::time::Duration;

const EXEC: &[super::Setting] = &[(DriverKind::Exec, Rule::AfterExpiry)];

pub fn all() -> Vec<Scenario> {
    let released = |_| Expected::Moves(&["released"]);
    vec![
        Scenario { expected: released, ..Scenario::takeover("lease revoked", revoked) },
        Scenario { expected: released, ..Scenario::takeover("planned move", moved) },
        Scenario::no_takeover("executor upgraded", upgraded),
        Scenario { settings: EXEC, ..Scenario::takeover("slow mount across the deadline", slow_mount) },
    ]
}

fn revoked(rig: &mut Rig) -> Result<()> {
    rig.fault_now();
    rig.berth(&["lease", "revoke", &rig.token.to_string()])?;
    rig.await_takeover(TAKEOVER);
    rig.pause(AFTERWARDS);
    Ok(())
}

fn moved(rig: &mut Rig) -> Result<()> {
    rig.fault_now();
    rig.berth(&["host", "drain", &rig.holder])?;
    rig.await_takeover(TAKEOVER);
    rig.pause(AFTERWARDS);
    Ok(())
}

fn upgraded(rig: &mut Rig) -> Result<()> {
    let (holder, own) = (rig.holder.clone(), crate::e2e::berth_binary()?);
    let newer = rig.shared().join("berth-newer");
    fs::copy(own, &newer).context("cannot copy the program")?;
    rig.fault_now();
    rig.cluster.signal_executor(&holder, Signal::TERM)?;
    rig.pause(Duration::from_millis(500));
    rig.cluster.set_binary(newer);
    rig.cluster.start_executor(&holder)?;
    rig.pause(rig.ttl() * 2);
    rig.await_writing(TAKEOVER);
    Ok(())
}

/// The first holder never writes: its mount ends when its right has long ended. A rig without a first holder.
fn slow_mount(rig: &mut Rig) -> Result<()> {
    let shared = rig.shared();
    let slow = rig.ttl() * 3;
    // A second lease on the same host: the mount of the first was quick.
    fs::write(shared.join(format!("slow-{}", rig.holder)), slow.as_secs().to_string())?;
    for other in rig.cluster.host_names().iter().filter(|name| **name != rig.holder) {
        rig.berth(&["host", "cordon", other])?;
    }
    rig.berth(&["container", "stop", CONTAINER])?;
    wait_until("the first lease to be released", TAKEOVER, || Ok(rig.cluster.cli().placed(CONTAINER)?.is_none()))?;
    rig.berth(&["container", "start", CONTAINER])?;
    let mounting = shared.join(format!("mounting-{}", rig.holder));
    wait_until("the slow mount to begin", TAKEOVER, || Ok(mounting.exists()))?;
    let placed = rig.cluster.cli().placed(CONTAINER)?.context("no lease though its mount has begun")?;
    rig.token = placed.token.0;
    rig.fault_now();
    rig.machine()?.partition()?;
    for other in rig.cluster.host_names().iter().filter(|name| **name != rig.holder) {
        rig.berth(&["host", "uncordon", other])?;
    }
    rig.await_takeover(TAKEOVER);
    let mounted = shared.join(format!("mounted-{}", rig.holder));
    // Killed with its lease, perhaps: then it never ends.
    let _ = wait_until("the slow mount to end", slow + AFTERWARDS, || Ok(mounted.exists()));
    rig.pause(AFTERWARDS);
    rig.machine()?.heal()?;
    rig.pause(AFTERWARDS);
    Ok(())
}
