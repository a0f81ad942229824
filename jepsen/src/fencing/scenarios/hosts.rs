//! A whole host: frozen, cut off from one network or the other, rebooted, switched off.

use super::{AFTERWARDS, EACH_AND_CUT, Scenario, TAKEOVER, either};
use crate::fencing::kind::{DriverKind, Rule};
use crate::fencing::rig::{Power, Rig};
use crate::fencing::row::{Expected, Leave};
use anyhow::{Context, Result, ensure};
use std::net::Ipv4Addr;
use std::time::Duration;

const GLUSTER: &[super::Setting] = &[(DriverKind::Glusterfs, Rule::AfterFence)];
const POWERED: &[super::Setting] = &[(DriverKind::Path, Rule::AfterFence), (DriverKind::Image, Rule::AfterFence)];
const SWITCH: Power = Power { fails: 0, lies: false };

pub fn all() -> Vec<Scenario> {
    vec![
        Scenario { settings: EACH_AND_CUT, leave: clocks_stand_still, ..Scenario::takeover("host frozen and thawed", frozen) },
        Scenario {
            // The rung above for the drivers that a freeze gets around.
            power: Some(SWITCH),
            settings: POWERED,
            expected: |_| Expected::Moves(&["powered-off"]),
            ..Scenario::takeover("host frozen, power fence", frozen_for_good)
        },
        Scenario { short: true, settings: EACH_AND_CUT, ..Scenario::takeover("cut off from control plane", no_control) },
        Scenario {
            settings: GLUSTER,
            expected: either,
            outage_bound: Duration::from_secs(75),
            ..Scenario::takeover("cut off from storage", no_storage)
        },
        Scenario { settings: EACH_AND_CUT, ..Scenario::takeover("cut off from both", no_network) },
        Scenario::takeover("host rebooted", rebooted),
        Scenario {
            settings: POWERED,
            power: Some(Power { fails: 2, lies: false }),
            expected: |_| Expected::Moves(&["powered-off"]),
            outage_bound: Duration::from_secs(45),
            ..Scenario::takeover("power fence fails twice", no_control_for_good)
        },
    ]
}

/// What a freeze leaves open where nothing but clocks guard.
fn clocks_stand_still(driver: DriverKind, rule: Rule) -> Option<Leave> {
    let bytes = match driver {
        DriverKind::Path | DriverKind::Exec => 4 << 20,
        // This kernel's flusher is not frozen with the host, as it would be with a virtual machine: it writes the frozen instance's dirty pages.
        DriverKind::Image => 64 << 20,
        DriverKind::Glusterfs => 4 << 20,
    };
    let sentence = "the first milliseconds after a frozen host thaws";
    match rule {
        Rule::AfterExpiry | Rule::Manual => Some(Leave { sentence, late_ms: 60_000, overlap_ms: 100, bytes }),
        Rule::AfterFence => None,
    }
}

fn frozen(rig: &mut Rig) -> Result<()> {
    rig.fault_now();
    rig.machine()?.freeze()?;
    rig.await_takeover(TAKEOVER);
    rig.pause(Duration::from_secs(2));
    rig.machine()?.thaw()?;
    rig.pause(AFTERWARDS);
    Ok(())
}

fn frozen_for_good(rig: &mut Rig) -> Result<()> {
    rig.fault_now();
    rig.machine()?.freeze()?;
    rig.await_takeover(TAKEOVER);
    rig.pause(AFTERWARDS);
    Ok(())
}

fn silence(rig: &Rig, addresses: &[Ipv4Addr]) -> Result<()> {
    let host = rig.machine()?;
    for ip in addresses {
        host.drop_to(*ip)?;
        host.drop_from(*ip)?;
    }
    Ok(())
}

fn no_control_for_good(rig: &mut Rig) -> Result<()> {
    rig.fault_now();
    silence(rig, &rig.cluster.node_ips())?;
    rig.await_takeover(TAKEOVER * 2);
    rig.pause(AFTERWARDS);
    Ok(())
}

fn no_control(rig: &mut Rig) -> Result<()> {
    rig.fault_now();
    silence(rig, &rig.cluster.node_ips())?;
    rig.await_takeover(TAKEOVER);
    rig.pause(Duration::from_secs(1));
    rig.machine()?.heal()?;
    rig.pause(AFTERWARDS);
    Ok(())
}

fn no_storage(rig: &mut Rig) -> Result<()> {
    let storage = rig.gluster.as_ref().context("this storage is not on the network")?.ip();
    rig.fault_now();
    silence(rig, &[storage])?;
    rig.pause(Duration::from_secs(1));
    let arrived = rig.stamps()?.count(rig.token);
    rig.pause(rig.ttl() * 2);
    // Writers go on into their client's memory; nothing of it may have arrived, or this was no cut.
    ensure!(rig.stamps()?.count(rig.token) == arrived, "the storage still hears the host");
    rig.machine()?.heal()?;
    rig.await_writing(TAKEOVER * 2);
    rig.pause(AFTERWARDS);
    Ok(())
}

fn no_network(rig: &mut Rig) -> Result<()> {
    rig.fault_now();
    rig.machine()?.partition()?;
    rig.await_takeover(TAKEOVER);
    rig.pause(Duration::from_secs(1));
    rig.machine()?.heal()?;
    rig.pause(AFTERWARDS);
    Ok(())
}

fn rebooted(rig: &mut Rig) -> Result<()> {
    rig.fault_now();
    let holder = rig.holder.clone();
    rig.machine()?.kill_host()?;
    rig.cluster.boot(&holder)?;
    rig.look_again();
    rig.await_takeover(TAKEOVER);
    rig.pause(AFTERWARDS);
    Ok(())
}
