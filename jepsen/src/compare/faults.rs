//! The faults of the comparison: the same deeds, the same moments and the same watch for both systems. Called by the run for each case. Must never look at
//! what the system says about the writer; what it wrote decides.

use crate::compare::analysis::{Measured, measure};
use crate::compare::interrupt::until;
use crate::compare::lines::{BootNs, WriterLines};
use crate::compare::stage::{HOSTS, Stage};
use crate::compare::system::{Leader, System};
use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// The writer's host loses power; the leader is elsewhere.
    HostKilled,
    /// The writer's host loses power, and the leader runs there.
    LeaderHostKilled,
    /// The writer's host is cut off the network for 40 s; the leader is elsewhere.
    CutOff,
    /// The writer's host stands still for 40 s; the leader is elsewhere.
    Frozen,
    /// dockerd of the writer's host is killed, its container left; 40 s later it is started again.
    EngineKilled,
    /// The leading manager or control node is killed; the writer is elsewhere.
    LeaderKilled,
}

impl Fault {
    pub(super) const ALL: [Self; 6] =
        [Self::HostKilled, Self::LeaderHostKilled, Self::CutOff, Self::Frozen, Self::EngineKilled, Self::LeaderKilled];

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::HostKilled => "host killed",
            Self::LeaderHostKilled => "host killed, leader on it",
            Self::CutOff => "host cut off 40 s, healed",
            Self::Frozen => "host frozen 40 s, thawed",
            Self::EngineKilled => "engine killed for 40 s, container left",
            Self::LeaderKilled => "leader killed",
        }
    }

    /// Whether the host comes back within the case.
    pub(super) fn is_undone(self) -> bool {
        match self {
            Self::CutOff | Self::Frozen | Self::EngineKilled => true,
            Self::HostKilled | Self::LeaderHostKilled | Self::LeaderKilled => false,
        }
    }

    /// What is done, for the document.
    pub(super) fn deed(self) -> &'static str {
        match self {
            Self::HostKilled | Self::LeaderHostKilled => {
                "`ip link delete` of the host's link, then SIGKILL to every process in its freezer cgroup, containers included"
            }
            Self::CutOff => "`ip link set $VETH down` on the host's link; 40 s later `ip link set $VETH up`",
            Self::Frozen => "`echo FROZEN > freezer.state` of the cgroup around everything on the host; 40 s later `echo THAWED`",
            Self::EngineKilled => {
                "`kill -9` of dockerd alone; 40 s later `dockerd` with the same flags, as its service manager would (figures: until then)"
            }
            Self::LeaderKilled => "`kill -9` of the leader's process: in Swarm dockerd of its host, in Berth `berth server`",
        }
    }
}

/// For how long a host is cut off or frozen, or its engine dead, as in the figures this is compared with.
const AWAY: Duration = Duration::from_secs(40);
/// A healed or thawed host is watched at least so long, and a group that lost its leader.
const WATCH_LEAST: Duration = Duration::from_secs(10);
/// Nothing is done before the writer has been writing for so long.
const STEADY_LINES: usize = 400;
/// A writer that wrote nothing for so long, while its host can run, has ended.
const ENDED_MS: u64 = 5_000;
const TAKEOVER_BOUND: Duration = Duration::from_secs(150);
const END_BOUND: Duration = Duration::from_secs(150);
const LONG: Duration = Duration::from_secs(60);
const AFTER_TAKEOVER: Duration = Duration::from_secs(5);

/// Who led when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Leaders {
    pub(super) before: Leader,
    /// While the fault lasted, as the other hosts say it; of a fault that was undone only.
    pub(super) during: Option<Leader>,
    /// At the end of the watch, as the hosts say that live.
    pub(super) after: Option<Leader>,
    /// From the leader's death until another one was named.
    pub(super) new_after_ms: Option<u64>,
}

/// What came of one case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Outcome {
    pub(super) holder: String,
    pub(super) measured: Measured,
    /// From the heal, the thaw or the engine's restart to the last line of the old writer; `None`: it had ended before, or there was no other.
    pub(super) ended_after_undo_ms: Option<u64>,
    /// What the first writer's file grew by after the heal, the thaw or the engine's restart: seen from outside, so a line that was stamped before a freeze
    /// and written after it counts here. `None`: it had not been replaced by then, so it was to write on.
    pub(super) bytes_after_undo: Option<u64>,
    pub(super) leaders: Leaders,
}

