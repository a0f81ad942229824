//! `berth fence history`: every fence with its attempts and their output, from the event log, which keeps them for ever; the registry keeps the newest only.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use berth_state::ids::{ContainerId, LeaseId, NodeId, Revision, Time, Token};
use berth_state::noun::container::ContainerSpec;
use berth_state::noun::fence::{FenceMethod, GoneProof};
use berth_state::noun::lease::Evidence;
use berth_state::{Event, Fact};
use serde::Serialize;

use crate::context::Context;
use crate::failure::Failure;
use crate::noun::words::word;
use crate::output::table::printable;
use crate::output::time::utc;

/// `fence history -o json`.
#[derive(Clone, Debug, Serialize)]
struct Entry {
    token: Token,
    lease: LeaseId,
    host: String,
    container: String,
    volumes: Vec<String>,
    /// `None`: evidence came without an action.
    method: Option<FenceMethod>,
    started: Revision,
    started_time: Time,
    attempts: Vec<Attempt>,
    evidence: Option<Evidence>,
    done: Option<Revision>,
    done_time: Option<Time>,
    /// What proves that nothing of the holder is left on its host.
    gone: Option<GoneProof>,
    gone_time: Option<Time>,
}

#[derive(Clone, Debug, Serialize)]
struct Attempt {
    attempt: Revision,
    method: FenceMethod,
    agent: String,
    node: NodeId,
    timeout_ms: u64,
    began_time: Time,
    ended_time: Option<Time>,
    /// `None`: under way, or given up for the next one.
    ok: Option<bool>,
    output: String,
    given_up: bool,
}

/// What is known of a lease from its grant on.
#[derive(Clone)]
struct Granted {
    token: Token,
    host: String,
    container: String,
    volumes: Vec<String>,
}

#[derive(Default)]
struct Ledger {
    specs: BTreeMap<ContainerId, Vec<String>>,
    leases: BTreeMap<LeaseId, Granted>,
    entries: BTreeMap<Token, Entry>,
}

/// # Errors
/// Any [`Failure`].
pub async fn run(cx: &mut Context, of: Option<&str>) -> Result<(), Failure> {
    let mut ledger = Ledger::default();
    let mut take = |events: Vec<Event>| {
        events.iter().for_each(|event| ledger.note(event));
        Ok(ControlFlow::Continue(()))
    };
    let _ = cx.client.history(Revision(0), 0, &mut take).await?;
    let about =
        |entry: &Entry| of.is_none_or(|of| entry.host == of || entry.container == of || entry.volumes.iter().any(|volume| volume == of));
    let mut entries: Vec<Entry> = ledger.entries.into_values().filter(about).collect();
    entries.sort_by_key(|entry| (entry.started, entry.token));
    if let (Some(of), true) = (of, entries.is_empty()) {
        known(cx, of).await?;
    }
    cx.out.show(&entries, || entries.iter().map(text).collect())
}

/// Nothing was ever fenced of it, which is no error; a name that is nothing is one.
async fn known(cx: &mut Context, of: &str) -> Result<(), Failure> {
    let registry = cx.client.read().await?;
    if registry.host(of).is_ok() || registry.volume(of).is_ok() || registry.container(of).is_ok() {
        return Ok(());
    }
    Err(Failure::NotFound(format!("no fence of {of}, and no host, volume or container of that name")))
}

impl Ledger {
    fn note(&mut self, event: &Event) {
        let (at, time) = (event.revision, event.time);
        if let Fact::ContainerAdded { container, spec, .. } | Fact::ContainerUpdated { container, spec, .. } = &event.fact {
            self.specs.insert(container.clone(), volumes(spec));
        } else if let Fact::ContainerRemoved { container } = &event.fact {
            self.specs.remove(container);
        } else if let Fact::LeaseGranted { lease, token, container, host, .. } = &event.fact {
            let volumes = self.specs.get(container).cloned().unwrap_or_default();
            self.leases.insert(*lease, Granted { token: *token, host: host.to_string(), container: container.to_string(), volumes });
        } else if let Fact::LeaseReleased { lease, .. } | Fact::LeaseWithdrawn { lease, .. } = &event.fact {
            self.leases.remove(lease);
        } else if let Fact::FenceStarted { lease, method, .. } = &event.fact {
            self.entry(*lease, at, time, |entry| entry.method = Some(*method));
        } else if let Fact::LeaseFenced { lease, evidence, .. } = &event.fact {
            self.entry(*lease, at, time, |entry| {
                (entry.evidence, entry.done, entry.done_time) = (Some(evidence.clone()), Some(at), Some(time));
            });
            self.leases.remove(lease);
        } else if let Fact::HolderGone { token, proof, .. } = &event.fact
            && let Some(entry) = self.entries.get_mut(token)
        {
            (entry.gone, entry.gone_time) = (Some(proof.clone()), Some(time));
        } else {
            self.attempts(event);
        }
    }

