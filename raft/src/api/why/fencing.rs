//! The part of the answer that is about fencing: bars, hosts that are not clean, the attempt under way, the last tries, suspicions. Pure.

use std::collections::BTreeSet;

use berth_state::ClusterState;
use berth_state::codec::Wire;
use berth_state::ids::{ContainerId, Token, VolumeId};
use berth_state::noun::container::Container;
use berth_state::noun::fence::Fence;
use berth_state::noun::host::Host;
use berth_state::noun::lease::Lease;
use berth_state::noun::volume::Volume;
use berth_state::pb::api;

/// Whom the question is about.
pub struct Subject<'a> {
    pub lease: Option<&'a Lease>,
    pub container: Option<&'a Container>,
    pub volume: Option<&'a Volume>,
}

impl Subject<'_> {
    fn volumes(&self) -> BTreeSet<VolumeId> {
        let leased = self.lease.into_iter().flat_map(|lease| &lease.volumes).map(|held| held.volume.clone());
        let wanted = self.container.into_iter().flat_map(|c| &c.spec.volumes).map(|mount| mount.volume.clone());
        // A volume of the same name as a container is another story.
        let asked = self.volume.filter(|_| self.container.is_none()).map(|volume| volume.id.clone());
        leased.chain(wanted).chain(asked).collect()
    }

    fn containers(&self, state: &ClusterState, volumes: &BTreeSet<VolumeId>) -> BTreeSet<ContainerId> {
        let users = state.containers().filter(|c| c.spec.volumes.iter().any(|mount| volumes.contains(&mount.volume)));
        users.chain(self.container).map(|c| c.id.clone()).chain(self.lease.map(|lease| lease.container.clone())).collect()
    }
}

/// Fills in what the state knows, and says in `blocks` what somebody has to do about it.
pub fn tell(answer: &mut api::WhyResponse, state: &ClusterState, subject: &Subject<'_>) {
    let volumes = subject.volumes();
    let containers = subject.containers(state, &volumes);
    for volume in volumes.iter().filter_map(|id| state.volume(id)) {
        of_volume(answer, volume);
    }
    let ours = |token: Token| state.fence(token).is_some_and(|fence| containers.contains(&fence.container));
    for host in state.hosts() {
        let here = subject.lease.is_some_and(|lease| lease.host == host.id);
        for holder in host.fenced.iter().filter(|holder| here || ours(holder.token)) {
            answer.unclean.push(api::UncleanHost { host: host.id.to_string(), holder: Some(holder.to_pb()) });
            answer.blocks.push(format!(
                "host {} was fenced under token {} and is not known to be clean: it gets no lease before its executor reports or it reboots; `berth host \
                 unfence {}` on your word",
                host.id, holder.token, host.id
            ));
        }
        let concerned = |attempt: &&berth_state::noun::host::FenceAttempt| here || attempt.tokens.iter().any(|token| ours(*token));
        if let Some(attempt) = host.attempt.as_ref().filter(concerned) {
            answer.attempt = Some(attempt.to_pb());
            answer.blocks.push(attempt_text(host, attempt));
        }
    }
    fences(answer, state, subject, &containers);
}

fn attempt_text(host: &Host, attempt: &berth_state::noun::host::FenceAttempt) -> String {
    format!(
        "fence attempt {} against host {} is under way: {} on node {}, killed after {} ms",
        attempt.id, host.id, attempt.agent, attempt.node, attempt.timeout_ms
    )
}

fn of_volume(answer: &mut api::WhyResponse, volume: &Volume) {
    let id = &volume.id;
    for bar in &volume.bars {
        answer.bars.push(api::BarredHost { volume: id.to_string(), bar: Some(bar.to_pb()) });
        let why = match (bar.tokens.as_slice(), bar.lifting) {
            ([], Some(_)) => "the bar is being lifted".to_owned(),
            ([], None) => "nothing of it is left there, so the bar will be lifted".to_owned(),
            (tokens, _) => {
                let tokens: Vec<String> = tokens.iter().map(ToString::to_string).collect();
                format!("token {} was cut there and is not known to be gone", tokens.join(", "))
            }
        };
        answer.blocks.push(format!("the storage of volume {id} keeps host {} out: {why}", bar.host));
    }
    if let Some(suspicion) = volume.suspicion {
        answer.suspicions.push(api::SuspectVolume { volume: id.to_string(), suspicion: Some(suspicion.to_pb()) });
        answer.blocks.push(format!(
            "volume {id} is suspected of two holders (tokens {} and {}): look at its data, then `berth volume clear {id} --reason …`",
            suspicion.token, suspicion.other
        ));
    }
}

/// The fence of the present lease, and the newest one before it.
fn fences(answer: &mut api::WhyResponse, state: &ClusterState, subject: &Subject<'_>, containers: &BTreeSet<ContainerId>) {
    let mut found: Vec<&Fence> = state.fences().filter(|fence| containers.contains(&fence.container)).collect();
    found.sort_by_key(|fence| fence.token);
    let open = subject.lease.and_then(|lease| state.fence(lease.token)).filter(|fence| fence.done.is_none());
    if let Some(fence) = open {
        answer.blocks.push(open_text(fence));
    }
    let skip = found.len().saturating_sub(2);
    answer.fences = found.into_iter().skip(skip).map(Wire::to_pb).collect();
}

fn open_text(fence: &Fence) -> String {
    let method = fence.method.map_or_else(|| "a fence".to_owned(), |method| format!("{method:?}"));
    let last = fence.tries.last().map(|tried| {
        let how = if tried.ok { "succeeded" } else { "failed" };
        format!("; the last try, by {} on node {}, {how}: {}", tried.agent, tried.node, first_line(&tried.output))
    });
    let failed = if fence.failed == 0 { "no try has failed".to_owned() } else { format!("{} tries failed", fence.failed) };
    format!("{method} of token {} is asked for since revision {}: {failed}{}", fence.token, fence.started, last.unwrap_or_default())
}

fn first_line(output: &str) -> &str {
    output.lines().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing")
}
