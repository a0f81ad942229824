//! A control plane of one node in memory: the real rules of `berth-state`, and faults on order. What it answers to a keepalive is the apply result.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use berth_state::command::*;
use berth_state::ids::*;
use berth_state::noun::cluster::Settings;
use berth_state::noun::container::{ContainerSpec, Desired};
use berth_state::noun::host::{FencedHolder, HostSpec};
use berth_state::noun::lease::Lease;
use berth_state::noun::volume::VolumeSpec;
use berth_state::outcome::{KeepaliveAnswer, Made, Outcome};
use berth_state::{ClusterState, Order};
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::sync::{mpsc, watch};

use crate::assignments::{AssignmentUpdate, Position};
use crate::control::*;

pub const CLUSTER: ClusterId = ClusterId([9; 16]);

/// What becomes of a keepalive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Answer,
    /// Applied at once; the answer waits until the mode changes.
    Hold,
    /// Applied; the answer is lost.
    LoseAnswer,
    /// Nothing arrives.
    Silent,
}

struct Inner {
    state: ClusterState,
    revision: u64,
    keepalives: Vec<Keepalive>,
    answers: Vec<KeepaliveAnswer>,
    opened: Vec<OpenRequest>,
    releases: Vec<ReleaseRequest>,
    lose_releases: u32,
    /// The next assignment stream brings just this, and then nothing.
    stale_stream: Option<AssignmentUpdate>,
}

#[derive(Clone)]
pub struct FakeControl {
    inner: Arc<Mutex<Inner>>,
    changes: watch::Sender<u64>,
    mode: watch::Sender<Mode>,
    streams: watch::Sender<u64>,
    leader: watch::Sender<u64>,
}

impl FakeControl {
    pub fn new(ttl_ms: u64) -> Self {
        let inner = Inner {
            state: ClusterState::default(),
            revision: 0,
            keepalives: vec![],
            answers: vec![],
            opened: vec![],
            releases: vec![],
            lose_releases: 0,
            stale_stream: None,
        };
        let control = Self {
            inner: Arc::new(Mutex::new(inner)),
            changes: watch::Sender::new(0),
            mode: watch::Sender::new(Mode::Answer),
            streams: watch::Sender::new(0),
            leader: watch::Sender::new(0),
        };
        let settings = Settings { ttl_ms, ..Settings::default() };
        control.must(Order::InitCluster(InitCluster { cluster: CLUSTER, settings }));
        control.must(Order::AddHost(AddHost { host: HostId::new("h1").unwrap(), spec: HostSpec::default() }));
        control
    }

    fn with<R>(&self, act: impl FnOnce(&mut Inner) -> R) -> R {
        act(&mut self.inner.lock().unwrap())
    }

    pub fn apply(&self, request: Option<RequestId>, order: Order) -> Outcome {
        let outcome = self.with(|inner| {
            inner.revision += 1;
            let command = Command { time: Time(inner.revision), request, actor: "test".to_owned(), order };
            inner.state.apply(Revision(inner.revision), &command).outcome
        });
        self.changes.send_modify(|n| *n += 1);
        outcome
    }

    pub fn must(&self, order: Order) -> Made {
        match self.apply(None, order) {
            Outcome::Accepted(accepted) => accepted.made,
            Outcome::Rejected(why) => panic!("{why}"),
            Outcome::Keepalives(answers) => panic!("{answers:?}"),
        }
    }

    pub fn state<R>(&self, look: impl FnOnce(&ClusterState) -> R) -> R {
        self.with(|inner| look(&inner.state))
    }

    pub fn add_volume(&self, name: &str, spec: VolumeSpec) {
        self.must(Order::AddVolume(AddVolume { volume: VolumeId::new(name).unwrap(), spec }));
    }

    pub fn add_container(&self, name: &str, spec: ContainerSpec) {
        let container = ContainerId::new(name).unwrap();
        self.must(Order::AddContainer(AddContainer { container, spec, desired: Desired::Running }));
    }

    /// Grants to host h1 on its live session.
    pub fn grant(&self, container: &str) -> Token {
        let (container, host) = (ContainerId::new(container).unwrap(), HostId::new("h1").unwrap());
        let (version, session) = self.state(|s| (s.container(&container).unwrap().version, s.host(&host).unwrap().session.unwrap()));
        match self.must(Order::GrantLease(GrantLease { container, version, host, session })) {
            Made::Lease { token, .. } => token,
            Made::Done | Made::Unchanged | Made::Version(_) | Made::Session(_) => panic!("a grant that made no lease"),
        }
    }

