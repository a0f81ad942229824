//! The wall clock of holder and leader stepped, an hour on and an hour back, by Debian's libfaketime in these two processes alone: the machine's clock is never
//! touched. What reads the clock by itself and not through the C library (Berth's own time stamps do) does not see the step; all libraries below it do.

use super::{AFTERWARDS, Scenario, TAKEOVER};
use crate::fencing::rig::Rig;
use crate::lab::wait_until;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};

pub fn all() -> Vec<Scenario> {
    vec![Scenario { needs: missing, ..Scenario::no_takeover("wall clock stepped both ways", stepped) }]
}

fn library() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").ok()?.flatten().map(|entry| entry.path().join("faketime/libfaketime.so.1"));
    folders.chain([PathBuf::from("/usr/lib/faketime/libfaketime.so.1")]).find(|path| path.exists())
}

fn missing() -> Option<String> {
    library().is_none().then(|| "libfaketime is not installed (Debian: faketime)".to_owned())
}

fn stepped(rig: &mut Rig) -> Result<()> {
    let clock = rig.shared().join("clock");
    step(&clock, "+0s")?;
    let library = library().context("libfaketime has gone")?.display().to_string();
    let file = clock.display().to_string();
    let environment =
        [("LD_PRELOAD", library.as_str()), ("FAKETIME_TIMESTAMP_FILE", &file), ("FAKETIME_NO_CACHE", "1"), ("DONT_FAKE_MONOTONIC", "1")];
    rig.cluster.set_environment(environment.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec());
    let holder = rig.holder.clone();
    rig.cluster.kill_executor(&holder)?;
    rig.cluster.start_executor(&holder)?;
    rig.cluster.kill_node(rig.leader)?;
    let leader = rig.cluster.wait_for_leader(|id| id != rig.leader)?;
    rig.cluster.start_node(rig.leader)?;
    // The one that leads now gets the library too, and so does whoever leads after it.
    wait_until("the restarted node to follow", TAKEOVER, || Ok(rig.cluster.cli().applied_index(rig.leader)?.is_some()))?;
    rig.cluster.kill_node(leader)?;
    rig.cluster.wait_for_leader(|id| id != leader)?;
    rig.cluster.start_node(leader)?;
    rig.pause(rig.ttl());
    rig.fault_now();
    for by in ["+3600s", "-3600s"] {
        step(&clock, by)?;
        rig.pause(rig.ttl() * 2);
    }
    ensure!(rig.await_writing(TAKEOVER), "nobody writes after the steps");
    rig.pause(AFTERWARDS);
    Ok(())
}

/// Whole, so that nobody reads half a number.
fn step(clock: &Path, by: &str) -> Result<()> {
    let new = clock.with_extension("new");
    fs::write(&new, format!("{by}\n"))?;
    fs::rename(&new, clock).context("cannot step the clock")
}
