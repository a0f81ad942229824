//! The first membership of a group, and the check that an existing store is still this node's. Called once, by start.
//!
//! Every node of a new group is started with the same list. The one with the lowest id writes it as the first log entry and stands for
//! election; the others wait for a leader. It would be safe if all of them did: an initial entry is one of term 0, below every elected
//! leader's, and is overwritten unless its writer wins; but one writer is enough. A node that lost its data and is started with the old
//! list writes the same first entry again and is then refused by all who knew its former store (`peer::identity`).

use std::collections::BTreeMap;

use crate::node::config::NodeConfig;
use crate::node::error::NodeError;
use crate::types::{Member, Membership};

/// Whether id and address agree with the list, when there is one.
pub(crate) fn check_list(config: &NodeConfig) -> Result<(), NodeError> {
    let id = config.id;
    if id == 0 {
        return Err(NodeError::IdZero);
    }
    let Some(list) = &config.initial_members else { return Ok(()) };
    let listed = list.get(id).ok_or_else(|| NodeError::NotInList { id, members: list.to_string() })?;
    if listed.address != config.advertise {
        return Err(NodeError::ListedElsewhere { id, advertise: config.advertise.clone(), listed: listed.address.clone() });
    }
    Ok(())
}

/// Whether id and address agree with what the store knows. The list plays no part any more.
pub(crate) fn check_store(config: &NodeConfig, membership: &Membership) -> Result<(), NodeError> {
    // A node that only voted, or waits to be added, knows no members yet.
    if membership.nodes().next().is_none() {
        return check_list(config);
    }
    let id = config.id;
    let recorded = membership.get_node(&id).ok_or(NodeError::Removed { id })?;
    if recorded.address != config.advertise {
        return Err(NodeError::Moved { id, advertise: config.advertise.clone(), recorded: recorded.address.clone() });
    }
    Ok(())
}

/// What this node has to write as the first entry of a new group, if that is its task.
pub(crate) fn first_entry(config: &NodeConfig, pristine: bool) -> Option<BTreeMap<u64, Member>> {
    let list = config.initial_members.as_ref()?;
    (pristine && list.lowest() == config.id).then(|| list.members().clone())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::PathBuf;

    use berth_state::ids::ClusterId;

    use super::*;

    fn config(id: u64, advertise: &str, list: Option<&str>) -> NodeConfig {
        NodeConfig::new(id, ClusterId([1; 16]), PathBuf::new(), advertise.to_owned(), list.map(|l| l.parse().unwrap()))
    }

    const LIST: Option<&str> = Some("1=a:1,2=b:2,3=c:3");

    #[test]
    fn only_the_lowest_id_with_an_empty_store_begins_the_group() {
        assert_eq!(first_entry(&config(1, "a:1", LIST), true).map(|m| m.len()), Some(3));
        assert_eq!(first_entry(&config(1, "a:1", LIST), false), None);
        assert_eq!(first_entry(&config(2, "b:2", LIST), true), None);
        assert_eq!(first_entry(&config(1, "a:1", None), true), None);
    }

    #[test]
    fn a_node_that_contradicts_the_list_is_refused() {
        assert!(check_list(&config(2, "b:2", LIST)).is_ok());
        assert!(matches!(check_list(&config(2, "b:3", LIST)), Err(NodeError::ListedElsewhere { .. })));
        assert!(matches!(check_list(&config(4, "d:4", LIST)), Err(NodeError::NotInList { id: 4, .. })));
        assert!(matches!(check_list(&config(0, "d:4", None)), Err(NodeError::IdZero)));
    }

    #[test]
    fn an_existing_store_decides_and_the_list_does_not() {
        let nodes = BTreeMap::from([(2, Member { address: "b:2".to_owned() })]);
        let known = Membership::new(vec![BTreeSet::from([2])], nodes).unwrap();
        assert!(check_store(&config(2, "b:2", Some("7=x:1")), &known).is_ok());
        assert!(matches!(check_store(&config(2, "b:9", Some("2=b:9")), &known), Err(NodeError::Moved { .. })));
        assert!(matches!(check_store(&config(3, "c:3", None), &known), Err(NodeError::Removed { id: 3 })));
    }

    #[test]
    fn a_store_without_members_falls_back_to_the_list() {
        assert!(check_store(&config(2, "b:2", LIST), &Membership::default()).is_ok());
        assert!(matches!(check_store(&config(2, "b:9", LIST), &Membership::default()), Err(NodeError::ListedElsewhere { .. })));
    }
}
