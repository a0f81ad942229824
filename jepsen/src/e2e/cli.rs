//! The product as its users call it: the `berth` binary with `-o json`, each call bounded. Called by the cluster, the cases and the writer (which has no
//! other way to find the primary, as no client has). Must never reach around the command line.

use crate::lab::run_command;
use anyhow::{Context, Result};
use berth_state::ids::Token;
use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

const BOUND: Duration = Duration::from_secs(20);

/// Where a container is, by `berth ps`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    pub host: String,
    pub token: Token,
    /// Its lease is active, and its instance runs and is healthy.
    pub ready: bool,
}

/// The leading control node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leader {
    pub node: u64,
    pub address: String,
}

/// A client of one cluster.
#[derive(Debug, Clone)]
pub struct Cli {
    binary: PathBuf,
    endpoints: String,
}

impl Cli {
    pub fn new(binary: PathBuf, endpoints: String) -> Self {
        Self { binary, endpoints }
    }

    /// Runs `berth ARGS` and returns its stdout.
    pub fn run(&self, args: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.binary);
        command.args(args).env("BERTH_ENDPOINTS", &self.endpoints);
        run_command(BOUND, command, "")
    }

    /// The same with `-o json`, parsed.
    pub fn json(&self, args: &[&str]) -> Result<Value> {
        let said = self.run(&[args, &["-o", "json"]].concat())?;
        serde_json::from_str(&said).with_context(|| format!("`berth {}` printed no JSON: {said}", args.join(" ")))
    }

    /// Where `container` is; `None` while it has no lease.
    pub fn placed(&self, container: &str) -> Result<Option<Placed>> {
        let all = self.json(&["ps"])?;
        Ok(rows(&all).iter().find(|row| row["container"] == container).and_then(placed))
    }

    /// The node that leads with a majority, if there is one now.
    pub fn leader(&self) -> Result<Option<Leader>> {
        let leader = &self.json(&["status"])?["leader"];
        let address = leader["address"].as_str().map(str::to_string);
        Ok(leader["node"].as_u64().zip(address).map(|(node, address)| Leader { node, address }))
    }

    /// The same client, asking only the leader: what it was told there, it finds there again, which a follower may not have yet.
    pub fn at_leader(&self) -> Result<Self> {
        let leader = self.leader()?.context("no node leads: is there a quorum? (berth status)")?;
        Ok(Self { binary: self.binary.clone(), endpoints: leader.address })
    }

    /// The newest log entry that node `id` itself has applied; `None` while it does not answer.
    pub fn applied_index(&self, id: u64) -> Result<Option<u64>> {
        let nodes = self.json(&["node", "ls"])?;
        Ok(rows(&nodes).iter().find(|row| row["node"] == id).and_then(|row| row["applied_index"].as_u64()))
    }

    /// Health of a host, by `berth host ls`.
    pub fn host_health(&self, host: &str) -> Result<Option<String>> {
        let all = self.json(&["host", "ls"])?;
        let row = rows(&all).iter().find(|row| row["id"] == host).cloned();
        Ok(row.and_then(|row| row["health"].as_str().map(str::to_string)))
    }
}

/// The rows of a list, which is an array.
fn rows(list: &Value) -> &[Value] {
    list.as_array().map_or(&[], Vec::as_slice)
}

fn placed(row: &Value) -> Option<Placed> {
    let text = |key: &str| row[key].as_str().unwrap_or_default();
    let host = row["host"].as_str()?.to_string();
    let ready = text("phase") == "active" && text("state") == "running" && text("health") == "healthy";
    Some(Placed { host, token: Token(row["token"].as_u64()?), ready })
}
