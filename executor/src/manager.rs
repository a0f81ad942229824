//! The manager: the one task that owns assignments and workloads. Takes facts in, plans, hands steps to tasks of their own, and publishes what follows
//! (claims, statuses, where logs are). Waits for nothing but the next fact.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use berth_state::ids::{SessionId, Token};
use berth_state::noun::container::RuntimeKind;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::assignments::{AssignedSet, AssignmentBook, Position};
use crate::context::Context;
use crate::event::{Event, LogSources, Statuses};
use crate::gone::{self, GoneReports};
use crate::health::Checks;
use crate::heartbeats::Heartbeats;
use crate::ledger::LedgerError;
use crate::leftovers::Leftovers;
use crate::observer;
use crate::plan::{Step, World, plan};
use crate::runtime::{InstanceKey, Observed};
use crate::world::Workloads;

/// Plans also depend on time alone (back-offs, deadlines).
const TICK: Duration = Duration::from_millis(50);

/// What the manager publishes.
pub struct Published {
    pub claims: watch::Sender<BTreeSet<Token>>,
    pub statuses: watch::Sender<Statuses>,
    pub logs: watch::Sender<LogSources>,
    /// The step counter, for observers.
    pub counter: watch::Sender<u64>,
    /// The newest set that was taken, for the ledger.
    pub position: watch::Sender<Position>,
}

pub struct Manager {
    context: Arc<Context>,
    assigned: AssignmentBook,
    workloads: Workloads,
    leftovers: Leftovers,
    gone: GoneReports,
    checks: Checks,
    heartbeats: Heartbeats,
    swept: BTreeSet<RuntimeKind>,
    observed: BTreeSet<RuntimeKind>,
    published: Published,
    sender: mpsc::Sender<Event>,
    events: mpsc::Receiver<Event>,
    shutdown: CancellationToken,
}

impl Manager {
    /// `workloads`: what the ledger tells of.
    #[must_use]
    pub fn new(
        context: Arc<Context>,
        assigned: AssignmentBook,
        workloads: Workloads,
        published: Published,
        (sender, events): (mpsc::Sender<Event>, mpsc::Receiver<Event>),
        shutdown: CancellationToken,
    ) -> Self {
        let (leftovers, checks) = (Leftovers::default(), Checks::new(sender.clone()));
        let (swept, observed, gone) = (BTreeSet::new(), BTreeSet::new(), GoneReports::default());
        Self {
            context,
            assigned,
            workloads,
            leftovers,
            gone,
            checks,
            heartbeats: Heartbeats::default(),
            swept,
            observed,
            published,
            sender,
            events,
            shutdown,
        }
    }