/// Carries out one case on a system that was just started.
pub(super) fn carry_out(fault: Fault, round: u32, stage: &Stage, system: &mut dyn System) -> Result<Outcome> {
    let before = await_leader(stage, system, None)?;
    let elsewhere = HOSTS.iter().copied().find(|host| *host != before.host).context("all hosts lead")?;
    let holder = if fault == Fault::LeaderHostKilled { before.host.clone() } else { elsewhere.to_string() };
    system.run_writer_on(stage, &holder)?;
    await_steady_writer(stage, &holder)?;
    pause(phase(round))?;
    let leader_now = await_leader(stage, system, None)?;
    ensure!(leader_now == before, "the leader changed during the set-up: from {before:?} to {leader_now:?}");
    let first = sizes(stage.data())?.into_keys().next().context("no writer's file")?;
    let mut case = Case { stage, system, holder, before, during: None, new_after_ms: None, first, first_at_undo: None };
    let (begun, undone, end) = case.run(fault)?;
    let writers = WriterLines::read_all(stage.data())?;
    let except = (undone.is_none()).then(|| case.faulty_host(fault).to_string());
    let after = case.system.leader(stage, except.as_deref());
    let last_late = measure(&writers, begun, BootNs::now()).last_late.map(BootNs);
    let replaced = |undone: BootNs| writers.iter().any(|w| w.first() > begun && w.first() < undone);
    let first_at_undo = case.first_at_undo.filter(|_| undone.is_some_and(replaced));
    let ended = last_late.zip(undone).filter(|(last, undone)| last > undone).map(|(last, undone)| last.ms_since(undone));
    Ok(Outcome {
        measured: measure(&writers, begun, end),
        ended_after_undo_ms: ended,
        bytes_after_undo: first_at_undo.map(|then| Ok::<_, anyhow::Error>(fs::metadata(&case.first)?.len() - then)).transpose()?,
        leaders: Leaders { before: case.before, during: case.during, after, new_after_ms: case.new_after_ms },
        holder: case.holder,
    })
}

/// How much later the fault comes in this round. Heartbeats and renewals begin with the set-up; a fault at always the same moment after it would meet
/// them at always the same moment, and the rounds would not spread as they do in life.
fn phase(round: u32) -> Duration {
    Duration::from_millis(1_200) * (round.saturating_sub(1) % 5)
}

struct Case<'a> {
    stage: &'a Stage,
    system: &'a mut dyn System,
    holder: String,
    before: Leader,
    during: Option<Leader>,
    new_after_ms: Option<u64>,
    /// The file of the writer that was there before the fault.
    first: PathBuf,
    first_at_undo: Option<u64>,
}

impl Case<'_> {
    /// When the fault began, when it was undone, and until when the lines are judged.
    fn run(&mut self, fault: Fault) -> Result<(BootNs, Option<BootNs>, BootNs)> {
        let stage = self.stage;
        let host = stage.host(&self.holder)?;
        let begun = BootNs::now();
        let mut undone = None;
        match fault {
            Fault::HostKilled | Fault::LeaderHostKilled => {
                host.kill_host()?;
                if fault == Fault::LeaderHostKilled {
                    self.await_other_leader(begun)?;
                }
                self.await_new_writer()?;
                pause(AFTER_TAKEOVER)?;
            }
            Fault::CutOff => {
                host.partition()?;
                self.stay_away(begun, AWAY)?;
                self.note_size()?;
                undone = Some(BootNs::now());
                host.heal()?;
                await_one_writer(stage.data(), WATCH_LEAST)?;
            }
            Fault::Frozen => {
                host.freeze()?;
                self.stay_away(begun, AWAY)?;
                self.note_size()?;
                undone = Some(BootNs::now());
                host.thaw()?;
                await_one_writer(stage.data(), WATCH_LEAST)?;
            }
            Fault::EngineKilled => {
                host.kill_dockerd()?;
                self.stay_away(begun, AWAY)?;
                self.note_size()?;
                let end = BootNs::now();
                host.start_dockerd()?;
                await_one_writer(stage.data(), WATCH_LEAST)?;
                return Ok((begun, Some(end), end));
            }
            Fault::LeaderKilled => {
                let leader = self.before.host.clone();
                self.system.kill_leader(stage, &leader)?;
                self.await_other_leader(begun)?;
                pause_until(begun, WATCH_LEAST * 2)?;
            }
        }
        Ok((begun, undone, BootNs::now()))
    }

    /// The host that cannot be asked while the fault lasts.
    fn faulty_host(&self, fault: Fault) -> &str {
        if fault == Fault::LeaderKilled { &self.before.host } else { &self.holder }
    }

    fn note_size(&mut self) -> Result<()> {
        self.first_at_undo = Some(fs::metadata(&self.first)?.len());
        Ok(())
    }

    fn stay_away(&mut self, begun: BootNs, time: Duration) -> Result<()> {
        pause_until(begun, time.saturating_sub(Duration::from_secs(2)))?;
        self.during = self.system.leader(self.stage, Some(&self.holder));
        pause_until(begun, time)
    }

    fn await_other_leader(&mut self, begun: BootNs) -> Result<()> {
        let (stage, dead) = (self.stage, self.before.host.clone());
        until("another leader", LONG, || Ok(self.system.leader(stage, Some(&dead)).is_some_and(|leader| leader.host != dead)))?;
        self.new_after_ms = Some(BootNs::now().ms_since(begun));
        Ok(())
    }

    fn await_new_writer(&self) -> Result<()> {
        until("a new writer", TAKEOVER_BOUND, || Ok(sizes(self.stage.data())?.values().filter(|size| **size > 0).count() > 1))?;
        Ok(())
    }
}

