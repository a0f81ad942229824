//! What makes the guard's process one that stays: its own control group, memory that is never swapped or reclaimed, the first turn on the processor, the last
//! on the list of the out-of-memory killer. Each is done where the machine lets us; what it does not let us is said in the log.

use std::fs;
use std::io;
use std::path::Path;

use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::setpriority_process;

use crate::volumes::mountinfo;

/// Does all of it; returns what did not work.
pub(super) fn settle(run: &Path) -> Vec<String> {
    let steps: [(&str, io::Result<()>); 5] = [
        ("have a control group of its own: whoever empties its starter's group takes it along", own_group(run)),
        ("lock its memory: under memory pressure it may be late", lock_memory()),
        ("raise its priority", setpriority_process(None, -20).map_err(io::Error::from)),
        // Where sessions share the processor evenly, priority counts only within one.
        ("raise its session's priority", optional("/proc/self/autogroup", "-20")),
        ("be spared by the out-of-memory killer", fs::write("/proc/self/oom_score_adj", "-1000")),
    ];
    steps.into_iter().filter_map(|(what, result)| result.err().map(|error| format!("cannot {what}: {error}"))).collect()
}

/// All of it, program included: at the deadline nothing is to be fetched from a disk. Where there is no room for that, what was touched once stays.
fn lock_memory() -> io::Result<()> {
    let all = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE;
    mlockall(all).or_else(|_| mlockall(all | MlockAllFlags::ONFAULT)).map_err(io::Error::from)
}

/// `berth/guards/<folder>` in every hierarchy that a service manager may kill by: cgroup v2, and systemd's own where it is v1. Never in one that freezes or
/// limits: what stops a whole host is to stop this too.
fn own_group(run: &Path) -> io::Result<()> {
    let name: String = run.to_string_lossy().chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '_' }).collect();
    let mut done = Err(io::Error::new(io::ErrorKind::NotFound, "there is no cgroup v2"));
    for mount in mountinfo::all()? {
        let systemds = mount.file_system == "cgroup" && mount.point.file_name().is_some_and(|name| name == "systemd");
        if mount.file_system == "cgroup2" || systemds {
            let joined = join(&mount.point.join("berth").join("guards").join(&name));
            if mount.file_system == "cgroup2" {
                done = joined;
            }
        }
    }
    done
}

fn join(group: &Path) -> io::Result<()> {
    // Groups of guards that have ended: they could not remove their own. One with somebody in it stays.
    for former in group.parent().and_then(|guards| fs::read_dir(guards).ok()).into_iter().flatten().flatten() {
        let _ = fs::remove_dir(former.path());
    }
    // Another guard that starts now may take ours for such a one.
    let mut joined = Ok(());
    for _ in 0..5 {
        // 0 means the writer itself.
        joined = fs::create_dir_all(group).and_then(|()| fs::write(group.join("cgroup.procs"), "0"));
        if joined.is_ok() {
            break;
        }
    }
    joined
}

fn optional(path: &str, value: &str) -> io::Result<()> {
    match fs::write(path, value) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
