//! Takes a lease for somebody on this host, or joins the one that is open, within a bound; or says in one line why not. Called by the volume plugin and by the
//! control socket. Gives out a volume only while its lease is open and its right lasts; whoever gives up waiting leaves a lease that closes by itself.

use std::sync::Arc;
use std::time::Duration;

use berth_state::command::{ClaimLease, Order};
use berth_state::ids::{ContainerId, LeaseId, RequestId, Token, VolumeId};
use berth_state::noun::container::{ContainerSpec, RestartPolicy, RuntimeKind, VolumeMount};
use berth_state::noun::host::Capacity;
use berth_state::outcome::Made;
use berth_state::rejection::Rejection;
use tokio::sync::watch;

use super::names::{self, Kind};
use super::refusal::{Refusal, one_line};
use super::table::{Entry, External};
use crate::context::Context;
use crate::control::{LinkError, ProposeRequest, WhyAnswer};
use crate::event::Statuses;

/// A former lease of this host on the same volume is being wound up: looked at again after this.
const AGAIN: Duration = Duration::from_millis(100);

/// A claim that was granted and is ready for use.
#[derive(Debug)]
pub struct Claimed {
    pub token: Token,
    pub(super) entry: Entry,
}

/// What to claim, and for whom.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub kind: Kind,
    /// Not empty.
    pub volumes: Vec<VolumeId>,
    /// Who will use it: ends with [`External::leave`].
    pub user: String,
    pub stop_grace_ms: u64,
}

/// A cheap clone.
#[derive(Clone)]
pub struct Claims {
    pub(crate) context: Arc<Context>,
    pub(crate) external: Arc<External>,
    statuses: watch::Receiver<Statuses>,
}

/// What became of one try.
enum Tried {
    Granted(LeaseId, Token),
    /// In a moment it may be otherwise.
    Again(Refusal),
    Refused(Refusal),
}

impl Claims {
    #[must_use]
    pub fn new(context: Arc<Context>, external: Arc<External>, statuses: watch::Receiver<Statuses>) -> Self {
        Self { context, external, statuses }
    }

    /// What the leader says of a volume.
    ///
    /// # Errors
    /// One line: it cannot be asked now.
    pub async fn why(&self, volume: &VolumeId) -> Result<Option<WhyAnswer>, String> {
        let current = self.context.session.borrow().clone();
        let cluster = current.map(|current| current.cluster).or_else(|| self.context.ledger.read(|state| state.cluster));
        let Some(cluster) = cluster else { return Err("this executor has not reached the control plane yet".to_owned()) };
        self.context
            .control
            .why(cluster, volume.as_str())
            .await
            .map_err(|error| one_line(&format!("the control plane cannot be asked: {error}")))
    }

    /// Claims, and waits until its volumes are mounted here. A lease of this host that is open already is joined.
    ///
    /// # Errors
    /// [`Refusal`], at the latest when `within` is over.
    pub async fn claim(&self, wanted: &Wanted, within: Duration) -> Result<Claimed, Refusal> {
        let mut last = Refusal::Other(format!("volume {}: not ready within {} s", names_of(&wanted.volumes), within.as_secs()));
        let work = self.until_ready(wanted, &mut last);
        match tokio::time::timeout(within, work).await {
            Ok(result) => result,
            Err(_) => Err(last),
        }
    }

