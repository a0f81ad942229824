//! Plain Docker: two `docker run` with the volume driver `berth` on two hosts at once. One gets the volume, the other a readable refusal; and when the first
//! host is cut off, its container is dead before the other gets the volume.

use super::{AFTERWARDS, Scenario, TAKEOVER};
use crate::fencing::image;
use crate::fencing::rig::{Rig, VOLUME};
use crate::fencing::row::Expected;
use crate::lab::{DockerHost, wait_until};
use anyhow::{Context, Result, bail, ensure};
use std::path::Path;
use std::thread;

/// What stands for a token in the stamps: a container that Berth did not start is told none.
const FIRST: u64 = 1_000_001;

pub fn all() -> Vec<Scenario> {
    vec![Scenario {
        bare: true,
        expected: |_| Expected::Moves(&["ran-out", "released", "storage-cut"]),
        ..Scenario::takeover("two docker run at once", two_at_once)
    }]
}

fn docker_run(docker: &DockerHost, number: u64) -> Result<String> {
    let (token, mount) = (format!("BERTH_TOKEN={}", FIRST + number), format!("{VOLUME}:/data"));
    docker.docker(&["run", "--detach", "--network", "none", "--env", &token, "--volume-driver", "berth", "--volume", &mount, image::IMAGE])
}

fn two_at_once(rig: &mut Rig) -> Result<()> {
    let hosts: Vec<DockerHost> = rig.cluster.hosts().iter().take(2).map(|host| host.docker.clone()).collect();
    let plugin = hosts[0].root().context("the host is off")?.join("run/docker/plugins");
    ensure!(Path::new(&plugin).read_dir().is_ok_and(|mut found| found.next().is_some()), "the executor serves no volume plugin");
    let ran: Vec<Result<String>> = thread::scope(|scope| {
        let runs: Vec<_> = (0..).zip(&hosts).map(|(number, host)| scope.spawn(move || docker_run(host, number))).collect();
        runs.into_iter().map(|run| run.join().unwrap_or_else(|_| bail!("a docker run panicked"))).collect()
    });
    let won: Vec<usize> = (0..2).filter(|index| ran[*index].is_ok()).collect();
    let [winner] = won[..] else { bail!("one of two had to get the volume: {ran:?}") };
    let refused = ran[1 - winner].as_ref().err().map(|error| format!("{error:#}")).unwrap_or_default();
    ensure!(refused.contains(VOLUME) || refused.contains(hosts[winner].name()), "the refusal names neither volume nor holder: {refused}");
    rig.holder = hosts[winner].name().to_owned();
    rig.token = FIRST + winner as u64;
    let token = rig.token;
    rig.alias_newest(token, &rig.holder.clone())?;
    wait_until("the winner to write", TAKEOVER, || Ok(rig.stamps()?.count(token) > 400))?;
    rig.fault_now();
    rig.machine()?.partition()?;
    wait_until("the other host to get the volume", TAKEOVER, || Ok(docker_run(&hosts[1 - winner], 10).is_ok()))?;
    rig.pause(AFTERWARDS);
    rig.alias_newest(FIRST + 10, hosts[1 - winner].name())?;
    rig.machine()?.heal()?;
    rig.pause(AFTERWARDS);
    Ok(())
}
