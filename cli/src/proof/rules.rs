//! What must be true of every event about leases, said from protocol.md: which end is allowed in which phase and under which takeover rule (I5, L11-L16),
//! what a grant needs (L3, S4, I14), that ended is final (I6). Pure; asked by `book` with the state that the history itself gives.

use berth_state::ids::{LeaseId, Revision, SessionId, Token};
use berth_state::noun::fence::FenceMethod;
use berth_state::noun::lease::{Evidence, Lease, Phase};
use berth_state::noun::session::{Cut, Guard};
use berth_state::noun::volume::Takeover;
use berth_state::{ClusterState, Event, Fact};

/// The rule, and what breaks it.
pub type Broken = (&'static str, String);

/// What the event breaks, by the state before it.
#[must_use]
pub fn broken_by(state: &ClusterState, event: &Event) -> Vec<Broken> {
    let mut found = Vec::new();
    if event.time < state.clock() {
        found.push(("time", format!("its time {} is before {}", event.time, state.clock())));
    }
    let Some((id, token)) = about(&event.fact) else { return found };
    let Some(lease) = state.lease(id) else {
        found.push(("I6", format!("{} names lease {id}, which has ended or never was", event.fact.kind())));
        return found;
    };
    if lease.token != token {
        found.push(("L2", format!("{} names lease {id} with token {token}, it has {}", event.fact.kind(), lease.token)));
    }
    if let Err(broken) = allowed(state, lease, &event.fact) {
        found.push(broken);
    }
    found
}

/// The lease that an event about an un-ended lease names.
#[must_use]
pub fn about(fact: &Fact) -> Option<(LeaseId, Token)> {
    match fact {
        Fact::LeaseActivated { lease, token }
        | Fact::LeaseWithdrawn { lease, token, .. }
        | Fact::LeaseRevoked { lease, token, .. }
        | Fact::LeaseClosed { lease, token, .. }
        | Fact::LeaseExpired { lease, token, .. }
        | Fact::FenceStarted { lease, token, .. }
        | Fact::LeaseFenced { lease, token, .. }
        | Fact::LeaseReleased { lease, token, .. }
        | Fact::InstanceObserved { lease, token, .. } => Some((*lease, *token)),
        Fact::LeaseGranted { .. }
        | Fact::ClusterInitialized { .. }
        | Fact::SettingsChanged { .. }
        | Fact::FormatRaised { .. }
        | Fact::HostAdded { .. }
        | Fact::HostUpdated { .. }
        | Fact::HostRemoved { .. }
        | Fact::HostSchedulingChanged { .. }
        | Fact::HostHealthChanged { .. }
        | Fact::VolumeAdded { .. }
        | Fact::VolumeUpdated { .. }
        | Fact::VolumeRemoved { .. }
        | Fact::ContainerAdded { .. }
        | Fact::ContainerUpdated { .. }
        | Fact::ContainerRemoved { .. }
        | Fact::ContainerDesiredChanged { .. }
        | Fact::ContainerRelocationRequested { .. }
        | Fact::SessionOpened { .. }
        | Fact::SessionClosed { .. }
        | Fact::SessionCloned { .. }
        | Fact::FenceAttempted { .. }
        | Fact::FenceTried { .. }
        | Fact::HolderGone { .. }
        | Fact::CutLiftStarted { .. }
        | Fact::CutLifted { .. }
        | Fact::SplitBrainSuspected { .. }
        | Fact::SuspicionCleared { .. } => None,
    }
}

fn allowed(state: &ClusterState, lease: &Lease, fact: &Fact) -> Result<(), Broken> {
    let refuse = |rule, why: &str| Err((rule, format!("lease {} (token {}, {:?}): {why}", lease.id, lease.token, lease.phase)));
    if let Fact::LeaseActivated { .. } = fact
        && lease.phase != Phase::Granted
    {
        return refuse("L6", "activated, though it was not just granted");
    }
    if let Fact::LeaseWithdrawn { .. } = fact
        && (lease.phase != Phase::Granted || lease.activated.is_some())
    {
        return refuse("L13", "withdrawn, though its holder had been let in");
    }
    if let Fact::LeaseExpired { renewed, .. } = fact {
        if lease.phase != Phase::Active && lease.phase != Phase::Closing {
            return refuse("L11", "expired, though it was neither active nor closing");
        }
        if !lease.expires_by_silence() {
            return refuse("L11", "expired by silence, though all its volumes are after-fence");
        }
        if lease.activated.is_none_or(|activated| *renewed < activated) {
            return refuse("L11", "expired on a renewal from before its activation");
        }
    }
    if let Fact::LeaseReleased { session, .. } = fact
        && !may_release(state, lease, *session)
    {
        return refuse("L16", "released by a session that does not hold it");
    }
    if let Fact::LeaseFenced { evidence, .. } = fact {
        return evidenced(state, lease, evidence).or_else(|(rule, why)| refuse(rule, why));
    }
    Ok(())
}

/// L16: the holding session, or a later one over the same ledger for what expired or closes.
fn may_release(state: &ClusterState, lease: &Lease, session: SessionId) -> bool {
    let Some(by) = state.session(session) else { return false };
    let over = lease.phase == Phase::Expired || lease.phase == Phase::Closing;
    lease.session == session || (over && by.host == lease.host && by.ledger == lease.ledger && session > lease.session)
}

/// I5: evidence of a kind that the takeover rule of the lease accepts.
fn evidenced(state: &ClusterState, lease: &Lease, evidence: &Evidence) -> Result<(), (&'static str, &'static str)> {
    match evidence {
        Evidence::RanOut { expired_at } => ran_out(lease, *expired_at),
        Evidence::StorageCut if !lease.volumes.iter().all(|held| held.spec.can_fence()) => {
            Err(("L15", "fenced by StorageCut, though the storage of its volumes cannot fence"))
        }
        Evidence::StorageCut => ordered(state, lease, FenceMethod::StorageCut),
        Evidence::PoweredOff => ordered(state, lease, FenceMethod::PowerOff),
        Evidence::OperatorConfirmed { name, reason } if name.trim().is_empty() || reason.trim().is_empty() => {
            Err(("L15", "fenced by an operator's word without name or reason"))
        }
        Evidence::OperatorConfirmed { .. } => Ok(()),
    }
}

/// L12.
fn ran_out(lease: &Lease, expired_at: Revision) -> Result<(), (&'static str, &'static str)> {
    if lease.phase != Phase::Expired || lease.expired != Some(expired_at) {
        return Err(("L12", "fenced by RanOut, though it is not expired by that entry"));
    }
    if lease.takeover() != Takeover::AfterExpiry {
        return Err(("L12", "fenced by RanOut, though a volume of it is not after-expiry"));
    }
    if lease.guard == Guard::None {
        return Err(("L12", "fenced by RanOut, though its host had declared no guard"));
    }
    Ok(())
}

/// L15: the action was in the log before its acknowledgement, and its success is there too.
fn ordered(state: &ClusterState, lease: &Lease, method: FenceMethod) -> Result<(), (&'static str, &'static str)> {
    match state.fence(lease.token) {
        Some(fence) if fence.acknowledged(method) => Ok(()),
        Some(fence) if fence.method == Some(method) => Err(("L15", "fenced by an action of which no try has succeeded")),
        Some(_) | None => Err(("L15", "fenced by an action that was never started")),
    }
}

/// What the grant of this lease breaks, by the state just after it.
#[must_use]
pub fn broken_by_grant(state: &ClusterState, lease: &Lease) -> Vec<Broken> {
    let mut found = Vec::new();
    let mut say = |rule, why: String| found.push((rule, format!("token {} on host {}: {why}", lease.token, lease.host)));
    let host = state.host(&lease.host);
    if lease.guard == Guard::None {
        say("L3", "granted to a host that declares no guard".to_owned());
    }
    for held in &lease.volumes {
        let id = &held.volume;
        match held.spec.takeover {
            Takeover::AfterExpiry if held.cut == Cut::None && !held.spec.coherent => {
                say("L3", format!("volume {id} is after-expiry, its host cannot cut late writes, and it is not stated coherent"));
            }
            Takeover::AfterFence if !held.spec.can_fence() && host.is_none_or(|host| host.spec.fence_agents.is_empty()) => {
                say("L3", format!("volume {id} is after-fence, and neither its storage nor a fence agent can fence the host"));
            }
            Takeover::AfterExpiry | Takeover::AfterFence | Takeover::Manual => {}
        }
        let volume = state.volume(id);
        if volume.is_some_and(|volume| volume.bar(&lease.host).is_some()) {
            say("I14", format!("volume {id} is granted to a host that its storage bars"));
        }
        if volume.is_some_and(|volume| volume.suspicion.is_some()) {
            say("S5", format!("volume {id} is granted while two holders are suspected"));
        }
    }
    if let Some(holder) = host.and_then(|host| host.fenced.first()) {
        say("S4", format!("token {} was fenced on that host and is not known to be gone", holder.token));
    }
    found
}
