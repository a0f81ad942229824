//! Why a volume or container is where it is, as the leader tells it.

use berth_state::Event;
use berth_state::codec::{CodecError, Wire};
use berth_state::ids::Revision;
use berth_state::noun::container::Container;
use berth_state::noun::lease::Lease;
use berth_state::noun::volume::Volume;
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
    pub promise: Vec<String>,
    pub blocks: Vec<String>,
    pub earliest_takeover_ms: Option<u64>,
    pub silent_ms: Option<u64>,
    pub unplaced: Vec<Unplaced>,
    pub history: Vec<Event>,
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
            promise: pb.promise,
            blocks: pb.blocks,
            earliest_takeover_ms: pb.earliest_takeover_ms,
            silent_ms: pb.silent_ms,
            unplaced: pb.unplaced.into_iter().map(|r| Unplaced { host: r.host, reason: r.reason }).collect(),
            history: pb.history.into_iter().map(Event::from_pb).collect::<Result<_, _>>()?,
        })
    }
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
