//! S1 no-dangling: a removed object is referenced by nothing.

use crate::noun::container::Relocation;
use crate::state::ClusterState;

pub(super) fn check(after: &ClusterState) -> Vec<String> {
    let mut found = Vec::new();
    let mut need = |exists: bool, what: String| {
        if !exists {
            found.push(what);
        }
    };
    for lease in after.leases.values() {
        need(after.containers.contains_key(&lease.container), format!("lease {} names container {}", lease.id, lease.container));
        need(after.hosts.contains_key(&lease.host), format!("lease {} names host {}", lease.id, lease.host));
        for held in &lease.volumes {
            need(after.volumes.contains_key(&held.volume), format!("lease {} names volume {}", lease.id, held.volume));
        }
    }
    for container in after.containers.values() {
        for mount in &container.spec.volumes {
            need(after.volumes.contains_key(&mount.volume), format!("container {} names volume {}", container.id, mount.volume));
        }
        if let Some(Relocation::Move { to: Some(host) }) = &container.relocation {
            need(after.hosts.contains_key(host), format!("container {} is to move to host {host}", container.id));
        }
    }
    for session in after.sessions.values() {
        need(after.hosts.contains_key(&session.host), format!("session {} names host {}", session.id, session.host));
    }
    for host in after.hosts.values() {
        if let Some(session) = host.session {
            need(after.sessions.contains_key(&session), format!("host {} names session {session}", host.id));
        }
    }
    found
}
