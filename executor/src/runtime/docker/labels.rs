//! Whose container it is: names and labels. Called when containers are created, listed and found. A container whose labels do
//! not name this cluster and this host is never touched.

use std::collections::HashMap;

use crate::runtime::{InstanceKey, InstanceSpec, RuntimeError};

const CLUSTER: &str = "berth.cluster";
const HOST: &str = "berth.host";
const CONTAINER: &str = "berth.container";
const LEASE: &str = "berth.lease";
const TOKEN: &str = "berth.token";
const ATTEMPT: &str = "berth.attempt";

/// The cluster and host that this runtime works for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) cluster: String,
    pub(super) host: String,
}

/// The identity that a container's labels carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) key: InstanceKey,
    pub(super) lease: u64,
}

impl Owner {
    /// Label filter for everything of ours (the engine joins several with "and").
    pub(super) fn filters(&self) -> HashMap<String, Vec<String>> {
        HashMap::from([("label".to_owned(), vec![format!("{CLUSTER}={}", self.cluster), format!("{HOST}={}", self.host)])])
    }

    /// The same, narrowed to one instance.
    pub(super) fn filters_for(&self, key: &InstanceKey) -> HashMap<String, Vec<String>> {
        let mut filters = self.filters();
        filters.entry("label".to_owned()).or_default().extend([
            format!("{CONTAINER}={}", key.container),
            format!("{TOKEN}={}", key.token),
            format!("{ATTEMPT}={}", key.attempt),
        ]);
        filters
    }

    /// Who it is, if it is ours and its labels are whole.
    pub(super) fn identify(&self, labels: &HashMap<String, String>) -> Option<Identity> {
        if labels.get(CLUSTER) != Some(&self.cluster) || labels.get(HOST) != Some(&self.host) {
            return None;
        }
        let container = labels.get(CONTAINER)?.clone();
        let token = labels.get(TOKEN)?.parse().ok()?;
        let attempt = labels.get(ATTEMPT)?.parse().ok()?;
        let lease = labels.get(LEASE)?.parse().ok()?;
        Some(Identity { key: InstanceKey { container, token, attempt }, lease })
    }
}

pub(super) fn labels_of(spec: &InstanceSpec) -> HashMap<String, String> {
    HashMap::from([
        (CLUSTER.to_owned(), spec.cluster.clone()),
        (HOST.to_owned(), spec.host.clone()),
        (CONTAINER.to_owned(), spec.key.container.clone()),
        (LEASE.to_owned(), spec.lease.to_string()),
        (TOKEN.to_owned(), spec.key.token.to_string()),
        (ATTEMPT.to_owned(), spec.key.attempt.to_string()),
    ])
}

/// The container's name, if the engine allows it. The name is part of request paths, so nothing else may pass.
pub(super) fn container_name(key: &InstanceKey) -> Result<String, RuntimeError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if key.container.is_empty() || !key.container.chars().all(allowed) {
        let reason = format!("{:?} has characters that Docker does not allow in a name (a-z A-Z 0-9 _ . - are)", key.container);
        return Err(RuntimeError::InvalidSpec { what: "container name", reason });
    }
    Ok(key.instance_name())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "test")]

    use super::*;

    fn owner() -> Owner {
        Owner { cluster: "c1".to_owned(), host: "h1".to_owned() }
    }

    fn labels() -> HashMap<String, String> {
        [(CLUSTER, "c1"), (HOST, "h1"), (CONTAINER, "pg"), (LEASE, "7"), (TOKEN, "9"), (ATTEMPT, "2")]
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    #[test]
    fn whole_labels_identify_the_instance() {
        let key = InstanceKey { container: "pg".to_owned(), token: 9, attempt: 2 };
        assert_eq!(owner().identify(&labels()), Some(Identity { key, lease: 7 }));
    }

    #[test]
    fn labels_of_another_cluster_or_host_or_damaged_ones_identify_nothing() {
        for (name, value) in [(CLUSTER, "c2"), (HOST, "h2"), (TOKEN, "x"), (LEASE, ""), (ATTEMPT, "-1")] {
            let mut changed = labels();
            changed.insert(name.to_owned(), value.to_owned());
            assert_eq!(owner().identify(&changed), None, "{name}={value}");
        }
    }

    #[test]
    fn a_name_that_could_leave_the_request_path_is_refused() {
        for container in ["", "../x", "a/b", "a?b", "a b", "ü"] {
            let key = InstanceKey { container: container.to_owned(), token: 1, attempt: 1 };
            assert!(container_name(&key).is_err(), "{container:?}");
        }
        let key = InstanceKey { container: "my-db_1.x".to_owned(), token: 1, attempt: 1 };
        assert_eq!(container_name(&key).unwrap(), "berth-my-db_1.x-1-1");
    }
}
