//! Ground truth about Postgres, taken from the kernel: a thread looks many times a second which postgres processes live in which machine. It asks neither
//! Berth nor Docker nor the network, so it sees a host that is cut off as well. Must never signal or slow what it watches.
//!
//! A process counts from the kernel's own start time to the last look that found it, also while it is frozen: what is frozen can go on. Its start is
//! that of the container's first process, before that became postgres, so a start that is too early shows even when the old one dies in time.

use crate::e2e::lives::Life;
use crate::e2e::stamp::Stamp;
use crate::lab::Machine;
use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Between two looks; a look itself takes about a millisecond for each machine.
const PAUSE: Duration = Duration::from_millis(10);

/// One process of one machine. The start time tells a pid that was used again from the process that had it before.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct ProcessKey {
    host: String,
    pid: i32,
    start_ticks: u64,
}

#[derive(Debug, Default)]
struct Sightings {
    last_seen: BTreeMap<ProcessKey, Stamp>,
    looks: u64,
    last_look: Option<Stamp>,
    /// The longest time between two looks, and when it ended.
    longest_pause: Duration,
}

/// Watches from its start until it is dropped.
#[derive(Debug)]
pub struct ProcessWatch {
    stop: Arc<AtomicBool>,
    sightings: Arc<Mutex<Sightings>>,
    thread: Option<JoinHandle<()>>,
}

impl ProcessWatch {
    pub fn start(machines: Vec<Machine>) -> Self {
        let (stop, sightings) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Sightings::default())));
        let thread = thread::spawn({
            let (stop, sightings) = (stop.clone(), sightings.clone());
            move || {
                while !stop.load(Ordering::Relaxed) {
                    look(&machines, &sightings);
                    thread::sleep(PAUSE);
                }
            }
        });
        Self { stop, sightings, thread: Some(thread) }
    }

    /// All that was seen so far.
    pub fn lives(&self) -> Vec<Life> {
        let sightings = lock(&self.sightings);
        let life =
            |(key, seen): (&ProcessKey, &Stamp)| Life { host: key.host.clone(), begun: Stamp::from_ticks(key.start_ticks), seen: *seen };
        sightings.last_seen.iter().map(life).collect()
    }

    /// How many looks there were.
    pub fn looks(&self) -> u64 {
        lock(&self.sightings).looks
    }

    /// How long it was blind at most since the last call: what began and ended within can have been missed.
    pub fn take_longest_pause(&self) -> Duration {
        std::mem::take(&mut lock(&self.sightings).longest_pause)
    }
}

impl Drop for ProcessWatch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A panicking reader poisons the lock; what was seen stays true.
fn lock(sightings: &Mutex<Sightings>) -> MutexGuard<'_, Sightings> {
    sightings.lock().unwrap_or_else(PoisonError::into_inner)
}

fn look(machines: &[Machine], sightings: &Mutex<Sightings>) {
    let mut found = Vec::new();
    let mut oldest = None;
    for machine in machines {
        // Read before the processes are: they were all there at or after it.
        let at = Stamp::now();
        oldest = oldest.or(Some(at));
        found.extend(postgres_processes(machine).into_iter().map(|key| (key, at)));
    }
    let mut sightings = lock(sightings);
    sightings.last_seen.extend(found);
    sightings.looks += 1;
    if let (Some(last), Some(now)) = (sightings.last_look, oldest) {
        sightings.longest_pause = sightings.longest_pause.max(now.since(last));
    }
    sightings.last_look = oldest;
}

fn postgres_processes(machine: &Machine) -> Vec<ProcessKey> {
    let stats = machine.pids().into_iter().filter_map(|pid| Stat::read(pid).map(|stat| (pid, stat)));
    let live = stats.filter(|(_, stat)| stat.is_live_postgres());
    live.map(|(pid, stat)| ProcessKey { host: machine.name().to_string(), pid, start_ticks: stat.start_ticks }).collect()
}

/// The pid, in the root namespace, of the machine's postmaster: the postgres whose parent is none.
pub fn postmaster_pid(machine: &Machine) -> Option<i32> {
    let stats: BTreeMap<i32, Stat> = machine.pids().into_iter().filter_map(|pid| Some((pid, Stat::read(pid)?))).collect();
    let postgres = |pid: &i32| stats.get(pid).is_some_and(Stat::is_live_postgres);
    stats.iter().find(|(pid, stat)| postgres(pid) && !postgres(&stat.parent)).map(|(pid, _)| *pid)
}

/// The fields of `/proc/PID/stat` that matter here.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    name: String,
    state: char,
    parent: i32,
    start_ticks: u64,
}

impl Stat {
    fn read(pid: i32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        // The name may hold blanks and parentheses; the last one closes it.
        let (head, tail) = text.rsplit_once(')')?;
        let (_, name) = head.split_once('(')?;
        let fields: Vec<&str> = tail.split_whitespace().collect();
        let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
        let parent = i32::try_from(number(1)?).ok()?;
        Some(Self { name: name.to_string(), state: fields.first()?.chars().next()?, parent, start_ticks: number(19)? })
    }

    /// A zombie or a dead task can write nothing; every other state counts, frozen and stopped ones too.
    fn is_live_postgres(&self) -> bool {
        self.name == "postgres" && !matches!(self.state, 'Z' | 'X' | 'x')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "4242 (postgres) S 17 4242 4242 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1000 12 18446744073709551615";

    #[test]
    fn a_stat_line_gives_name_state_parent_and_start() {
        let stat = Stat::parse(LINE).expect("a line as the kernel writes it");
        assert_eq!(stat, Stat { name: "postgres".to_string(), state: 'S', parent: 17, start_ticks: 987_654 });
        assert!(stat.is_live_postgres());
    }

    #[test]
    fn dead_tasks_and_other_programs_are_no_live_postgres() {
        for (from, to) in [(" S ", " Z "), (" S ", " X "), ("(postgres)", "(pg_isready)"), ("(postgres)", "(a) (postgres x)")] {
            assert!(!Stat::parse(&LINE.replace(from, to)).expect("still a line").is_live_postgres(), "{to}");
        }
        assert!(
            Stat::parse(&LINE.replace(" S ", " D ")).expect("a line").is_live_postgres(),
            "one that dies but is not dead yet may write"
        );
        assert_eq!(Stat::parse("no stat line"), None);
    }

    #[test]
    fn this_very_process_is_read_as_alive_since_before_now() {
        let stat = Stat::read(i32::try_from(std::process::id()).expect("a pid")).expect("we live");
        assert!(!matches!(stat.state, 'Z' | 'X'));
        assert!(Stamp::from_ticks(stat.start_ticks) <= Stamp::now().plus(2 * PAUSE));
    }
}
