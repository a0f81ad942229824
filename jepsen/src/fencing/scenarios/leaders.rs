//! The control nodes: their leader killed or frozen, alone and together with the holder; their quorum lost for longer than the ttl, under each rule.

use super::{AFTERWARDS, Scenario, TAKEOVER, either, stays};
use crate::fencing::kind::{DriverKind, Rule};
use crate::fencing::rig::Rig;
use anyhow::Result;
use std::time::Duration;

const MANUAL: &[super::Setting] = &[(DriverKind::Path, Rule::Manual), (DriverKind::Image, Rule::Manual)];
const EXPIRY: &[super::Setting] = &[(DriverKind::Path, Rule::AfterExpiry), (DriverKind::Image, Rule::AfterExpiry)];
const FENCE: &[super::Setting] = &[(DriverKind::Glusterfs, Rule::AfterFence)];

pub fn all() -> Vec<Scenario> {
    vec![
        Scenario::takeover("leader killed, holder cut off", leader_killed_holder_cut),
        Scenario { short: true, ..Scenario::no_takeover("leader killed", leader_killed) },
        Scenario::no_takeover("leader frozen and thawed", leader_frozen),
        Scenario::takeover("holder and leader killed", both_killed),
        Scenario { settings: EXPIRY, expected: either, ..Scenario::takeover("quorum lost, after-expiry", quorum_lost) },
        Scenario {
            settings: FENCE,
            expected: stays,
            outage_bound: Duration::ZERO,
            ..Scenario::takeover("quorum lost, after-fence", quorum_lost)
        },
        Scenario { settings: MANUAL, expected: either, ..Scenario::takeover("quorum lost, manual", quorum_lost) },
    ]
}

fn leader_killed_holder_cut(rig: &mut Rig) -> Result<()> {
    rig.fault_now();
    rig.machine()?.partition()?;
    rig.cluster.kill_node(rig.leader)?;
    rig.await_takeover(TAKEOVER);
    rig.machine()?.heal()?;
    rig.pause(AFTERWARDS);
    Ok(())
}

fn leader_killed(rig: &mut Rig) -> Result<()> {
    rig.fault_now();
    rig.cluster.kill_node(rig.leader)?;
    rig.pause(rig.ttl() * 2);
    rig.await_writing(TAKEOVER);
    Ok(())
}

fn leader_frozen(rig: &mut Rig) -> Result<()> {
    let leader = rig.node_machine(rig.leader)?;
    rig.fault_now();
    leader.freeze()?;
    rig.pause(rig.ttl() * 2);
    leader.thaw()?;
    rig.pause(rig.ttl());
    rig.await_writing(TAKEOVER);
    Ok(())
}

fn both_killed(rig: &mut Rig) -> Result<()> {
    rig.fault_now();
    rig.machine()?.kill_host()?;
    rig.cluster.kill_node(rig.leader)?;
    rig.await_takeover(TAKEOVER);
    rig.pause(AFTERWARDS);
    Ok(())
}

fn quorum_lost(rig: &mut Rig) -> Result<()> {
    let others: Vec<u64> = rig.cluster.node_ids().into_iter().filter(|id| *id != rig.leader).collect();
    rig.fault_now();
    for id in &others {
        rig.cluster.kill_node(*id)?;
    }
    rig.pause(rig.ttl() * 2 + Duration::from_secs(1));
    for id in &others {
        rig.cluster.start_node(*id)?;
    }
    rig.cluster.wait_for_leader(|_| true)?;
    rig.await_writing(TAKEOVER);
    rig.pause(AFTERWARDS);
    Ok(())
}
