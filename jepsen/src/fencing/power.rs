//! A power switch for the lab's hosts, and a fence agent of the ClusterLabs interface that works it. Called by the rig; the agent is a script that the control
//! nodes run, and what it does is done here, because only the lab can cut a machine's power.

use crate::e2e::Cluster;
use crate::fencing::rig::Power;
use crate::lab::Machine;
use anyhow::{Context, Result};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

const PAUSE: Duration = Duration::from_millis(10);

/// Serves until it is dropped.
#[derive(Debug)]
pub struct PowerSwitch {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl PowerSwitch {
    /// Gives each host an agent, and serves what the agents ask for.
    pub fn install(cluster: &Cluster, power: Power) -> Result<Self> {
        let folder = cluster.lab().shared_dir().join("power");
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let script = write_agent(&folder, power)?;
        for host in cluster.host_names() {
            let agent = format!("{} plug={host} @timeout=10s", script.display());
            cluster.cli().run(&["host", "update", &host, "--fence-agent", &agent])?;
        }
        let stop = Arc::new(AtomicBool::new(false));
        let machines = cluster.host_machines();
        let thread = thread::spawn({
            let stop = stop.clone();
            move || {
                while !stop.load(Ordering::Relaxed) {
                    machines.iter().for_each(|machine| serve(&folder.join(machine.name()), machine));
                    thread::sleep(PAUSE);
                }
            }
        });
        Ok(Self { stop, thread: Some(thread) })
    }
}

fn write_agent(folder: &Path, power: Power) -> Result<PathBuf> {
    let script = folder.join("fence_lab");
    let text = AGENT.replace("FOLDER", &folder.display().to_string());
    fs::write(&script, text.replace("FAILS", &power.fails.to_string()).replace("LIES", if power.lies { "yes" } else { "no" }))?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    Ok(script)
}

fn serve(base: &Path, machine: &Machine) {
    let (asked, off): (PathBuf, PathBuf) = (base.with_extension("asked"), base.with_extension("off"));
    if !asked.exists() || off.exists() {
        return;
    }
    match if machine.is_on() { machine.kill_host() } else { Ok(()) } {
        Ok(()) => drop(fs::write(&off, "")),
        Err(failed) => eprintln!("fencing: the power switch of {} failed: {failed:#}", machine.name()),
    }
}

impl Drop for PowerSwitch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Options on standard input, as the interface has it: `action`, `plug`. Fails the first times; a lying one says "done" and does nothing.
const AGENT: &str = r#"#!/bin/sh
action=off plug=
while read -r line; do case "$line" in action=*) action=${line#action=} ;; plug=*) plug=${line#plug=} ;; esac; done
base="FOLDER/$plug"
echo "$action $plug" >> "FOLDER/log"
case "$action" in
metadata) echo '<resource-agent name="fence_lab"/>'; exit 0 ;;
off|reboot)
    if [ LIES = yes ]; then : > "$base.lied"; exit 0; fi
    tried=$(cat "$base.tried" 2>/dev/null || echo 0)
    echo $((tried + 1)) > "$base.tried"
    if [ "$tried" -lt FAILS ]; then echo "fence_lab: the switch does not answer" >&2; exit 1; fi
    : > "$base.asked"
    while [ ! -e "$base.off" ]; do sleep 0.02; done
    exit 0 ;;
on) rm -f "$base.asked" "$base.off"; exit 0 ;;
status|monitor)
    if [ -e "$base.off" ] || [ -e "$base.lied" ]; then exit 2; fi
    exit 0 ;;
*) echo "fence_lab: unknown action $action" >&2; exit 1 ;;
esac
"#;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test")]
mod tests {
    use super::{Power, write_agent};
    use std::fs;
    use std::io::Write;
    use std::path::Path;
    use std::process::{Command, Stdio};

    fn call(script: &Path, action: &str) -> i32 {
        let mut child = Command::new("sh").arg(script).stdin(Stdio::piped()).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(format!("action={action}\nplug=h1\n").as_bytes()).unwrap();
        child.wait().unwrap().code().unwrap()
    }

    #[test]
    fn the_agent_fails_as_often_as_it_shall_and_then_waits_for_the_switch() {
        let folder = tempfile::tempdir().unwrap();
        let script = write_agent(folder.path(), Power { fails: 2, lies: false }).unwrap();
        assert_eq!((call(&script, "status"), call(&script, "off"), call(&script, "off")), (0, 1, 1));
        assert!(!folder.path().join("h1.asked").exists(), "nothing was asked of the switch yet");
        fs::write(folder.path().join("h1.off"), "").unwrap();
        assert_eq!((call(&script, "off"), call(&script, "status"), call(&script, "on"), call(&script, "status")), (0, 2, 0, 0));
    }

    #[test]
    fn a_lying_agent_says_done_and_asks_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let script = write_agent(folder.path(), Power { fails: 0, lies: true }).unwrap();
        assert_eq!((call(&script, "off"), call(&script, "status")), (0, 2));
        assert!(!folder.path().join("h1.asked").exists());
    }
}