fn await_leader(stage: &Stage, system: &dyn System, except: Option<&str>) -> Result<Leader> {
    let mut leader = None;
    until("a leader", LONG, || {
        leader = system.leader(stage, except);
        Ok(leader.is_some())
    })?;
    leader.context("no leader")
}

/// Waits until the writer has been writing for a while, and makes sure that it is one and where it is to be.
fn await_steady_writer(stage: &Stage, holder: &str) -> Result<()> {
    until("the writer to write", LONG, || {
        let writers = WriterLines::read_all(stage.data())?;
        Ok(writers.iter().any(|writer| writer.stamps.len() >= STEADY_LINES))
    })
    .with_context(|| format!("the writer on {holder}: {:?}", stage.ask_docker(holder, &["ps", "--all"])))?;
    let writers = WriterLines::read_all(stage.data())?;
    ensure!(writers.len() == 1, "{} writers before the fault", writers.len());
    for host in HOSTS {
        let running = stage.ask_docker(host, &["ps", "--quiet"])?.lines().count();
        ensure!(running == usize::from(host == holder), "{running} containers on {host} before the fault; the writer belongs on {holder}");
    }
    Ok(())
}

/// Watches until one writer at most is left, at least for `least`. That two stay is an outcome, not an error.
fn await_one_writer(data: &Path, least: Duration) -> Result<()> {
    let (begun, mut grown) = (BootNs::now(), BTreeMap::<PathBuf, (u64, BootNs)>::new());
    let one_left = until("one writer to be left", END_BOUND, || {
        let now = BootNs::now();
        for (file, size) in sizes(data)? {
            let last = grown.entry(file).or_insert((size, begun));
            if last.0 != size {
                *last = (size, now);
            }
        }
        let growing = grown.values().filter(|(_, at)| now.ms_since(*at) < ENDED_MS).count();
        Ok(growing < 2 && u128::from(now.ms_since(begun)) >= least.as_millis())
    });
    match one_left {
        Err(_) if u128::from(BootNs::now().ms_since(begun)) >= END_BOUND.as_millis() => Ok(()),
        other => other.map(|_| ()),
    }
}

fn sizes(data: &Path) -> Result<BTreeMap<PathBuf, u64>> {
    let mut sizes = BTreeMap::new();
    for entry in fs::read_dir(data).with_context(|| format!("cannot list {}", data.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "lines") {
            sizes.insert(path.clone(), fs::metadata(&path)?.len());
        }
    }
    Ok(sizes)
}

fn pause(time: Duration) -> Result<()> {
    pause_until(BootNs::now(), time)
}

fn pause_until(begun: BootNs, time: Duration) -> Result<()> {
    until("the watch to end", time + LONG, || Ok(u128::from(BootNs::now().ms_since(begun)) >= time.as_millis()))?;
    Ok(())
}
