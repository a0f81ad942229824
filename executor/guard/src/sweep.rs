//! Killing what is left of an instance. As PID 1 by one call for the whole pid namespace; else by walking the family tree, which all orphans stay in because
//! the guard is their subreaper. Must never kill outside of these.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions};

use crate::sys;

/// For what a hook left behind.
pub(crate) const AFTER_HOOK: Duration = Duration::from_secs(10);
/// For what the command left behind, where the kernel does not see to it.
pub(crate) const AT_END: Duration = Duration::from_secs(10);
/// Looks at the deadline without a pid namespace, of 1 ms each: what is left then cannot be killed by us (stuck in the kernel, or of another user).
const LAST_LOOKS: u32 = 10_000;
const LOOK: Duration = Duration::from_millis(1);

/// Kills every process of the instance but this one, once.
pub(crate) fn kill_others() {
    if sys::is_first() {
        sys::kill_all_others();
        return;
    }
    for pid in descendants() {
        let _ = rustix::process::kill_process(pid, Signal::KILL);
    }
}

/// Reaps what is dead; whether no child is left.
pub(crate) fn reap_all() -> bool {
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) => return false,
            Err(_) => return true,
        }
    }
}

/// At the deadline, where no kernel does it for us.
pub(crate) fn kill_until_gone() {
    for _ in 0..LAST_LOOKS {
        kill_others();
        if reap_all() {
            return;
        }
        sys::next_signal(LOOK);
    }
}

/// Children, their children, and so on, parents first.
fn descendants() -> Vec<Pid> {
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        if let Some(parent) = parent_of(pid) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    let mut next = vec![rustix::process::getpid().as_raw_nonzero().get()];
    while let Some(parent) = next.pop() {
        for child in children.get(&parent).into_iter().flatten().filter(|child| seen.insert(**child)) {
            found.extend(Pid::from_raw(*child));
            next.push(*child);
        }
    }
    found
}

/// Field 4 of /proc/PID/stat; the name before it, in brackets, may contain anything.
fn parent_of(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}
