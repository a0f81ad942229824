//! `berth status`: the cluster at a glance. Asks each node by itself, so that it says what can be said without a quorum, and then ends with exit
//! code 5.

use berth_state::ids::Revision;
use berth_state::noun::cluster::Settings;
use berth_state::noun::container::Desired;
use berth_state::noun::host::{Health, Scheduling};
use berth_state::noun::lease::Phase;
use serde::Serialize;

use crate::client::nodes::NodeView;
use crate::client::registry::Registry;
use crate::context::Context;
use crate::failure::Failure;
use crate::noun::container::row::Row;
use crate::noun::node;

/// `status -o json`.
#[derive(Debug, Serialize)]
struct Status {
    cluster: Option<String>,
    quorum: bool,
    leader: Option<LeaderRef>,
    nodes: Vec<NodeView>,
    /// `None`: no node gave its registry away.
    registry: Option<Counts>,
}

#[derive(Debug, Serialize)]
struct LeaderRef {
    node: Option<u64>,
    address: String,
    term: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Counts {
    revision: Revision,
    /// From one node's own copy, because there is no quorum (or --stale): may be old.
    stale: bool,
    format: Option<u32>,
    incarnation: Option<u64>,
    settings: Option<Settings>,
    hosts: HostCounts,
    volumes: usize,
    containers: ContainerCounts,
    leases: LeaseCounts,
    /// Begun and without evidence yet.
    open_fences: usize,
    /// Hosts where a fenced holder is not yet known to be gone.
    unclean_hosts: usize,
    /// Volumes of which two holders are suspected.
    suspect_volumes: usize,
}

#[derive(Debug, Default, Serialize)]
struct HostCounts {
    total: usize,
    live: usize,
    suspect: usize,
    down: usize,
    cordoned: usize,
    draining: usize,
}

#[derive(Debug, Default, Serialize)]
struct ContainerCounts {
    total: usize,
    /// That are to run.
    desired: usize,
    running: usize,
    pending: usize,
    finished: usize,
}

#[derive(Debug, Default, Serialize)]
struct LeaseCounts {
    total: usize,
    granted: usize,
    active: usize,
    closing: usize,
    expired: usize,
}

/// # Errors
/// Any [`Failure`]; [`Failure::NoQuorum`] after what could be said was said.
pub async fn run(cx: &mut Context) -> Result<(), Failure> {
    let nodes = node::reachable(cx).await?;
    let newest = nodes.iter().filter(|n| n.leads()).max_by_key(|n| n.term);
    let leader = newest.map(|n| LeaderRef { node: n.node, address: n.address.clone(), term: n.term });
    let quorum = leader.is_some();
    let registry = if quorum {
        cx.client.read().await.map(|r| (r, cx.client.reads_stale()))
    } else {
        cx.client.read_from(&nodes).await.map(|r| (r, true))
    };
    let cluster = nodes.iter().find_map(|n| n.cluster.clone());
    let status = Status { cluster, quorum, leader, nodes, registry: registry.as_ref().ok().map(|(r, stale)| counts(r, *stale)) };
    cx.out.show(&status, || text(&status))?;
    if !quorum {
        let silent = status.nodes.iter().filter(|n| !n.reachable).count();
        let why = format!("no leader with a majority; {silent} of {} known nodes do not answer", status.nodes.len());
        return Err(Failure::NoQuorum { why });
    }
    registry.map(|_| ())
}

fn counts(registry: &Registry, stale: bool) -> Counts {
    let cluster = registry.cluster.as_ref();
    let rows = Row::all(registry);
    let in_state = |state: &str| rows.iter().filter(|r| r.state == state).count();
    let in_phase = |phase: Phase| registry.leases.iter().filter(|l| l.phase == phase).count();
    let healthy = |health: Health| registry.hosts.iter().filter(|h| h.health == health).count();
    let scheduled = |scheduling: Scheduling| registry.hosts.iter().filter(|h| h.scheduling == scheduling).count();
    Counts {
        revision: registry.revision,
        stale,
        format: cluster.map(|c| c.format),
        incarnation: cluster.map(|c| c.incarnation.0),
        settings: cluster.map(|c| c.settings),
        hosts: HostCounts {
            total: registry.hosts.len(),
            live: healthy(Health::Live),
            suspect: healthy(Health::Suspect),
            down: healthy(Health::Down),
            cordoned: scheduled(Scheduling::Cordoned),
            draining: scheduled(Scheduling::Draining),
        },
        volumes: registry.volumes.len(),
        containers: ContainerCounts {
            total: rows.len(),
            desired: rows.iter().filter(|r| r.desired == Desired::Running).count(),
            running: in_state("running"),
            pending: in_state("pending"),
            finished: in_state("finished"),
        },
        leases: LeaseCounts {
            total: registry.leases.len(),
            granted: in_phase(Phase::Granted),
            active: in_phase(Phase::Active),
            closing: in_phase(Phase::Closing),
            expired: in_phase(Phase::Expired),
        },
        open_fences: registry.fences.iter().filter(|f| f.done.is_none()).count(),
        unclean_hosts: registry.hosts.iter().filter(|h| !h.fenced.is_empty()).count(),
        suspect_volumes: registry.volumes.iter().filter(|v| v.suspicion.is_some()).count(),
    }
}

fn text(status: &Status) -> String {
    let mut out = format!("cluster     {}\n", status.cluster.as_deref().unwrap_or("-"));
    let leader = match &status.leader {
        Some(leader) => format!("node {} at {}", leader.node.map_or_else(|| "?".to_owned(), |n| n.to_string()), leader.address),
        None => "none: NO QUORUM, nothing can be written".to_owned(),
    };
    out.push_str(&format!("leader      {leader}\n"));
    match &status.registry {
        Some(counts) => out.push_str(&count_lines(counts)),
        None => out.push_str("registry    could not be read\n"),
    }
    out.push('\n');
    out.push_str(&node::table(&status.nodes));
    out
}

fn count_lines(counts: &Counts) -> String {
    let Counts { hosts, containers, leases, .. } = counts;
    let stale = if counts.stale { " (one node's own copy, may be old)" } else { "" };
    let mut out = format!("revision    {}{stale}\n", counts.revision);
    out.push_str(&format!(
        "hosts       {} ({} live, {} suspect, {} down; {} cordoned, {} draining)\n",
        hosts.total, hosts.live, hosts.suspect, hosts.down, hosts.cordoned, hosts.draining
    ));
    out.push_str(&format!("volumes     {}\n", counts.volumes));
    out.push_str(&format!(
        "containers  {} ({} are to run: {} running, {} pending, {} finished)\n",
        containers.total, containers.desired, containers.running, containers.pending, containers.finished
    ));
    out.push_str(&format!(
        "leases      {} ({} granted, {} active, {} closing, {} expired)\n",
        leases.total, leases.granted, leases.active, leases.closing, leases.expired
    ));
    if counts.open_fences > 0 {
        out.push_str(&format!("fences      {} open: see `berth fence ls`\n", counts.open_fences));
    }
    if counts.unclean_hosts > 0 {
        out.push_str(&format!(
            "unclean     {} hosts were fenced and are not known to be clean: see `berth host ls`\n",
            counts.unclean_hosts
        ));
    }
    if counts.suspect_volumes > 0 {
        out.push_str(&format!("SUSPECT     {} volumes may have had two writers: see `berth volume ls`\n", counts.suspect_volumes));
    }
    if let Some(settings) = &counts.settings {
        out.push_str(&format!("lease ttl   {}\n", crate::parse::duration::milliseconds_text(settings.ttl_ms)));
    }
    out
}