    pub fn lease(&self, token: Token) -> Option<Lease> {
        self.state(|s| s.lease_by_token(token).cloned())
    }

    pub fn revoke(&self, token: Token) {
        let lease = self.lease(token).unwrap().id;
        let reason = berth_state::noun::lease::RevokeReason::Operator;
        self.must(Order::RevokeLease(RevokeLease { lease, token, reason }));
    }

    pub fn close(&self, token: Token) {
        let lease = self.lease(token).unwrap().id;
        self.must(Order::CloseLease(CloseLease { lease, token }));
    }

    /// What the leader's timers would do once wait(T) is over.
    pub fn expire(&self, token: Token) {
        let (lease, renewed) = self.state(|s| (s.lease_by_token(token).unwrap().id, s.renewal(token).unwrap().renewed));
        self.must(Order::ExpireLease(ExpireLease { lease, token, renewed }));
    }

    pub fn expire_session(&self, session: SessionId) {
        let renewed = self.state(|s| s.pulse(session).unwrap().renewed);
        self.must(Order::ExpireSession(ExpireSession { session, renewed }));
    }

    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    pub fn lose_releases(&self, count: u32) {
        self.with(|inner| inner.lose_releases = count);
    }

    /// Breaks the streams; the next one brings only this.
    pub fn next_stream_brings(&self, update: AssignmentUpdate) {
        self.with(|inner| inner.stale_stream = Some(update));
        self.streams.send_modify(|n| *n += 1);
    }

    pub fn break_streams(&self) {
        self.streams.send_modify(|n| *n += 1);
    }

    pub fn keepalives(&self) -> Vec<Keepalive> {
        self.with(|inner| inner.keepalives.clone())
    }

    pub fn releases(&self) -> Vec<ReleaseRequest> {
        self.with(|inner| inner.releases.clone())
    }

    pub fn opened(&self) -> Vec<OpenRequest> {
        self.with(|inner| inner.opened.clone())
    }

    pub fn position(&self) -> Position {
        self.with(|inner| Position { incarnation: inner.state.cluster().unwrap().incarnation, revision: Revision(inner.revision) })
    }

    fn assigned(&self, session: SessionId) -> (Position, Assigned) {
        let position = self.position();
        let mine =
            self.state(|s| s.leases().filter(|l| l.session == session).map(|l| (l.token, Lease { instance: None, ..l.clone() })).collect());
        let fenced = self.state(|s| s.session(session).and_then(|session| s.host(&session.host)).map(|h| h.fenced.clone()));
        (position, (mine, fenced.unwrap_or_default()))
    }
}

fn unreachable() -> LinkError {
    LinkError::Unreachable { address: "fake".to_owned(), why: "told so".to_owned() }
}

fn accepted(outcome: Outcome) -> Result<Made, LinkError> {
    match outcome {
        Outcome::Accepted(accepted) => Ok(accepted.made),
        Outcome::Rejected(why) => Err(LinkError::Rejected(Box::new(why))),
        Outcome::Keepalives(_) => panic!("no keepalive"),
    }
}

#[async_trait]
impl ControlPlane for FakeControl {
    async fn open_session(&self, request: OpenRequest) -> Result<Opened, LinkError> {
        if *self.mode.borrow() == Mode::Silent {
            return Err(unreachable());
        }
        self.with(|inner| inner.opened.push(request.clone()));
        let Made::Session(session) = accepted(self.apply(Some(request.request), Order::OpenSession(request.order)))? else { panic!() };
        let (incarnation, settings) = self.state(|s| (s.cluster().unwrap().incarnation, s.settings()));
        let Settings { ttl_ms, fence_after_ms, .. } = settings;
        Ok(Opened { session, cluster: CLUSTER, incarnation, ttl_ms, fence_after_ms })
    }

    async fn keepalive(&self, _: ClusterId, keepalive: Keepalive, timeout: Duration) -> Result<KeepaliveAnswer, LinkError> {
        let mut mode = self.mode.subscribe();
        if *mode.borrow() == Mode::Silent {
            return Err(unreachable());
        }
        self.with(|inner| inner.keepalives.push(keepalive.clone()));
        let order = Order::RecordKeepalives(RecordKeepalives { keepalives: vec![keepalive] });
        let Outcome::Keepalives(mut answers) = self.apply(None, order) else { panic!() };
        let answer = answers.remove(0);
        self.with(|inner| inner.answers.push(answer.clone()));
        if *mode.borrow_and_update() == Mode::Hold {
            let _ = tokio::time::timeout(timeout * 100, mode.wait_for(|mode| *mode != Mode::Hold)).await;
        }
        if *mode.borrow() == Mode::LoseAnswer { Err(unreachable()) } else { Ok(answer) }
    }

