//! Reads of the registry: all objects as of one revision. The caller decides whether it waits for a linearizable point first.

use berth_state::codec::Wire;
use berth_state::noun::host::Host;
use berth_state::pb::api;

use crate::core::{Core, View};

/// Everything a user may read. Secrets of fence agents stay here.
#[must_use]
pub fn full(core: &Core, view: &View<'_>) -> api::ReadResponse {
    let state = view.state;
    let head = core.history_head();
    api::ReadResponse {
        revision: view.revision.0,
        cluster: state.cluster().map(Wire::to_pb),
        hosts: state.hosts().map(|host| Host { spec: host.spec.shown(), ..host.clone() }.to_pb()).collect(),
        volumes: state.volumes().map(Wire::to_pb).collect(),
        containers: state.containers().map(Wire::to_pb).collect(),
        leases: state.leases().map(Wire::to_pb).collect(),
        sessions: state.sessions().map(Wire::to_pb).collect(),
        fences: state.fences().map(Wire::to_pb).collect(),
        time_ms: state.clock().0,
        history: head.map(|head| api::HistoryHead { revision: head.index, seq: head.seq, hash: head.hash.to_vec() }),
    }
}

/// This node and its group, as it sees them; asks nobody.
#[must_use]
pub fn status(core: &Core) -> api::StatusResponse {
    let status = core.node().status();
    let (leader_id, leader_address) = core.node().leader().map(|(id, member)| (id, member.address)).unwrap_or_default();
    api::StatusResponse {
        cluster_id: core.cluster().0.to_vec(),
        node_id: core.node().id(),
        address: status.address,
        role: status.role,
        term: status.term,
        leader_id,
        leader_address,
        last_log_index: status.last_log_index,
        applied_index: status.applied_index,
        members: status.members.into_iter().map(|m| api::Member { id: m.id, address: m.address, voter: m.voter }).collect(),
        program: concat!("berth ", env!("CARGO_PKG_VERSION")).to_owned(),
        has_quorum: status.has_quorum,
        snapshot_index: status.snapshot_index,
    }
}
