//! The demo's talk with its cluster: the client that every command of berth uses, and waiting. Every wait is bounded.

use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::time::Duration;

use anyhow::Context;
use berth_state::ids::{ClusterId, Revision};
use berth_state::{Event, Order};

use crate::client::Client;
use crate::client::nodes::NodeView;
use crate::client::registry::Registry;
use crate::client::retry::Retry;
use crate::config::Config;
use crate::failure::Failure;
use crate::output::Format;

/// No answer and no step takes this long on a machine that works.
pub const STEP: Duration = Duration::from_secs(30);
/// How often a question is asked again while the answer is not there yet.
const AGAIN: Duration = Duration::from_millis(50);

/// Who leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leader {
    pub node: u64,
    pub term: u64,
}

pub struct Control {
    client: Client,
    /// One client a node, for what is asked of that node and no other.
    nodes: Vec<(u64, Client)>,
    /// Events up to here have been seen.
    seen: Revision,
}

impl Control {
    #[must_use]
    pub fn new(cluster: ClusterId, nodes: &[(u64, SocketAddr)]) -> Self {
        let client = |endpoints: Vec<String>| {
            Client::new(&Config { endpoints, cluster: Some(cluster), timeout: STEP, format: Format::Json, stale: false, request: None })
        };
        let all = nodes.iter().map(|(_, address)| address.to_string()).collect();
        let each = nodes.iter().map(|(id, address)| (*id, client(vec![address.to_string()]))).collect();
        Self { client: client(all), nodes: each, seen: Revision(0) }
    }

    /// Every node as it sees itself.
    ///
    /// # Errors
    /// One of another cluster answers.
    pub async fn nodes(&mut self) -> Result<Vec<NodeView>, Failure> {
        self.client.nodes().await
    }

    /// Waits for a leader with a majority in a term above `term`.
    ///
    /// # Errors
    /// There is none in time.
    pub async fn leader_after(&mut self, term: u64) -> anyhow::Result<Leader> {
        let leader = async |control: &mut Self| {
            let nodes = control.nodes().await?;
            let leaders = nodes.iter().filter(|node| node.leads()).filter_map(|node| Some(Leader { node: node.node?, term: node.term? }));
            Ok(leaders.filter(|leader| leader.term > term).max_by_key(|leader| leader.term))
        };
        self.until("a leader with a majority", leader).await
    }

    /// Waits until `look` finds what it looks for.
    ///
    /// # Errors
    /// It does not in time; or those of `look`.
    pub async fn until<T>(&mut self, what: &str, look: impl AsyncFn(&mut Self) -> anyhow::Result<Option<T>>) -> anyhow::Result<T> {
        let search = async {
            loop {
                if let Some(found) = look(self).await? {
                    return Ok(found);
                }
                tokio::time::sleep(AGAIN).await;
            }
        };
        tokio::time::timeout(STEP, search).await.with_context(|| format!("waited {} s in vain for {what}", STEP.as_secs()))?
    }

    /// Gives one order; it is done once, whoever dies meanwhile.
    ///
    /// # Errors
    /// It is refused, or nobody answers in time.
    pub async fn write(&mut self, order: Order) -> Result<(), Failure> {
        self.client.write(order, Retry::Same).await.map(|_| ())
    }

    /// All objects, linearizable.
    ///
    /// # Errors
    /// Nobody answers in time.
    pub async fn read(&mut self) -> Result<Registry, Failure> {
        self.client.read().await
    }

    /// Hands the events that were not seen yet to `see`, in order and as they happen, until it says that this was the one waited for.
    ///
    /// # Errors
    /// It does not come in time.
    pub async fn follow(&mut self, what: &str, mut see: impl FnMut(&Event) -> bool) -> anyhow::Result<()> {
        let mut seen = self.seen;
        let mut take = |events: Vec<Event>| {
            let mut found = false;
            for event in &events {
                seen = event.revision;
                found |= see(event);
            }
            Ok(if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        };
        let followed = tokio::time::timeout(STEP, self.client.follow(Some(self.seen), &mut take)).await;
        self.seen = seen;
        followed.with_context(|| format!("waited {} s in vain for {what}", STEP.as_secs()))??;
        Ok(())
    }

    /// The whole event log of one node.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn history(&mut self, node: u64) -> anyhow::Result<Vec<Event>> {
        let (_, client) = self.nodes.iter_mut().find(|(id, _)| *id == node).with_context(|| format!("there is no node {node}"))?;
        let mut events = vec![];
        let mut take = |batch: Vec<Event>| {
            events.extend(batch);
            Ok(ControlFlow::Continue(()))
        };
        let _ = client.history(Revision(0), 0, &mut take).await.with_context(|| format!("event log of node {node}"))?;
        Ok(events)
    }
}