    /// Until shutdown.
    ///
    /// # Errors
    /// [`LedgerError`] of a step: fatal.
    pub async fn run(mut self) -> Result<(), LedgerError> {
        let shutdown = self.shutdown.clone();
        let mut rights = self.context.enforcer.changes();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        self.observe_runtimes();
        loop {
            self.advance();
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                event = self.events.recv() => match event {
                    Some(event) => self.take(event)?,
                    None => return Ok(()),
                },
                changed = rights.changed() => if changed.is_err() { return Ok(()) },
                _ = tick.tick() => {}
            }
            // Facts that are here already are taken before the next plan: one plan for a burst.
            while let Ok(event) = self.events.try_recv() {
                self.take(event)?;
            }
        }
    }

    fn take(&mut self, event: Event) -> Result<(), LedgerError> {
        let now = self.context.clock.now();
        let workloads = &mut self.workloads;
        self.context.enforcer.read(|book| workloads.note_lost(book, now));
        match event {
            Event::Opened(current) => {
                self.assigned.begin_session(current.session);
                self.observe_runtimes();
            }
            Event::Assigned { session, set } => self.assign(session, set),
            Event::Observed { kind, at, instances } => self.observe(kind, at, &instances),
            Event::StepEnded { token, starts, done } => {
                self.workloads.end(token, starts, done.fatal()?, now);
            }
            Event::LeftoverGone(key) => self.leftovers.gone(&key),
            Event::GoneUnanswered(token) => self.gone.failed(token),
            Event::Health { key, health } => self.workloads.health(&key, health),
        }
        Ok(())
    }

    fn assign(&mut self, session: SessionId, set: AssignedSet) {
        let position = set.position;
        if !self.assigned.offer(session, set) {
            debug!(?position, "ignored an older assignment set");
            return;
        }
        let now = self.context.clock.now();
        let (workloads, assigned) = (&mut self.workloads, &self.assigned);
        self.context.enforcer.read(|book| workloads.assign(assigned, book, now));
    }

    fn observe(&mut self, kind: RuntimeKind, at: u64, instances: &[Observed]) {
        let now = self.context.clock.now();
        let mine: Vec<Token> = self.workloads.all().values().filter(|w| w.runtime == kind).map(|w| w.token).collect();
        for token in mine {
            let Some(key) = self.workloads.all().get(&token).map(|w| w.key(w.attempt)) else { continue };
            let state = instances.iter().find(|seen| seen.key == key).map(|seen| &seen.state);
            if self.workloads.observed(token, at, state, now) {
                self.put_under_enforcement(kind, token, key);
            }
        }
        let unknown: Vec<&Observed> = instances.iter().filter(|seen| !self.workloads.knows(seen)).collect();
        for key in self.leftovers.found(kind, unknown.iter().copied()) {
            info!(instance = %key.instance_name(), "removing what an earlier life left");
            tokio::spawn(crate::leftovers::finish(Arc::clone(&self.context), kind, key, self.sender.clone()));
        }
        // Before anything starts: nothing of an earlier life may still run.
        if self.leftovers.none_alive(kind) && self.swept.insert(kind) {
            info!(?kind, "leftovers are dealt with");
        }
    }

    /// Found running, by a runtime that an earlier process started it with: the enforcer learns how to kill it.
    fn put_under_enforcement(&self, kind: RuntimeKind, token: Token, key: InstanceKey) {
        let context = Arc::clone(&self.context);
        tokio::spawn(async move {
            let Some(runtime) = context.runtimes.get(kind) else { return };
            match runtime.kill_handle(&key).await {
                Ok(Some(handle)) => {
                    context.enforcer.register(token, key, handle);
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(%token, %error, "cannot learn how to kill a running instance; its record in the ledger is used")
                }
            }
        });
    }

    /// Starts watching what is not watched yet. A runtime is opened as soon as the cluster is known.
    fn observe_runtimes(&mut self) {
        let Some(cluster) = self.context.ledger.read(|state| state.cluster) else { return };
        for kind in self.context.runtimes.kinds() {
            if self.observed.insert(kind) {
                let counter = self.published.counter.subscribe();
                let watching = observer::observe(self.context.runtimes.clone(), kind, cluster, counter, self.sender.clone());
                let shutdown = self.shutdown.clone();
                tokio::spawn(async move { shutdown.run_until_cancelled(watching).await });
            }
        }
        // A lease for a runtime that is not configured here fails at its launch, and is given back.
        let kinds = self.context.runtimes.kinds();
        self.swept
            .extend([RuntimeKind::Docker, RuntimeKind::Process, RuntimeKind::External].into_iter().filter(|kind| !kinds.contains(kind)));
    }

    /// Plans, begins steps, publishes.
    fn advance(&mut self) {
        let now = self.context.clock.now();
        let session = self.context.session.borrow().is_some();
        let (workloads, swept) = (self.workloads.all(), &self.swept);
        let steps = self.context.enforcer.read(|book| plan(&World { workloads, book, session, swept, now }));
        for (token, step) in steps {
            self.begin(token, step);
        }
        self.checks.follow(&self.context.runtimes, self.workloads.all());
        self.heartbeats.follow(&self.context, self.workloads.all());
        self.report_gone();
        self.publish();
    }

    /// Once every runtime's leftovers are dealt with, what is fenced and has no workload here is gone.
    fn report_gone(&mut self) {
        if !self.context.runtimes.kinds().is_subset(&self.swept) {
            return;
        }
        let workloads = self.workloads.all();
        for holder in self.gone.due(self.assigned.fenced(), |token| workloads.contains_key(&token)) {
            tokio::spawn(gone::report(Arc::clone(&self.context), *holder, self.sender.clone()));
        }
    }

    fn begin(&mut self, token: Token, step: Step) {
        let Some(workload) = self.workloads.all().get(&token).cloned() else { return };
        debug!(%token, container = %workload.container, ?step, "step");
        let starts = self.workloads.begin(token, step);
        let (context, sender) = (Arc::clone(&self.context), self.sender.clone());
        let tasks = Arc::clone(&self.context);
        tasks.tasks.spawn(async move {
            let done = context.carry_out(&workload, step).await;
            // The manager is gone only when the process ends.
            let _ = sender.send(Event::StepEnded { token, starts, done }).await;
        });
    }

    fn publish(&self) {
        let workloads = &self.workloads;
        let (claims, statuses) = self.context.enforcer.read(|book| (workloads.claims(book), workloads.statuses(book)));
        let sources: LogSources =
            workloads.all().values().filter(|w| w.attempt > 0).map(|w| (w.token, (w.runtime, w.key(w.attempt)))).collect();
        replace(&self.published.claims, claims);
        replace(&self.published.statuses, statuses);
        replace(&self.published.logs, sources);
        replace(&self.published.counter, workloads.counter());
        replace(&self.published.position, self.assigned.position());
    }
}

/// Wakes watchers on change only.
fn replace<T: PartialEq>(sender: &watch::Sender<T>, value: T) {
    sender.send_if_modified(|current| {
        let changed = *current != value;
        *current = value;
        changed
    });
}
