//! The event log as it grows, with the moment at which each event was heard: `berth events --follow` in a child process, so that no wall clock of the cluster is
//! needed to say when a lease was granted. Used by the rig; must never influence what it listens to.

use crate::fencing::stamps::Ns;
use anyhow::{Context, Result};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

/// An event and when it was heard, which is never before it happened.
#[derive(Debug, Clone)]
pub struct Heard {
    pub at: Ns,
    pub event: Value,
}

/// Listens from its start until it is dropped.
#[derive(Debug)]
pub struct Tap {
    child: Child,
    heard: Arc<Mutex<Vec<Heard>>>,
    thread: Option<JoinHandle<()>>,
}

impl Tap {
    pub fn start(binary: &Path, endpoints: &str) -> Result<Self> {
        let mut command = Command::new(binary);
        command.args(["events", "--follow", "--since", "0", "-o", "json"]).env("BERTH_ENDPOINTS", endpoints);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().context("cannot start `berth events --follow`")?;
        let out = child.stdout.take().context("no stdout")?;
        let heard = Arc::new(Mutex::new(Vec::new()));
        let thread = thread::spawn({
            let heard = heard.clone();
            move || {
                for line in BufReader::new(out).lines() {
                    let Ok(line) = line else { return };
                    let at = Ns::now();
                    if let Ok(event) = serde_json::from_str(&line) {
                        heard.lock().unwrap_or_else(PoisonError::into_inner).push(Heard { at, event });
                    }
                }
            }
        });
        Ok(Self { child, heard, thread: Some(thread) })
    }

    pub fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// When each lease of these events was granted.
pub fn grants(heard: &[Heard]) -> BTreeMap<u64, Ns> {
    let of_kind = heard.iter().filter(|h| h.event["kind"] == "LeaseGranted");
    let mut granted = BTreeMap::new();
    for one in of_kind {
        if let Some(token) = one.event["token"].as_u64() {
            // A stream that was taken up anew may tell an event twice.
            granted.entry(token).or_insert(one.at);
        }
    }
    granted
}

/// The host of a lease.
pub fn host_of(heard: &[Heard], token: u64) -> Option<String> {
    let granted = heard.iter().find(|h| h.event["kind"] == "LeaseGranted" && h.event["token"] == token)?;
    granted.event["host"].as_str().map(str::to_string)
}

/// How the lease ended: the evidence's name, `released`, `withdrawn`; `None` while it has not.
pub fn ending(heard: &[Heard], token: u64) -> Option<String> {
    heard.iter().filter(|h| h.event["token"] == token).find_map(|h| match h.event["kind"].as_str()? {
        "LeaseFenced" => Some(h.event["evidence"]["kind"].as_str().unwrap_or("fenced").to_string()),
        "LeaseReleased" => Some("released".to_string()),
        "LeaseWithdrawn" => Some("withdrawn".to_string()),
        _ => None,
    })
}

/// When the first event of this kind about the token was heard.
pub fn when(heard: &[Heard], kind: &str, token: u64) -> Option<Ns> {
    heard.iter().find(|h| h.event["kind"] == kind && h.event["token"] == token).map(|h| h.at)
}

#[cfg(test)]
mod tests {
    use super::{Heard, ending, grants, host_of};
    use crate::fencing::stamps::Ns;
    use serde_json::json;

    #[test]
    fn the_story_of_a_lease_is_read_from_its_events() {
        let event = |at, event| Heard { at: Ns(at), event };
        let heard = [
            event(1, json!({"kind": "LeaseGranted", "token": 10, "host": "h1"})),
            event(2, json!({"kind": "LeaseExpired", "token": 10})),
            event(3, json!({"kind": "LeaseFenced", "token": 10, "evidence": {"kind": "ran-out"}})),
            event(4, json!({"kind": "LeaseGranted", "token": 20, "host": "h2"})),
            event(9, json!({"kind": "LeaseGranted", "token": 20, "host": "h2"})),
        ];
        assert_eq!(grants(&heard), [(10, Ns(1)), (20, Ns(4))].into());
        assert_eq!(ending(&heard, 10).as_deref(), Some("ran-out"));
        assert_eq!((ending(&heard, 20), host_of(&heard, 20).as_deref()), (None, Some("h2")));
    }
}
