//! `berth server`: runs one control node until SIGTERM or SIGINT. Parses and checks its flags; what runs is `berth_raft::server`.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, ensure};
use berth_raft::node::{InitialMembers, NodeConfig, Timing};
use berth_raft::server::{self, ServerConfig};
use berth_state::ids::ClusterId;
use berth_state::noun::cluster::Settings;

use crate::daemon::stop_on_signal;

/// Run a control node
#[derive(Debug, clap::Args)]
pub struct ServerArgs {
    /// This node's number in the group, above 0; never given to another node
    #[arg(long, env = "BERTH_NODE_ID")]
    node_id: u64,
    /// Folder for log, state and snapshots; belongs to this node alone
    #[arg(long, env = "BERTH_DATA_DIR")]
    data_dir: PathBuf,
    /// Address and port to listen on, for clients, executors and the other nodes
    #[arg(long, env = "BERTH_LISTEN", default_value = "127.0.0.1:7400")]
    listen: SocketAddr,
    /// host:port under which the others reach this node; default: the listen address
    #[arg(long, env = "BERTH_ADVERTISE")]
    advertise: Option<String>,
    /// The cluster's id: 32 hex digits, the same on all nodes, never changed
    #[arg(long, env = "BERTH_CLUSTER_ID")]
    cluster_id: ClusterId,
    /// The nodes a new group begins with: 1=host:port,2=host:port,3=host:port; the same on all of them
    #[arg(long, env = "BERTH_INITIAL_MEMBERS")]
    initial_members: Option<InitialMembers>,
    /// Time to live of leases in a new cluster; later: berth settings set --ttl
    #[arg(long, default_value = "10s", value_parser = crate::parse::duration::milliseconds)]
    ttl: u64,
    /// A leader that is silent for three to four times this is replaced; the same on all nodes, and well above what an fsync takes
    #[arg(long, default_value = "500ms", value_parser = crate::parse::duration::milliseconds)]
    election_timeout: u64,
}

/// Less than an fsync may take on an ordinary disk, and more than anybody wants to wait.
const ELECTION_TIMEOUTS_MS: std::ops::RangeInclusive<u64> = 100..=60_000;

impl ServerArgs {
    fn config(self) -> anyhow::Result<ServerConfig> {
        let advertise = match self.advertise {
            Some(advertise) => advertise,
            None => {
                ensure!(
                    !self.listen.ip().is_unspecified(),
                    "--listen {} is no address others can call: say --advertise host:port",
                    self.listen
                );
                self.listen.to_string()
            }
        };
        let settings = Settings { ttl_ms: self.ttl, ..Settings::default() };
        let bounds = Settings::MIN_TTL_MS..=Settings::MAX_TTL_MS;
        ensure!(bounds.contains(&self.ttl), "--ttl: {} to {} ms", bounds.start(), bounds.end());
        let bounds = ELECTION_TIMEOUTS_MS;
        ensure!(bounds.contains(&self.election_timeout), "--election-timeout: {} to {} ms", bounds.start(), bounds.end());
        std::fs::create_dir_all(&self.data_dir).with_context(|| format!("cannot create the data folder {}", self.data_dir.display()))?;
        let mut node = NodeConfig::new(self.node_id, self.cluster_id, self.data_dir, advertise, self.initial_members);
        let (heartbeat_ms, election_min_ms) = (self.election_timeout / 5, self.election_timeout);
        node.timing = Timing { heartbeat_ms, election_min_ms, election_max_ms: election_min_ms * 2 };
        Ok(ServerConfig { node, cluster: self.cluster_id, settings, listen: self.listen })
    }
}

/// Runs until a signal asks it to stop.
///
/// # Errors
/// Bad flags, a taken port, a foreign or damaged store; the text says what to do.
pub async fn run(args: ServerArgs) -> anyhow::Result<()> {
    let config = args.config()?;
    server::run(config, stop_on_signal()?, |_| ()).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        server: ServerArgs,
    }

    #[test]
    fn without_the_flag_a_dead_leader_is_replaced_as_fast_as_the_node_means_to() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().display().to_string();
        let cluster = "1".repeat(32);
        let line = Line::parse_from(["server", "--node-id", "1", "--cluster-id", &cluster, "--data-dir", &data]);
        assert_eq!(line.server.config().unwrap().node.timing, Timing::default(), "chosen so that a default lease outlasts an election");
    }
}
