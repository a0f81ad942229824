//! `berth node …`: the control nodes, each asked by itself; works without a quorum.

use clap::Subcommand;

use crate::client::nodes::NodeView;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::table::Table;

#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// All nodes of the group, and those that do not answer
    Ls,
    /// One node, by its number
    Show { node: u64 },
}

impl NodeCommand {
    /// # Errors
    /// Any [`Failure`].
    pub async fn run(self, cx: &mut Context) -> Result<(), Failure> {
        let nodes = reachable(cx).await?;
        match self {
            Self::Ls => cx.out.show(&nodes, || table(&nodes)),
            Self::Show { node } => {
                let found = nodes.iter().find(|n| n.node == Some(node));
                cx.out.record(found.ok_or_else(|| Failure::NotFound(format!("no node {node}: see `berth node ls`")))?)
            }
        }
    }
}

/// The nodes, if any answers at all.
///
/// # Errors
/// [`Failure::Unreachable`], another cluster.
pub async fn reachable(cx: &mut Context) -> Result<Vec<NodeView>, Failure> {
    let nodes = cx.client.nodes().await?;
    if nodes.iter().any(|n| n.reachable) {
        return Ok(nodes);
    }
    let tried: Vec<String> = nodes.iter().map(|n| format!("{}: {}", n.address, n.error.as_deref().unwrap_or_default())).collect();
    Err(Failure::Unreachable { tried: tried.join("; ") })
}

#[must_use]
pub fn table(nodes: &[NodeView]) -> String {
    let mut table = Table::new(&["NODE", "ADDRESS", "ROLE", "TERM", "LEADER", "QUORUM", "LOG", "APPLIED", "SNAPSHOT", "PROGRAM"]);
    let number = |n: Option<u64>| n.map(|n| n.to_string()).unwrap_or_default();
    for node in nodes {
        let silent = node.error.as_ref().map(|why| format!("silent: {why}"));
        table.row([
            number(node.node),
            node.address.clone(),
            silent.or(node.role.clone()).unwrap_or_default(),
            number(node.term),
            number(node.leader),
            if node.reachable { node.has_quorum.to_string() } else { String::new() },
            number(node.last_log_index),
            number(node.applied_index),
            number(node.snapshot_index),
            node.program.clone().unwrap_or_default(),
        ]);
    }
    table.text()
}
