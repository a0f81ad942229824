//! Decide: the rules. From the state and one order to the events it causes, or a rejection. Changes nothing; runs at apply on every node
//! alike, so it may ask nothing but its arguments.
//!
//! - [`cluster`], [`host`], [`volume`], [`container`]: the registry.
//! - [`grant`], [`claim`], [`lease`], [`fence`]: leases (L1-L3, L11-L16).
//! - [`attempt`], [`gone`], [`lift`]: fence actions, proof of death, lifting a bar (L15). [`suspicion`]: suspected split brains.
//! - [`session`], [`keepalive`]: sessions (L17) and their keepalives (L6).
//! - [`check`]: what is a well-formed spec.

pub(crate) mod attempt;
pub(crate) mod check;
pub(crate) mod claim;
pub(crate) mod cluster;
pub(crate) mod container;
pub(crate) mod fence;
pub(crate) mod gone;
pub(crate) mod grant;
pub(crate) mod host;
pub(crate) mod keepalive;
pub(crate) mod lease;
pub(crate) mod lift;
pub(crate) mod session;
pub(crate) mod suspicion;
pub(crate) mod volume;

pub use grant::wanted;

use crate::command::Order;
use crate::event::Fact;
use crate::ids::{HostId, Revision};
use crate::noun::secrets::Secrets;
use crate::outcome::{KeepaliveAnswer, Made};
use crate::rejection::Rejection;
use crate::state::ClusterState;

/// What an order comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Change {
        facts: Vec<Fact>,
        made: Made,
    },
    /// The facts have the names of secrets only; the state gets their values beside them, one for each fence agent of the host.
    Host {
        facts: Vec<Fact>,
        made: Made,
        host: HostId,
        secrets: Vec<Secrets>,
    },
    Keepalives {
        facts: Vec<Fact>,
        heard: Vec<keepalive::Heard>,
        answers: Vec<KeepaliveAnswer>,
    },
}

impl Decision {
    pub(crate) fn one(fact: Fact) -> Self {
        Self::Change { facts: vec![fact], made: Made::Done }
    }

    pub(crate) fn unchanged() -> Self {
        Self::Change { facts: Vec::new(), made: Made::Unchanged }
    }
}

/// The decision on the order of log entry `at`.
///
/// # Errors
/// The rule that refuses.
pub(crate) fn decide(state: &ClusterState, at: Revision, order: &Order) -> Result<Decision, Rejection> {
    if !matches!(order, Order::InitCluster(_)) {
        state.need_cluster()?;
    }
    match order {
        Order::InitCluster(c) => cluster::init(state, c),
        Order::ChangeSettings(c) => cluster::change_settings(state, c),
        Order::RaiseFormat(c) => cluster::raise_format(state, c),
        Order::AddHost(c) => host::add(state, c),
        Order::UpdateHost(c) => host::update(state, c),
        Order::RemoveHost(c) => host::remove(state, c),
        Order::SetScheduling(c) => host::set_scheduling(state, c),
        Order::SetHealth(c) => host::set_health(state, c),
        Order::AddVolume(c) => volume::add(state, c),
        Order::UpdateVolume(c) => volume::update(state, c),
        Order::RemoveVolume(c) => volume::remove(state, c),
        Order::AddContainer(c) => container::add(state, c),
        Order::UpdateContainer(c) => container::update(state, c),
        Order::RemoveContainer(c) => container::remove(state, c),
        Order::SetDesired(c) => container::set_desired(state, c),
        Order::RestartContainer(c) => container::restart(state, c),
        Order::MoveContainer(c) => container::relocate(state, c),
        Order::GrantLease(c) => grant::grant(state, at, c),
        Order::WithdrawLease(c) => lease::withdraw(state, c),
        Order::RevokeLease(c) => lease::revoke(state, c),
        Order::CloseLease(c) => lease::close(state, c),
        Order::ExpireLease(c) => lease::expire(state, c),
        Order::StartFence(c) => fence::start(state, c),
        Order::FenceLease(c) => fence::fence(state, c),
        Order::ReleaseLease(c) => lease::release(state, c),
        Order::ClaimLease(c) => claim::claim(state, at, c),
        Order::BeginFenceAttempt(c) => attempt::begin(state, at, c),
        Order::EndFenceAttempt(c) => attempt::end(state, c),
        Order::UnfenceHost(c) => gone::unfence(state, c),
        Order::StartLift(c) => lift::start(state, c),
        Order::FinishLift(c) => lift::finish(state, c),
        Order::SuspectSplitBrain(c) => suspicion::suspect(state, c),
        Order::ClearSuspicion(c) => suspicion::clear(state, c),
        Order::OpenSession(c) => session::open(state, at, c),
        Order::CloseSession(c) => session::close(state, c),
        Order::ExpireSession(c) => session::expire(state, c),
        Order::RecordKeepalives(c) => Ok(keepalive::record(state, c)),
        Order::RecordObservation(c) => lease::observe(state, c),
    }
}