    async fn assignments(
        &self,
        _: ClusterId,
        _: HostId,
        session: SessionId,
    ) -> Result<BoxStream<'static, Result<AssignmentUpdate, LinkError>>, LinkError> {
        let mut broken = self.streams.subscribe();
        broken.borrow_and_update();
        let end = async move { broken.changed().await.map_or((), |()| ()) };
        if let Some(only) = self.with(|inner| inner.stale_stream.take()) {
            return Ok(futures::stream::iter([Ok(only)]).chain(futures::stream::pending()).take_until(Box::pin(end)).boxed());
        }
        let (control, mut changes) = (self.clone(), self.changes.subscribe());
        changes.mark_changed();
        let updates = futures::stream::unfold((control, changes, None), move |(control, mut changes, mut sent)| async move {
            loop {
                changes.changed().await.ok()?;
                let (position, now) = control.assigned(session);
                let update = difference(position, sent.as_ref(), &now);
                sent = Some(now);
                if let Some(update) = update {
                    return Some((Ok(update), (control, changes, sent)));
                }
            }
        });
        Ok(updates.take_until(Box::pin(end)).boxed())
    }

    async fn report(&self, request: ReportRequest) -> Result<(), LinkError> {
        let order = RecordObservation { session: request.session, instances: request.instances };
        accepted(self.apply(Some(request.request), Order::RecordObservation(order))).map(|_| ())
    }

    async fn release(&self, request: ReleaseRequest) -> Result<(), LinkError> {
        if *self.mode.borrow() == Mode::Silent {
            return Err(unreachable());
        }
        self.with(|inner| inner.releases.push(request.clone()));
        let ReleaseRequest { request: id, session, lease, token, exit, finished, .. } = request;
        let outcome = self.apply(Some(id), Order::ReleaseLease(ReleaseLease { lease, token, session, exit, finished }));
        let lost = self.with(|inner| {
            let lost = inner.lose_releases > 0;
            inner.lose_releases = inner.lose_releases.saturating_sub(1);
            lost
        });
        if lost { Err(unreachable()) } else { accepted(outcome).map(|_| ()) }
    }

    async fn propose(&self, request: ProposeRequest) -> Result<Made, LinkError> {
        if *self.mode.borrow() == Mode::Silent {
            return Err(unreachable());
        }
        accepted(self.apply(Some(request.request), request.order))
    }

    async fn why(&self, _: ClusterId, name: &str) -> Result<Option<WhyAnswer>, LinkError> {
        if *self.mode.borrow() == Mode::Silent {
            return Err(unreachable());
        }
        let Ok(id) = VolumeId::new(name) else { return Ok(None) };
        Ok(self.state(|s| {
            let volume = s.volume(&id)?.clone();
            Some(WhyAnswer { volume: Some(volume), holder: s.lease_of_volume(&id).cloned(), ..WhyAnswer::default() })
        }))
    }

    async fn log_channel(
        &self,
        _: SessionId,
        _: mpsc::Receiver<LogDelivery>,
    ) -> Result<BoxStream<'static, Result<LogOrder, LinkError>>, LinkError> {
        Err(unreachable())
    }

    fn leader_changes(&self) -> watch::Receiver<u64> {
        self.leader.subscribe()
    }
}

/// A host's leases, and its fenced holders.
type Assigned = (BTreeMap<Token, Lease>, Vec<FencedHolder>);

fn difference(position: Position, sent: Option<&Assigned>, (now, fenced): &Assigned) -> Option<AssignmentUpdate> {
    let Some((sent, sent_fenced)) = sent else {
        return Some(AssignmentUpdate {
            position,
            full: true,
            leases: now.values().cloned().collect(),
            gone: vec![],
            fenced: fenced.to_vec(),
        });
    };
    let leases: Vec<Lease> = now.values().filter(|l| sent.get(&l.token) != Some(l)).cloned().collect();
    let gone: Vec<Token> = sent.keys().filter(|token| !now.contains_key(token)).copied().collect();
    let fenced = fenced.to_vec();
    if leases.is_empty() && gone.is_empty() && *sent_fenced == fenced {
        None
    } else {
        Some(AssignmentUpdate { position, full: false, leases, gone, fenced })
    }
}