    async fn until_ready(&self, wanted: &Wanted, last: &mut Refusal) -> Result<Claimed, Refusal> {
        let mut request = self.context.random.request_id();
        loop {
            if wanted.kind == Kind::Docker
                && let [volume] = wanted.volumes.as_slice()
                && let Some(token) = self.external.open_for(volume, Kind::Docker)
                && let Some(entry) = self.external.join(token, &wanted.user)
            {
                return Ok(Claimed { token, entry });
            }
            match self.try_once(wanted, request).await {
                Tried::Granted(lease, token) => return self.opened(wanted, lease, token, last).await,
                Tried::Refused(refusal) => return Err(refusal),
                Tried::Again(refusal) => {
                    // A refusal was answered, so the next try is another request.
                    if matches!(refusal, Refusal::Held(_)) {
                        request = self.context.random.request_id();
                    }
                    *last = refusal;
                }
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn try_once(&self, wanted: &Wanted, request: RequestId) -> Tried {
        let current = self.context.session.borrow().clone();
        let Some(current) = current else {
            return Tried::Again(Refusal::Other(format!(
                "volume {}: host {} has no session with the control plane, so no lease can be had; see the executor's log",
                names_of(&wanted.volumes),
                self.context.host
            )));
        };
        let container = match names::container(wanted.kind, &self.context.host, &wanted.volumes) {
            Ok(container) => container,
            Err(error) => return Tried::Refused(Refusal::Other(one_line(&error.to_string()))),
        };
        let claim = ClaimLease { container, spec: spec(wanted), session: current.session };
        let order = Order::ClaimLease(claim);
        let proposal = ProposeRequest { cluster: current.cluster, request, session: current.session, order };
        match self.context.control.propose(proposal).await {
            Ok(Made::Lease { lease, token }) => Tried::Granted(lease, token),
            Ok(Made::Done | Made::Unchanged | Made::Version(_) | Made::Session(_)) => Tried::Refused(Refusal::Other(
                "the control plane answered a claim without a lease: use the same version on both sides".to_owned(),
            )),
            Err(LinkError::Rejected(rejection)) => self.refused(wanted, &rejection).await,
            Err(error) => Tried::Again(Refusal::Other(one_line(&format!(
                "volume {}: the control plane cannot grant a lease now: {error}",
                names_of(&wanted.volumes)
            )))),
        }
    }

    async fn refused(&self, wanted: &Wanted, rejection: &Rejection) -> Tried {
        if let Rejection::VolumeHeld { volume, host, token, .. } = rejection {
            let why = self.why(volume).await.ok().flatten();
            let refusal = Refusal::rejected(volume, rejection, why.as_ref());
            // Our own, still being made ready or wound up; somebody else's takes as long as it takes.
            let own = *host == self.context.host && wanted.kind == Kind::Docker && self.is_ours(*token);
            return if own { Tried::Again(refusal) } else { Tried::Refused(refusal) };
        }
        let Some(volume) = wanted.volumes.first() else { return Tried::Refused(Refusal::Other(one_line(&rejection.to_string()))) };
        // The entry that ends a lease of this name removes it; a session that was replaced has a successor.
        let passes =
            matches!(rejection, Rejection::ContainerExists { .. } | Rejection::SessionNotFound { .. } | Rejection::SessionReplaced { .. });
        if passes {
            return Tried::Again(Refusal::Held(one_line(&format!("volume {volume}: {rejection}"))));
        }
        Tried::Refused(Refusal::rejected(volume, rejection, None))
    }

    /// A lease of this host for Docker.
    fn is_ours(&self, token: Token) -> bool {
        let recorded = |container: &ContainerId| Kind::of(container.as_str()) == Some(Kind::Docker);
        let in_ledger = self.context.ledger.read(|state| state.records.get(&token).map(|record| recorded(&record.container)));
        // Not in the ledger yet: it is just being made ready.
        in_ledger.unwrap_or(true)
    }

    /// Waits until the manager has opened it, and uses it.
    async fn opened(&self, wanted: &Wanted, lease: LeaseId, token: Token, last: &mut Refusal) -> Result<Claimed, Refusal> {
        let (mut changes, mut statuses) = (self.external.changes(), self.statuses.clone());
        let mut seen = false;
        loop {
            if let Some(entry) = self.external.join(token, &wanted.user) {
                return Ok(Claimed { token, entry });
            }
            let status = statuses.borrow_and_update().get(&(lease, token)).cloned();
            if let Some(status) = &status
                && !status.message.is_empty()
            {
                let line = format!("volume {} under token {token}: {}", names_of(&wanted.volumes), status.message);
                *last = Refusal::Other(one_line(&line));
            }
            if seen && status.is_none() {
                return Err(Refusal::Other(format!(
                    "volume {}: the lease with token {token} ended before it could be used",
                    names_of(&wanted.volumes)
                )));
            }
            seen |= status.is_some();
            tokio::select! {
                _ = changes.changed() => {}
                _ = statuses.changed() => {}
                () = tokio::time::sleep(AGAIN) => {}
            }
        }
    }
}

fn names_of(volumes: &[VolumeId]) -> String {
    volumes.iter().map(VolumeId::as_str).collect::<Vec<_>>().join(", ")
}

/// The container that stands for the claim. It has no command of ours, so nothing of it is ever started.
fn spec(wanted: &Wanted) -> ContainerSpec {
    let mount = |volume: &VolumeId| VolumeMount { volume: volume.clone(), path: format!("/berth/{volume}"), read_only: false };
    ContainerSpec {
        runtime: RuntimeKind::External,
        image: String::new(),
        command: vec![],
        environment: Default::default(),
        volumes: wanted.volumes.iter().map(mount).collect(),
        ports: vec![],
        limits: Capacity::default(),
        health_check: None,
        restart: RestartPolicy::Never,
        constraints: vec![],
        anti_affinity: vec![],
        stop_signal: None,
        stop_grace_ms: wanted.stop_grace_ms,
        init: None,
        pre_start: None,
        privileged: false,
        privileged_insisted: false,
    }
}
