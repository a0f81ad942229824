//! The registry as of one revision, read from the leader, or from any node when `--stale` is asked for.

use berth_state::codec::{CodecError, Wire};
use berth_state::ids::{Revision, Token};
use berth_state::noun::cluster::Cluster;
use berth_state::noun::container::Container;
use berth_state::noun::fence::Fence;
use berth_state::noun::host::Host;
use berth_state::noun::lease::Lease;
use berth_state::noun::session::Session;
use berth_state::noun::volume::Volume;
use berth_state::pb::api;

use super::Client;
use crate::failure::Failure;
use crate::proof::chain::{Hash, Head};

/// Everything a user may read.
#[derive(Clone, Debug)]
pub struct Registry {
    pub revision: Revision,
    pub cluster: Option<Cluster>,
    pub hosts: Vec<Host>,
    pub volumes: Vec<Volume>,
    pub containers: Vec<Container>,
    pub leases: Vec<Lease>,
    pub sessions: Vec<Session>,
    pub fences: Vec<Fence>,
    /// Where the event log ends at this revision; `None`: a server of another version, or nothing has happened.
    pub history: Option<Head>,
}

fn all<T: Wire>(list: Vec<T::Pb>) -> Result<Vec<T>, CodecError> {
    list.into_iter().map(T::from_pb).collect()
}

impl Registry {
    fn from_pb(pb: api::ReadResponse) -> Result<Self, CodecError> {
        Ok(Self {
            revision: Revision(pb.revision),
            cluster: pb.cluster.map(Cluster::from_pb).transpose()?,
            hosts: all(pb.hosts)?,
            volumes: all(pb.volumes)?,
            containers: all(pb.containers)?,
            leases: all(pb.leases)?,
            sessions: all(pb.sessions)?,
            fences: all(pb.fences)?,
            history: pb.history.and_then(|h| Some(Head { revision: h.revision, seq: h.seq, hash: Hash::from_bytes(&h.hash)? })),
        })
    }

    /// # Errors
    /// [`Failure::NotFound`]; the same for the next ones.
    pub fn host(&self, name: &str) -> Result<&Host, Failure> {
        self.hosts.iter().find(|h| h.id.as_str() == name).ok_or_else(|| Failure::NotFound(format!("no host {name}: see `berth host ls`")))
    }

    /// # Errors
    /// [`Failure::NotFound`].
    pub fn volume(&self, name: &str) -> Result<&Volume, Failure> {
        self.volumes
            .iter()
            .find(|v| v.id.as_str() == name)
            .ok_or_else(|| Failure::NotFound(format!("no volume {name}: see `berth volume ls`")))
    }

    /// # Errors
    /// [`Failure::NotFound`].
    pub fn container(&self, name: &str) -> Result<&Container, Failure> {
        let found = self.containers.iter().find(|c| c.id.as_str() == name);
        found.ok_or_else(|| Failure::NotFound(format!("no container {name}: see `berth container ls`")))
    }

    #[must_use]
    pub fn lease_of_container(&self, name: &str) -> Option<&Lease> {
        self.leases.iter().find(|l| l.container.as_str() == name)
    }

    #[must_use]
    pub fn lease_of_volume(&self, name: &str) -> Option<&Lease> {
        self.leases.iter().find(|l| l.volumes.iter().any(|v| v.volume.as_str() == name))
    }

    pub fn leases_of_host<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Lease> {
        self.leases.iter().filter(move |l| l.host.as_str() == name)
    }

    /// The newest token that was ever given to the container; 0: none.
    #[must_use]
    pub fn newest_token(&self, name: &str) -> Token {
        let present = self.lease_of_container(name).map(|l| l.token);
        let last = self.containers.iter().find(|c| c.id.as_str() == name).and_then(|c| c.last_lease.as_ref()).map(|l| l.token);
        present.max(last).unwrap_or_default()
    }
}

impl Client {
    /// # Errors
    /// No quorum, nobody reachable, another cluster.
    pub async fn read(&mut self) -> Result<Registry, Failure> {
        self.read_as(self.stale).await
    }

    /// # Errors
    /// The same.
    pub async fn read_as(&mut self, stale: bool) -> Result<Registry, Failure> {
        let message = api::ReadRequest { cluster_id: self.cluster_bytes(), stale };
        let answered = self.ask(async |mut client| client.read(message.clone()).await).await.map_err(|gaveup| gaveup.failure)?;
        Registry::from_pb(answered.value).map_err(|source| Failure::Undecodable { endpoint: answered.endpoint, source })
    }
}