    fn attempts(&mut self, event: &Event) {
        if let Fact::FenceAttempted { attempt, instead, .. } = &event.fact {
            for old in self.entries.values_mut().flat_map(|entry| &mut entry.attempts).filter(|old| Some(old.attempt) == *instead) {
                old.given_up = true;
            }
            for token in &attempt.tokens {
                let Some(entry) = self.entries.get_mut(token) else { continue };
                entry.attempts.push(Attempt {
                    attempt: attempt.id,
                    method: attempt.method,
                    agent: attempt.agent.clone(),
                    node: attempt.node,
                    timeout_ms: attempt.timeout_ms,
                    began_time: event.time,
                    ended_time: None,
                    ok: None,
                    output: String::new(),
                    given_up: false,
                });
            }
        } else if let Fact::FenceTried { attempt, ok, output, .. } = &event.fact {
            for known in self.entries.values_mut().flat_map(|entry| &mut entry.attempts).filter(|known| known.attempt == *attempt) {
                (known.ok, known.ended_time) = (Some(*ok), Some(event.time));
                known.output.clone_from(output);
            }
        }
    }

    /// The fence of a lease, made when it is first heard of.
    fn entry(&mut self, lease: LeaseId, at: Revision, time: Time, change: impl FnOnce(&mut Entry)) {
        let Some(granted) = self.leases.get(&lease).cloned() else { return };
        let entry = self.entries.entry(granted.token).or_insert_with(|| Entry {
            token: granted.token,
            lease,
            host: granted.host,
            container: granted.container,
            volumes: granted.volumes,
            method: None,
            started: at,
            started_time: time,
            attempts: Vec::new(),
            evidence: None,
            done: None,
            done_time: None,
            gone: None,
            gone_time: None,
        });
        change(entry);
    }
}

fn volumes(spec: &ContainerSpec) -> Vec<String> {
    spec.volumes.iter().map(|mount| mount.volume.to_string()).collect()
}

fn text(entry: &Entry) -> String {
    let volumes = if entry.volumes.is_empty() { String::new() } else { format!(", volumes {}", entry.volumes.join(",")) };
    let mut out =
        format!("token {}  lease {} of container {} on host {}{volumes}\n", entry.token, entry.lease, entry.container, entry.host);
    // Without an action there is only the evidence.
    if let Some(method) = entry.method {
        out.push_str(&format!("  {}  started: {}\n", utc(entry.started_time.0), word(&method)));
    }
    for attempt in &entry.attempts {
        out.push_str(&attempt_text(attempt));
    }
    let done = match (&entry.evidence, entry.done_time) {
        (Some(evidence), Some(time)) => format!("  {}  fenced: {}\n", utc(time.0), evidence_text(evidence)),
        (_, _) => "  not fenced yet\n".to_owned(),
    };
    out.push_str(&done);
    if let (Some(proof), Some(time)) = (&entry.gone, entry.gone_time) {
        out.push_str(&format!("  {}  nothing of it is left: {}\n", utc(time.0), gone_text(proof)));
    }
    out
}

fn attempt_text(attempt: &Attempt) -> String {
    let how = match (attempt.ok, attempt.given_up) {
        (Some(true), _) => "ok",
        (Some(false), _) => "failed",
        (None, true) => "given up, its node went away",
        (None, false) => "under way",
    };
    let head = format!(
        "  {}  attempt {}: {} ({}) on node {}: {how}\n",
        utc(attempt.began_time.0),
        attempt.attempt,
        printable(&attempt.agent),
        word(&attempt.method),
        attempt.node
    );
    let lines = attempt.output.lines().filter(|line| !line.trim().is_empty());
    head + &lines.map(|line| format!("      {}\n", printable(line))).collect::<String>()
}

fn evidence_text(evidence: &Evidence) -> String {
    match evidence {
        Evidence::RanOut { .. } | Evidence::StorageCut | Evidence::PoweredOff => evidence.label().to_owned(),
        Evidence::OperatorConfirmed { name, reason } => format!("{} by {}: {}", evidence.label(), printable(name), printable(reason)),
    }
}

fn gone_text(proof: &GoneProof) -> String {
    match proof {
        GoneProof::Reported => "its executor says so".to_owned(),
        GoneProof::Rebooted => "its host has booted since".to_owned(),
        GoneProof::OperatorConfirmed { name, reason } => format!("by the word of {}: {}", printable(name), printable(reason)),
    }
}
