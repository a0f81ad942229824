//! The host's session (L17): opened, kept alive, and opened anew when it is gone. Tells the manager what it learns; knows nothing of instances. The
//! executor's session outlives this process only through the ledger, which names it as the predecessor.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use berth_state::command::OpenSession;
use berth_state::ids::{BootId, HostId, Revision, Token};
use berth_state::noun::host::HostSpec;
use berth_state::noun::session::{Cut, Declaration};
use berth_state::noun::volume::Driver;
use berth_state::rejection::Rejection;
use futures::StreamExt;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::assignments::{Follower, Position};
use crate::context::{Context, Current};
use crate::control::{LinkError, OpenRequest, Opened};
use crate::deadline::Lost;
use crate::error::ExecutorError;
use crate::event::Event;
use crate::keepalive::{End, Keepalives};
use crate::ledger::LedgerError;

/// For a driver to say whether it works here.
const PROBE: Duration = Duration::from_secs(30);
/// Between tries to open a session, and to follow assignments again.
const RETRY: Duration = Duration::from_millis(300);
/// When somebody else still has the host's session: its end takes wait(T) at least.
const CONFLICT_RETRY: Duration = Duration::from_secs(1);

/// Keeps the session.
pub struct SessionKeeper {
    pub context: Arc<Context>,
    pub host: HostId,
    pub boot: BootId,
    pub register: Option<HostSpec>,
    /// What the manager wants renewed.
    pub claims: watch::Receiver<BTreeSet<Token>>,
    pub current: watch::Sender<Option<Current>>,
    pub events: mpsc::Sender<Event>,
    pub enforcement: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl SessionKeeper {
    /// Until `shutdown`; ends early only when the ledger cannot be written.
    ///
    /// # Errors
    /// Fatal: the ledger cannot be written, or nobody enforces deadlines any more.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), ExecutorError> {
        let Some(result) = shutdown.run_until_cancelled(self.keep()).await else { return Ok(()) };
        result
    }

    async fn keep(&mut self) -> Result<(), ExecutorError> {
        loop {
            let current = self.open().await?;
            let (session, host) = (current.session, &self.host);
            info!(%session, %host, cluster = %current.cluster, ttl_ms = current.ttl_ms, "session opened");
            self.current.send_replace(Some(current.clone()));
            let keepalives = Keepalives::new(&self.context, current.clone(), self.claims.clone(), Arc::clone(&self.enforcement));
            let end = tokio::select! {
                end = keepalives.run() => end,
                () = self.follow(&current) => End::Gone,
            };
            self.current.send_replace(None);
            match end {
                End::Gone => warn!(%session, "session is gone: all its leases with it"),
                End::Unenforced => return Err(ExecutorError::Unenforced),
                End::GuardsChanged => info!(%session, "other guards are there than were declared: opening the session anew"),
            }
        }
    }

    /// Repeats until there is a session.
    async fn open(&mut self) -> Result<Current, LedgerError> {
        loop {
            let request = self.request().await;
            let opened = self.open_once(request).await;
            if self.context.ledger.read(|state| opened.incarnation < state.incarnation) {
                // L20: a life of the control plane that has been replaced.
                error!(incarnation = %opened.incarnation, "ignored a session of an older incarnation");
                tokio::time::sleep(CONFLICT_RETRY).await;
                continue;
            }
            return self.begin(opened).await;
        }
    }

