//! Keepalives (L5): at once when a token is claimed for the first time, then every T/3, and more often while an after-fence lease is held, because the
//! control plane fences such a holder after a much shorter silence. Every transmission is a new number, and its time is read before the
//! message is built (I8). Must never send a message twice.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use berth_state::command::Keepalive;
use berth_state::ids::{Seq, Token};
use berth_state::noun::cluster::keepalive_ms;
use berth_state::outcome::KeepaliveAnswer;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Sleep;
use tracing::{debug, warn};

use crate::context::Context;
use crate::context::Current;
use crate::control::LinkError;
use crate::deadline::{DeadlineBook, Heard};

/// Under way at once: more would only wait behind the same broken connection.
const MAX_IN_FLIGHT: usize = 4;
/// After one that failed. Elections take a second or so, and a deadline is several.
const RETRY: Duration = Duration::from_millis(200);

/// Why keepalives ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The control plane says that the session is over.
    Gone,
    /// Nobody enforces deadlines here any more, so nothing may be renewed.
    Unenforced,
    /// Other guards are there than the session was opened with: it is to be opened anew, and its leases go along.
    GuardsChanged,
}

type Answer = Result<KeepaliveAnswer, LinkError>;

pub struct Keepalives<'c> {
    context: &'c Context,
    current: Current,
    claims: watch::Receiver<BTreeSet<Token>>,
    enforcement: Arc<dyn Fn() -> bool + Send + Sync>,
    seq: Seq,
    ttl_ms: u64,
    /// Claimed before, so their activation is on its way.
    announced: BTreeSet<Token>,
    in_flight: JoinSet<Answer>,
}

impl<'c> Keepalives<'c> {
    #[must_use]
    pub fn new(
        context: &'c Context,
        current: Current,
        claims: watch::Receiver<BTreeSet<Token>>,
        enforcement: Arc<dyn Fn() -> bool + Send + Sync>,
    ) -> Self {
        let ttl_ms = current.ttl_ms;
        Self { context, current, claims, enforcement, seq: Seq(0), ttl_ms, announced: BTreeSet::new(), in_flight: JoinSet::new() }
    }

    /// Until the session is over.
    pub async fn run(mut self) -> End {
        let mut timer = Box::pin(tokio::time::sleep(Duration::ZERO));
        loop {
            tokio::select! {
                () = &mut timer => {
                    if !(self.enforcement)() {
                        return End::Unenforced;
                    }
                    if self.context.guards_changed() {
                        return End::GuardsChanged;
                    }
                    self.send();
                    timer = again_in(self.period());
                }
                changed = self.claims.changed() => {
                    if changed.is_err() {
                        // The manager is gone, and the process with it.
                        std::future::pending::<()>().await;
                    }
                    if !self.claims.borrow_and_update().is_subset(&self.announced) {
                        timer = again_in(Duration::ZERO);
                    }
                }
                Some(done) = self.in_flight.join_next() => match done {
                    Ok(Ok(answer)) => {
                        let before = self.period();
                        if self.heard(&answer) == Heard::SessionGone {
                            return End::Gone;
                        }
                        let period = self.period();
                        if period < before {
                            timer = again_in(period);
                        }
                    }
                    Ok(Err(error)) => {
                        debug!(session = %self.current.session, %error, "keepalive not answered");
                        timer = again_in(self.retry(&error));
                    }
                    Err(error) => warn!(%error, "a keepalive's task ended"),
                },
            }
        }
    }

    fn hurried(&self) -> bool {
        self.context.enforcer.read(DeadlineBook::any_open)
    }

    fn period(&self) -> Duration {
        let ms = if self.hurried() { keepalive_ms(self.ttl_ms, self.current.fence_after_ms) } else { self.ttl_ms / 3 };
        Duration::from_millis(ms.max(1))
    }

    /// How long one is waited for. A leader that vanished without a word must be given up soon enough for the next one to hear us.
    fn patience(&self) -> Duration {
        let ms = if self.hurried() { (self.ttl_ms / 3).min(self.current.fence_after_ms / 2) } else { self.ttl_ms / 3 };
        Duration::from_millis(ms.max(1))
    }

    fn retry(&self, error: &LinkError) -> Duration {
        let soon = RETRY.min(self.period() / 4);
        match error {
            // Nothing was proposed, and who leads is known now.
            LinkError::NotLeader { leader_known: true, .. } => soon / 10,
            LinkError::NotLeader { leader_known: false, .. }
            | LinkError::Rejected(_)
            | LinkError::NoQuorum { .. }
            | LinkError::Unknown { .. }
            | LinkError::Busy { .. }
            | LinkError::WrongCluster { .. }
            | LinkError::Unreachable { .. }
            | LinkError::Failed { .. } => soon,
        }
    }

    fn send(&mut self) {
        if self.in_flight.len() >= MAX_IN_FLIGHT {
            return;
        }
        // L8, I8: before anything of the message exists.
        let t_send = self.context.clock.now();
        let mut tokens = self.claims.borrow_and_update().clone();
        // Without the guard that a lease was granted under it is not renewed.
        tokens.retain(|token| self.context.may_claim(*token));
        self.seq = Seq(self.seq.0 + 1);
        self.context.enforcer.book(|book| book.sent(self.seq, t_send, &tokens));
        self.announced.clone_from(&tokens);
        let keepalive = Keepalive {
            incarnation: self.current.incarnation,
            session: self.current.session,
            seq: self.seq,
            nonce: self.context.random.nonce(),
            tokens: tokens.into_iter().collect(),
        };
        let (control, cluster, timeout) = (Arc::clone(&self.context.control), self.current.cluster, self.patience());
        self.in_flight.spawn(async move { control.keepalive(cluster, keepalive, timeout).await });
    }

    fn heard(&mut self, answer: &KeepaliveAnswer) -> Heard {
        let heard = self.context.enforcer.book(|book| book.answer(answer));
        match heard {
            Heard::Renewed { ttl_ms } => self.ttl_ms = ttl_ms,
            Heard::Nothing | Heard::SessionGone => {}
        }
        heard
    }
}

fn again_in(wait: Duration) -> Pin<Box<Sleep>> {
    Box::pin(tokio::time::sleep(wait))
}
