//! Why a volume or container is where it is, as the leader tells it.

use berth_state::Event;
use berth_state::codec::{CodecError, Wire};
use berth_state::ids::Revision;
use berth_state::noun::container::Container;
use berth_state::noun::fence::Fence;
use berth_state::noun::host::{FenceAttempt, FencedHolder};
use berth_state::noun::lease::Lease;
use berth_state::noun::volume::{Bar, Suspicion, Volume};
use berth_state::pb::api;
use serde::Serialize;

use super::Client;
use crate::failure::Failure;

/// `why -o json`.
#[derive(Clone, Debug, Serialize)]
pub struct Why {
    pub revision: Revision,
    /// `volume` or `container`.
    pub subject: String,
    pub name: String,
    pub lease: Option<Lease>,
    pub volume: Option<Volume>,
    pub container: Option<Container>,
    /// The weakest rung that the promise of one writer stands on, 0 to 6; `None`: no host can have it now.
    pub rung: Option<u32>,
    pub rests_on: Vec<String>,
    /// What may break the promise all the same.
    pub cannot_hold: Vec<String>,
    pub standings: Vec<Standing>,
    /// Hosts that the storage keeps out.
    pub bars: Vec<Barred>,
    /// Hosts where a fenced holder is not yet known to be gone.
    pub unclean: Vec<Unclean>,
    /// The fence action under way.
    pub attempt: Option<FenceAttempt>,
    /// The newest fences, with their last tries.
    pub fences: Vec<Fence>,
    /// Until the next try to fence, where one is waited for.
    pub fence_retry_ms: Option<u64>,
    pub suspicions: Vec<Suspect>,
    /// `rests_on` and `cannot_hold` in one list.
    pub promise: Vec<String>,
    pub blocks: Vec<String>,
    pub earliest_takeover_ms: Option<u64>,
    pub silent_ms: Option<u64>,
    pub unplaced: Vec<Unplaced>,
    pub history: Vec<Event>,
}

/// What one volume stands on.
#[derive(Clone, Debug, Serialize)]
pub struct Standing {
    pub volume: String,
    pub rung: Option<u32>,
    pub rests_on: Vec<String>,
    pub cannot_hold: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Barred {
    pub volume: String,
    #[serde(flatten)]
    pub bar: Bar,
}

#[derive(Clone, Debug, Serialize)]
pub struct Unclean {
    pub host: String,
    #[serde(flatten)]
    pub holder: FencedHolder,
}

#[derive(Clone, Debug, Serialize)]
pub struct Suspect {
    pub volume: String,
    #[serde(flatten)]
    pub suspicion: Suspicion,
}

#[derive(Clone, Debug, Serialize)]
pub struct Unplaced {
    pub host: String,
    pub reason: String,
}

impl Why {
    fn from_pb(pb: api::WhyResponse) -> Result<Self, CodecError> {
        Ok(Self {
            revision: Revision(pb.revision),
            subject: pb.subject,
            name: pb.name,
            lease: pb.lease.map(Lease::from_pb).transpose()?,
            volume: pb.volume.map(Volume::from_pb).transpose()?,
            container: pb.container.map(Container::from_pb).transpose()?,
            rung: pb.rung,
            rests_on: pb.rests_on,
            cannot_hold: pb.cannot_hold,
            standings: pb.standings.into_iter().map(standing).collect(),
            bars: with(pb.bars, |b| Ok(b.bar.map(Bar::from_pb).transpose()?.map(|bar| Barred { volume: b.volume, bar })))?,
            unclean: with(pb.unclean, |u| {
                Ok(u.holder.map(FencedHolder::from_pb).transpose()?.map(|holder| Unclean { host: u.host, holder }))
            })?,
            attempt: pb.attempt.map(FenceAttempt::from_pb).transpose()?,
            fences: pb.fences.into_iter().map(Fence::from_pb).collect::<Result<_, _>>()?,
            fence_retry_ms: pb.fence_retry_ms,
            suspicions: with(pb.suspicions, |s| {
                Ok(s.suspicion.map(Suspicion::from_pb).transpose()?.map(|suspicion| Suspect { volume: s.volume, suspicion }))
            })?,
            promise: pb.promise,
            blocks: pb.blocks,
            earliest_takeover_ms: pb.earliest_takeover_ms,
            silent_ms: pb.silent_ms,
            unplaced: pb.unplaced.into_iter().map(|r| Unplaced { host: r.host, reason: r.reason }).collect(),
            history: pb.history.into_iter().map(Event::from_pb).collect::<Result<_, _>>()?,
        })
    }
}

fn standing(pb: api::Standing) -> Standing {
    Standing { volume: pb.volume, rung: pb.rung, rests_on: pb.rests_on, cannot_hold: pb.cannot_hold }
}

/// Those that have what they are about.
fn with<P, T>(list: Vec<P>, read: impl Fn(P) -> Result<Option<T>, CodecError>) -> Result<Vec<T>, CodecError> {
    list.into_iter().filter_map(|pb| read(pb).transpose()).collect()
}

impl Client {
    /// # Errors
    /// No such volume or container; no quorum.
    pub async fn why(&mut self, name: &str) -> Result<Why, Failure> {
        let message = api::WhyRequest { cluster_id: self.cluster_bytes(), name: name.to_owned() };
        let answered = self.ask(async |mut client| client.why(message.clone()).await).await.map_err(|gaveup| gaveup.failure)?;
        Why::from_pb(answered.value).map_err(|source| Failure::Undecodable { endpoint: answered.endpoint, source })
    }
}
