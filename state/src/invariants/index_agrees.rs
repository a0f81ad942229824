//! S3 index-agrees: the derived indices are what the objects say.

use crate::state::{ClusterState, Index};

pub(super) fn check(after: &ClusterState) -> Vec<String> {
    let mut fresh = Index::default();
    for lease in after.leases.values() {
        fresh.add_lease(lease);
    }
    let mut found = Vec::new();
    // By number and oldest only: 16,384 of them after every entry would take all the time of a test.
    let oldest = after.index.request_order.first();
    let known = oldest.is_none_or(|(at, id)| after.requests.get(id).is_some_and(|answered| answered.at == *at));
    if after.index.request_order.len() != after.requests.len() || !known {
        found.push("the order of requests differs from the requests".to_owned());
    }
    let (a, b) = (&fresh, &after.index);
    if (&a.by_container, &a.by_volume, &a.by_token, &a.by_host) != (&b.by_container, &b.by_volume, &b.by_token, &b.by_host) {
        found.push("the lease index differs from the leases".to_owned());
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{HostId, LeaseId, RequestId, Revision};

    #[test]
    fn an_index_that_names_what_is_not_there_is_noticed() {
        assert_eq!(check(&ClusterState::default()), Vec::<String>::new());
        let mut state = ClusterState::default();
        state.index.by_host.insert((HostId::new("h1").expect("a name"), LeaseId(1)));
        assert_eq!(check(&state).len(), 1);
        let mut state = ClusterState::default();
        state.index.request_order.insert((Revision(1), RequestId([1; 16])));
        assert_eq!(check(&state).len(), 1);
    }
}
