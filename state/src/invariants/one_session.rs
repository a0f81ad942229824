//! I13 one-session: at most one live session per host, each with its pulse, and the host points at it.

use std::collections::BTreeMap;

use crate::state::ClusterState;

pub(super) fn check(after: &ClusterState) -> Vec<String> {
    let mut found = Vec::new();
    let mut hosts = BTreeMap::new();
    for session in after.sessions.values() {
        if let Some(other) = hosts.insert(&session.host, session.id) {
            found.push(format!("host {} has sessions {other} and {}", session.host, session.id));
        }
        if after.hosts.get(&session.host).and_then(|h| h.session) != Some(session.id) {
            found.push(format!("session {} is not the session of host {}", session.id, session.host));
        }
        if !after.pulses.contains_key(&session.id) {
            found.push(format!("session {} has no pulse", session.id));
        }
    }
    if after.pulses.len() != after.sessions.len() {
        found.push("a pulse without a session".to_owned());
    }
    found
}
