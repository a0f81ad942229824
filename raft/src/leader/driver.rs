//! The task that keeps the notes on every node and, on the leader, turns the pure files of this folder and proposes what they find due. It acts by
//! proposing only; a lost, late or doubled proposal is harmless, because every order names the fact it was decided on.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use berth_state::command::{InitCluster, Order};
use berth_state::ids::{ContainerId, NodeId};
use berth_state::{Outcome, Rejection};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::api::errors::ApiError;
use crate::clock::RawTime;
use crate::core::Core;
use crate::fencing::storage::RealStorage;
use crate::leader::fencer::Fencer;
use crate::leader::{placement, revocation, timers};

/// Longest sleep between two turns, should a wake-up be missed.
const IDLE: Duration = Duration::from_millis(500);
/// Shortest time between two turns, so that a busy log does not make this task spin.
const SPACING: Duration = Duration::from_millis(5);
/// Proposals of this task on their way at once.
const IN_FLIGHT: usize = 64;
/// An order that was refused or failed is not proposed again before this.
const HOLD_BACK_MS: u64 = 1_000;

type Done = (Order, Result<Outcome, ApiError>);

pub struct Driver {
    core: Arc<Core>,
    /// Who we are in the event log.
    actor: String,
    in_flight: Vec<Order>,
    proposals: JoinSet<Done>,
    held_back: Vec<(Order, RawTime)>,
    fencer: Fencer,
}

impl Driver {
    #[must_use]
    pub fn new(core: Arc<Core>) -> Self {
        let actor = format!("node {}", core.node().id());
        let fencer = Fencer::new(NodeId(core.node().id()), Arc::new(RealStorage));
        Self { core, actor, in_flight: Vec::new(), proposals: JoinSet::new(), held_back: Vec::new(), fencer }
    }

    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut applied = self.core.applied();
        let mut leadership = self.core.node().watch_leadership();
        loop {
            applied.borrow_and_update();
            leadership.borrow_and_update();
            let sleep = self.turn();
            tokio::select! {
                () = shutdown.cancelled() => return,
                Some(done) = self.proposals.join_next() => if let Ok(done) = done { self.done(done) },
                action = self.fencer.next() => if let Some(action) = action {
                    self.fencer.ended(action, self.core.clock().raw_now());
                },
                changed = applied.changed() => if changed.is_err() { return },
                changed = leadership.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(sleep) => {}
            }
            tokio::time::sleep(SPACING).await;
            while let Some(Ok(done)) = self.proposals.try_join_next() {
                self.done(done);
            }
        }
    }

    /// One look at everything; returns how long nothing will be due.
    fn turn(&mut self) -> Duration {
        self.core.refresh_notes();
        // L11: only a leader that has applied the first entry of its own term; a follower keeps its notes and is silent.
        let Some(term) = self.core.node().is_leader_ready() else {
            self.held_back.clear();
            self.fencer.stop();
            return IDLE;
        };
        let now = self.core.clock().raw_now();
        self.held_back.retain(|(_, until)| now < *until);
        let (core, fencer) = (&self.core, &mut self.fencer);
        core.view(|view| fencer.turn(view.state, term, now));
        let (orders, next) = self.due(now);
        for order in orders {
            self.propose(order);
        }
        next.map_or(IDLE, |at| Duration::from_millis(at.ms_since(now)).min(IDLE))
    }

    fn due(&self, now: RawTime) -> (Vec<Order>, Option<RawTime>) {
        let held_back = self.busy_containers();
        self.core.view(|view| {
            let Some(_) = view.state.cluster() else {
                let init = InitCluster { cluster: self.core.cluster(), settings: self.core.initial_settings() };
                return (vec![Order::InitCluster(init)], None);
            };
            let mut due = self.core.notes(|notes| timers::due(view.state, notes, now));
            let fences = self.core.notes(|notes| self.fencer.due(view.state, notes, now));
            due.orders.extend(fences.orders);
            due.next = [due.next, fences.next].into_iter().flatten().min();
            due.orders.extend(revocation::due(view.state));
            due.orders.extend(placement::next(view.state, &held_back).map(Order::GrantLease));
            (due.orders, due.next)
        })
    }

    /// Containers whose grant is on its way or was refused just now.
    fn busy_containers(&self) -> BTreeSet<ContainerId> {
        let orders = self.in_flight.iter().chain(self.held_back.iter().map(|(order, _)| order));
        let grants = orders.filter_map(|order| if let Order::GrantLease(grant) = order { Some(grant.container.clone()) } else { None });
        grants.collect()
    }

    fn propose(&mut self, order: Order) {
        let waiting = self.held_back.iter().any(|(held, _)| *held == order);
        if waiting || self.in_flight.contains(&order) || self.in_flight.len() >= IN_FLIGHT {
            return;
        }
        debug!(?order, "proposing");
        self.in_flight.push(order.clone());
        let (core, actor) = (self.core.clone(), self.actor.clone());
        self.proposals.spawn(async move {
            let result = core.propose(order.clone(), None, actor).await;
            (order, result)
        });
    }

    fn done(&mut self, (order, result): Done) {
        self.in_flight.retain(|other| *other != order);
        if let (Order::BeginFenceAttempt(begin), Ok(Outcome::Accepted(accepted))) = (&order, &result)
            && self.core.node().is_leader_ready().is_some()
        {
            let (core, fencer) = (&self.core, &mut self.fencer);
            core.view(|view| fencer.begun(view.state, &begin.host, accepted.revision));
        }
        match result {
            Ok(Outcome::Accepted(_) | Outcome::Keepalives(_)) => return,
            // The usual race: a renewal or release came first. Exactly what the compare-and-set is for.
            Ok(Outcome::Rejected(
                why @ (Rejection::RenewedSince { .. } | Rejection::LeaseNotFound { .. } | Rejection::WrongPhase { .. }),
            )) => {
                debug!(?order, %why, "overtaken");
            }
            Ok(Outcome::Rejected(why)) => info!(?order, %why, "refused"),
            Err(why) => warn!(?order, %why, "not carried out, or not known to be"),
        }
        let until = self.core.clock().raw_now().plus_ms(HOLD_BACK_MS);
        self.held_back.push((order, until));
    }
}
