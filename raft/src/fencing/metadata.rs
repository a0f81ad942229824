//! Whether a fence agent is on this control node and has the options it needs, by its own `metadata` (ClusterLabs interface). Called by the API before a host
//! with fence agents is registered, on the leader; must never run any other action of an agent, nor be taken as proof that fencing works.

use std::collections::BTreeSet;
use std::time::Duration;

use berth_state::ClusterState;
use berth_state::command::Order;
use berth_state::noun::host::{FenceAgent, HostSpec};

use crate::fencing::program::{find, run};

/// For one agent; they are interpreted programs, and slow to start.
const AT_MOST: Duration = Duration::from_secs(5);

/// Agents of the order that the host did not have with the same options. What it has already was looked at then, and must not stand in the way of
/// another change while this node leads.
#[must_use]
pub fn new_agents(state: &ClusterState, order: &Order) -> Vec<FenceAgent> {
    // Only these two bring agents.
    let (host, spec) = if let Order::AddHost(add) = order {
        (&add.host, &add.spec)
    } else if let Order::UpdateHost(update) = order {
        (&update.host, &update.spec)
    } else {
        return Vec::new();
    };
    let known = state.host(host).map(|host| &host.spec);
    let same = |agent: &FenceAgent, known: &HostSpec| known.fence_agents.iter().any(|other| shape(other) == shape(agent));
    spec.fence_agents.iter().filter(|agent| !known.is_some_and(|known| same(agent, known))).cloned().collect()
}

fn shape(agent: &FenceAgent) -> (&str, BTreeSet<&String>) {
    (&agent.agent, names(agent))
}

fn names(agent: &FenceAgent) -> BTreeSet<&String> {
    agent.options.keys().chain(agent.secrets.0.keys()).collect()
}

/// # Errors
/// It is not here, does not answer, or lacks a required option; for people, without secrets.
pub async fn check(agent: &FenceAgent) -> Result<(), String> {
    let name = &agent.agent;
    if find(name).is_none() {
        return Err(format!(
            "the fence agent {name} is not installed on this control node: install it on each control node (Debian package fence-agents; fence_xvm: fence-virt)"
        ));
    }
    let ran = run(name, &[], "action=metadata\n", AT_MOST).await.map_err(|error| format!("{error}; it was asked for its metadata"))?;
    // A program of one's own may do without; then nothing more is known about it.
    let Some(missing) = missing(&ran.stdout, &names(agent)) else { return Ok(()) };
    if missing.is_empty() {
        return Ok(());
    }
    Err(format!("the fence agent {name} needs the option {}: see its manual page", missing.join(", ")))
}

struct Parameter<'a> {
    name: &'a str,
    /// Older names of it.
    obsoletes: Vec<&'a str>,
    required: bool,
}

/// Required options that are not given, nor by an older name. `None`: this is no metadata of an agent.
fn missing(xml: &str, given: &BTreeSet<&String>) -> Option<Vec<String>> {
    let document = roxmltree::Document::parse(xml).ok()?;
    let root = document.root_element();
    if root.tag_name().name() != "resource-agent" {
        return None;
    }
    let parameters = root.descendants().filter(|node| node.has_tag_name("parameter")).filter_map(|node| {
        let yes = |name| node.attribute(name) == Some("1");
        let default = node.children().any(|child| child.has_tag_name("content") && child.has_attribute("default"));
        let required = yes("required") && !yes("deprecated") && !default;
        let obsoletes = node.attribute("obsoletes").map(|names| names.split([',', ' ']).collect()).unwrap_or_default();
        Some(Parameter { name: node.attribute("name")?, obsoletes, required })
    });
    let has = |name: &str| given.iter().any(|known| known.replace('-', "_") == name);
    let lacking = parameters.filter(|p| p.required && p.name != "action" && !has(p.name) && !p.obsoletes.iter().any(|old| has(old)));
    Some(lacking.map(|p| p.name.to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const XML: &str = r#"<?xml version="1.0" ?>
<resource-agent name="fence_x"><parameters>
<parameter name="action" required="1"><content type="string"/></parameter>
<parameter name="ip" required="1" obsoletes="ipaddr"><content type="string"/></parameter>
<parameter name="ipaddr" required="1" deprecated="1"><content type="string"/></parameter>
<parameter name="type" required="1"><content type="string" default="file"/></parameter>
<parameter name="plug" required="1" obsoletes="port"/>
<parameter name="username" required="0"/>
</parameters></resource-agent>"#;

    fn lacks(given: &[&str]) -> Option<Vec<String>> {
        let given: Vec<String> = given.iter().map(|name| (*name).to_owned()).collect();
        missing(XML, &given.iter().collect())
    }

    #[test]
    fn required_options_are_those_without_a_default_by_their_new_or_old_name() {
        assert_eq!(lacks(&[]), Some(vec!["ip".to_owned(), "plug".to_owned()]));
        assert_eq!(lacks(&["ipaddr", "port"]), Some(Vec::new()));
        assert_eq!(lacks(&["ip", "username"]), Some(vec!["plug".to_owned()]));
    }

    #[test]
    fn what_is_no_metadata_says_nothing() {
        for text in ["", "ok", "<other/>", "<resource-agent>", "<!DOCTYPE a [<!ENTITY b \"c\">]><resource-agent/>"] {
            assert_eq!(missing(text, &BTreeSet::new()), None, "{text}");
        }
    }
}