    async fn request(&self) -> OpenRequest {
        let state = self.context.ledger.state();
        let runtimes = self.context.runtimes.probe(state.cluster).await;
        let declared = Declaration {
            guard: self.context.declared_guard(),
            runtimes,
            drivers: self.drivers().await,
            program: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let order = OpenSession { host: self.host.clone(), boot: self.boot, ledger: state.ledger, predecessor: state.session, declared };
        OpenRequest { cluster: state.cluster, request: self.context.random.request_id(), order, register: self.register.clone() }
    }

    /// Only those that have what they need on this host.
    async fn drivers(&self) -> BTreeMap<Driver, Cut> {
        let mut working = BTreeMap::new();
        for driver in self.context.drivers.values() {
            match tokio::time::timeout(PROBE, driver.probe()).await {
                Ok(Ok(())) => {
                    working.insert(driver.driver(), driver.cut_kind());
                }
                Ok(Err(error)) => info!(driver = ?driver.driver(), %error, "volume driver is not offered"),
                Err(_) => warn!(driver = ?driver.driver(), "volume driver does not answer, and is not offered"),
            }
        }
        working
    }

    async fn open_once(&self, mut request: OpenRequest) -> Opened {
        let mut told = String::new();
        loop {
            let error = match self.context.control.open_session(request.clone()).await {
                Ok(opened) => return opened,
                Err(error) => error,
            };
            let text = error.to_string();
            if text != told {
                warn!(host = %self.host, error = %text, "no session yet");
                told = text;
            }
            match error {
                LinkError::Rejected(why) => {
                    // A refusal is the answer to its request for ever: the next try is another one.
                    request = self.request().await;
                    let conflict = matches!(*why, Rejection::SessionConflict { .. });
                    tokio::time::sleep(if conflict { CONFLICT_RETRY } else { RETRY * 3 }).await;
                }
                LinkError::WrongCluster { .. } | LinkError::Failed { .. } => tokio::time::sleep(CONFLICT_RETRY).await,
                LinkError::NotLeader { .. }
                | LinkError::NoQuorum { .. }
                | LinkError::Unknown { .. }
                | LinkError::Busy { .. }
                | LinkError::Unreachable { .. } => tokio::time::sleep(RETRY).await,
            }
        }
    }

    /// Makes the session known: first to the ledger, then to the book, then to the others.
    async fn begin(&mut self, opened: Opened) -> Result<Current, LedgerError> {
        let Opened { session, cluster, incarnation, ttl_ms, fence_after_ms } = opened;
        let context = &self.context;
        // Durable before the first keepalive: a successor must name this session as its predecessor.
        context
            .ledger
            .change(|state| {
                state.cluster = Some(cluster);
                if incarnation > state.incarnation {
                    (state.incarnation, state.revision) = (incarnation, Revision(0));
                }
                state.session = Some(session);
                for record in state.records.values_mut().filter(|record| record.boot == self.boot && !record.over) {
                    record.over |= record.incarnation != incarnation;
                    record.session = session;
                }
            })
            .await?;
        let foreign: Vec<Token> = context.ledger.read(|state| state.records.values().filter(|r| r.over).map(|r| r.token).collect());
        context.enforcer.book(|book| {
            book.begin_session(session);
            foreign.iter().for_each(|token| book.lose(*token, Lost::Stale));
        });
        let current = Current { cluster, incarnation, session, ttl_ms, fence_after_ms };
        let _ = self.events.send(Event::Opened(current.clone())).await;
        Ok(current)
    }

    /// Follows assignments as long as the session lives; never ends.
    async fn follow(&self, current: &Current) {
        let mut leader = self.context.control.leader_changes();
        loop {
            leader.borrow_and_update();
            tokio::select! {
                () = self.follow_once(current) => {}
                // The former leader may be cut off, and then its set stands still.
                changed = leader.changed() => if changed.is_err() { std::future::pending::<()>().await },
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn follow_once(&self, current: &Current) {
        let session = current.session;
        let mut stream = match self.context.control.assignments(current.cluster, self.host.clone(), session).await {
            Ok(stream) => stream,
            Err(error) => {
                tracing::debug!(%session, %error, "no assignments");
                return;
            }
        };
        let mut follower = Follower::default();
        while let Some(update) = stream.next().await {
            let set = match update.map_err(|error| error.to_string()).and_then(|u| follower.apply(u).map_err(|error| error.to_string())) {
                Ok(set) => set,
                Err(error) => {
                    tracing::debug!(%session, %error, "assignments ended");
                    return;
                }
            };
            if self.events.send(Event::Assigned { session, set }).await.is_err() {
                return;
            }
        }
    }
}

/// Writes rights, and how new the assignments are, into the ledger whenever they change: one write for all, after the fact, off the path of the keepalives.
///
/// # Errors
/// [`LedgerError`]: fatal.
pub async fn save_rights(
    context: Arc<Context>,
    mut position: watch::Receiver<Position>,
    shutdown: CancellationToken,
) -> Result<(), LedgerError> {
    let mut changes = context.enforcer.changes();
    loop {
        changes.borrow_and_update();
        let newest = *position.borrow_and_update();
        let rights: BTreeMap<_, _> = context.enforcer.read(|book| book.rights().collect());
        context
            .ledger
            .change(|state| {
                state.note_rights(&rights);
                if newest.incarnation == state.incarnation {
                    state.revision = state.revision.max(newest.revision);
                }
            })
            .await?;
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            changed = changes.changed() => if changed.is_err() { return Ok(()) },
            changed = position.changed() => if changed.is_err() { return Ok(()) },
        }
    }
}
