//! How a control node is run, and what that means in openraft's terms. Filled in by the command line and by tests.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use berth_state::ids::ClusterId;
use openraft::{Config, ConfigError, SnapshotPolicy};

use crate::clock::{Clock, SystemClock};
use crate::node::members::InitialMembers;
use crate::peer::connect::{Connector, TcpConnector};

/// Requests openraft queues for its core. [`IN_FLIGHT`] proposals stay far below it, so that messages of peers always find room.
const API_QUEUE: u64 = 4_096;
/// Proposals on their way at once; beyond it the answer is Busy. Covers some thousand hosts writing at the same moment.
pub const IN_FLIGHT: usize = 2_048;
/// Proposals that go to the log in one write.
const BATCH: u64 = 512;
/// Entries in one message to a follower; the store cuts at about 2 MiB before that.
const PAYLOAD_ENTRIES: u64 = 512;
/// Entries in one write of a follower's log, over several messages.
const APPEND_ENTRIES: u64 = 2_048;
/// A snapshot during which nothing moved for three quarters of this is given up and begun again.
const SNAPSHOT_IDLE_MS: u64 = 10_000;

/// A follower's fsync may take this long before its leader sends the same entries again; apart from the election timeout, which heartbeats decide.
const SLOW_FSYNC: Duration = Duration::from_secs(1);

/// When a node believes that the leader is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    pub heartbeat_ms: u64,
    pub election_min_ms: u64,
    pub election_max_ms: u64,
}

impl Default for Timing {
    /// An fsync of 85 ms was seen on an ordinary disk; openraft's own 50 and 150-300 ms would depose a leader for it. Longer, and the death of a
    /// leader would cost hosts their leases: see [`Timing::stands_after_ms`].
    fn default() -> Self {
        Self { heartbeat_ms: 100, election_min_ms: 500, election_max_ms: 1_000 }
    }
}

impl Timing {
    /// How long after the last word of a dead leader a follower stands for election, at the latest: openraft lets the leader's lease
    /// (`election_max_ms`) run out first, and only then counts its random election timeout.
    #[must_use]
    pub fn stands_after_ms(self) -> u64 {
        self.election_max_ms.saturating_mul(2)
    }
}

/// How the log is kept short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compaction {
    /// A snapshot is taken when this many entries have been applied since the last one.
    pub snapshot_every: u64,
    /// Entries that stay in the log although a snapshot has them, so that a follower that was away for a moment needs no snapshot.
    pub keep_entries: u64,
}

impl Default for Compaction {
    fn default() -> Self {
        Self { snapshot_every: 20_000, keep_entries: 10_000 }
    }
}

/// One control node.
#[derive(Clone)]
pub struct NodeConfig {
    pub id: u64,
    pub cluster: ClusterId,
    /// Belongs to this node alone.
    pub data_dir: PathBuf,
    /// Where the others reach this node: `host:port`. Part of the group's membership, so it stays what it was when the node joined.
    pub advertise: String,
    /// What a new group begins with; the same on all its nodes. `None`: this node waits until it is added to a group.
    pub initial_members: Option<InitialMembers>,
    pub timing: Timing,
    pub compaction: Compaction,
    pub clock: Arc<dyn Clock>,
    pub connector: Arc<dyn Connector>,
}

impl NodeConfig {
    /// A node with the usual timing on the machine's own clock and network.
    #[must_use]
    pub fn new(id: u64, cluster: ClusterId, data_dir: PathBuf, advertise: String, initial_members: Option<InitialMembers>) -> Self {
        Self {
            id,
            cluster,
            data_dir,
            advertise,
            initial_members,
            timing: Timing::default(),
            compaction: Compaction::default(),
            clock: Arc::new(SystemClock::new()),
            connector: Arc::new(TcpConnector::default()),
        }
    }

    /// How long a leader may not have been heard before this node says that it knows none.
    #[must_use]
    pub fn silence_ms(&self) -> u64 {
        self.timing.stands_after_ms()
    }

    /// For an append with entries; it waits for the follower's fsync.
    #[must_use]
    pub fn append_deadline(&self) -> Duration {
        Duration::from_millis(self.timing.election_min_ms).max(SLOW_FSYNC)
    }

    /// # Errors
    /// The timings contradict each other.
    pub fn openraft(&self) -> Result<Config, ConfigError> {
        let config = Config {
            cluster_name: self.cluster.to_string(),
            heartbeat_interval: self.timing.heartbeat_ms,
            election_timeout_min: self.timing.election_min_ms,
            election_timeout_max: self.timing.election_max_ms,
            install_snapshot_timeout: SNAPSHOT_IDLE_MS,
            snapshot_policy: SnapshotPolicy::LogsSinceLast(self.compaction.snapshot_every),
            max_in_snapshot_log_to_keep: self.compaction.keep_entries,
            // Must be above snapshot_every, or a snapshot could not end the lag.
            replication_lag_threshold: self.compaction.snapshot_every.saturating_mul(2),
            max_payload_entries: PAYLOAD_ENTRIES,
            max_append_entries: Some(APPEND_ENTRIES),
            api_channel_size: Some(API_QUEUE),
            api_batch_capacity: BATCH,
            // A node that was cut off asks before it raises its term, and so does not depose a healthy leader when it is back.
            enable_pre_vote: Some(true),
            // On by default in openraft: a restarted leader would lead on without an election, on a state that may be behind.
            enable_leader_restore: Some(false),
            ..Config::default()
        };
        config.validate()
    }
}

#[cfg(test)]
mod tests {
    use berth_state::noun::cluster::{Settings, hold_ms};

    use super::*;

    #[test]
    fn a_leader_can_die_without_costing_a_default_lease() {
        let ttl_ms = Settings::default().ttl_ms;
        // Renewed every third of the ttl; the holder's margin is half a second; and the election itself, and finding the new leader, take time too.
        let left_after_the_last_renewal = hold_ms(ttl_ms) - 500 - ttl_ms / 3;
        assert!(2 * Timing::default().stands_after_ms() <= left_after_the_last_renewal, "half of what is left has to suffice");
    }

    #[test]
    fn the_traps_of_openraft_are_switched_off() {
        let config = NodeConfig::new(1, ClusterId([1; 16]), PathBuf::new(), "a:1".to_owned(), None).openraft().unwrap();
        assert_eq!(config.enable_leader_restore, Some(false));
        assert_eq!(config.enable_pre_vote, Some(true));
        assert_eq!(config.allow_log_reversion, None);
        assert!(config.api_channel_size.unwrap() >= 2 * IN_FLIGHT as u64, "messages of peers would wait behind proposals");
    }
}
