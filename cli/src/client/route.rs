//! From node to node until one answers: follows the leader's address, goes on after a lost connection, waits out an election, all within the
//! overall timeout. Must never repeat a write under another request id: the call that it repeats is the same each time.

use std::collections::VecDeque;
use std::time::Duration;

use berth_state::pb::api::registry_client::RegistryClient;
use tonic::transport::Channel;
use tonic::{Response, Status};

use super::Client;
use super::answer::{Refused, classify};
use crate::failure::Failure;

/// One try at one node; a node that says nothing for so long is left for the next.
const ATTEMPT: Duration = Duration::from_secs(3);
/// Between rounds over all nodes.
const PAUSE: Duration = Duration::from_millis(100);
/// Rounds in which no node could be connected to at all, after which it is given up before the timeout: nobody is there.
const EMPTY_ROUNDS: u32 = 5;
/// Redirects followed within one round, so that two nodes that name each other do not keep us.
const HOPS: u32 = 4;

/// What was learned on the way.
#[derive(Debug, Default)]
pub struct Journey {
    /// A call is out, and no answer is in.
    in_flight: Option<String>,
    /// Why an earlier try may have been carried out although it was not answered.
    pub(super) open: Option<String>,
    last: Option<Trouble>,
    /// Nodes that could not be connected to, with the reason, since the last that could.
    unreached: Vec<(String, String)>,
}

/// Why no node has answered yet.
#[derive(Debug)]
enum Trouble {
    NoLeader,
    NoQuorum(String),
    Busy(String),
    Lost(String),
}

/// The answer and who gave it.
pub struct Answered<T> {
    pub endpoint: String,
    pub value: T,
}

/// Why there is none.
pub struct Gaveup {
    pub failure: Failure,
    /// Set when a try may have been carried out.
    pub open: Option<String>,
}

impl Client {
    /// # Errors
    /// The failure that ended it; for a write the caller must look at `open` first.
    pub(super) async fn ask<T, C>(&mut self, call: C) -> Result<Answered<T>, Gaveup>
    where
        C: AsyncFn(RegistryClient<Channel>) -> Result<Response<T>, Status>,
    {
        let mut journey = Journey::default();
        let after = self.timeout;
        match tokio::time::timeout(after, self.travel(&call, &mut journey)).await {
            Ok(Ok(answered)) => Ok(answered),
            Ok(Err(failure)) => Err(Gaveup { failure, open: journey.open }),
            Err(_) => Err(journey.late(after)),
        }
    }

    async fn travel<T, C>(&mut self, call: &C, journey: &mut Journey) -> Result<Answered<T>, Failure>
    where
        C: AsyncFn(RegistryClient<Channel>) -> Result<Response<T>, Status>,
    {
        let mut empty_rounds = 0;
        loop {
            let mut queue: VecDeque<String> =
                self.leader.iter().chain(self.endpoints.iter().filter(|e| Some(*e) != self.leader.as_ref())).cloned().collect();
            let mut hops = 0;
            let mut reached = false;
            while let Some(endpoint) = queue.pop_front() {
                let client = match self.connect(&endpoint).await {
                    Ok(client) => client,
                    Err(why) => {
                        journey.not_reached(endpoint, why);
                        continue;
                    }
                };
                reached = true;
                match self.attempt(&endpoint, client, call, journey).await? {
                    Step::Answer(value) => {
                        self.leader = Some(endpoint.clone());
                        return Ok(Answered { endpoint, value });
                    }
                    Step::Ask(leader) if hops < HOPS => {
                        hops += 1;
                        queue.retain(|known| *known != leader);
                        queue.push_front(leader);
                    }
                    Step::Ask(_) | Step::Next => {}
                }
            }
            self.leader = None;
            empty_rounds = if reached { 0 } else { empty_rounds + 1 };
            // As long as a try may have been carried out, only an answer is good enough.
            if empty_rounds >= EMPTY_ROUNDS && journey.open.is_none() {
                return Err(journey.nobody());
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// One call to one node. An error is final.
    async fn attempt<T, C>(
        &mut self,
        endpoint: &str,
        client: RegistryClient<Channel>,
        call: &C,
        journey: &mut Journey,
    ) -> Result<Step<T>, Failure>
    where
        C: AsyncFn(RegistryClient<Channel>) -> Result<Response<T>, Status>,
    {
        journey.in_flight = Some(format!("{endpoint} did not answer in time"));
        let outcome = tokio::time::timeout(ATTEMPT, call(client)).await;
        let silent = journey.in_flight.take().unwrap_or_default();
        let refused = match outcome {
            Ok(Ok(response)) => return Ok(Step::Answer(response.into_inner())),
            Ok(Err(status)) => classify(&status),
            Err(_) => Refused::Lost(silent),
        };
        match refused {
            Refused::NotLeader { leader } => {
                journey.last = Some(Trouble::NoLeader);
                return Ok(leader.map_or(Step::Next, Step::Ask));
            }
            Refused::NoQuorum(why) => journey.last = Some(Trouble::NoQuorum(why)),
            Refused::Busy => journey.last = Some(Trouble::Busy(endpoint.to_owned())),
            Refused::Unknown(why) => journey.open = Some(why),
            Refused::Lost(why) => {
                self.channels.remove(endpoint);
                journey.open = Some(format!("the connection to {endpoint} was lost ({why})"));
                journey.last = Some(Trouble::Lost(format!("{endpoint}: {why}")));
            }
            Refused::WrongCluster { actual } => return Err(Failure::wrong_cluster(endpoint, self.cluster, &actual)),
            Refused::NotFound(message) => return Err(Failure::NotFound(message)),
            Refused::CorruptHistory(message) => return Err(Failure::CorruptHistory { endpoint: endpoint.to_owned(), message }),
            Refused::Failed(message) => return Err(Failure::Server { endpoint: endpoint.to_owned(), message }),
        }
        Ok(Step::Next)
    }
}

enum Step<T> {
    Answer(T),
    /// The leader's address, as the node said it.
    Ask(String),
    Next,
}

impl Journey {
    fn not_reached(&mut self, endpoint: String, why: String) {
        self.unreached.retain(|(known, _)| *known != endpoint);
        self.unreached.push((endpoint, why));
    }

    fn nobody(&self) -> Failure {
        let tried: Vec<String> = self.unreached.iter().map(|(endpoint, why)| format!("{endpoint}: {why}")).collect();
        Failure::Unreachable { tried: tried.join("; ") }
    }

    /// What the timeout means, by what was learned before it.
    fn late(mut self, after: Duration) -> Gaveup {
        let open = self.in_flight.take().or(self.open.take());
        let failure = match (self.last.take(), &open) {
            (Some(Trouble::NoLeader), _) => Failure::NoQuorum { why: "no node leads".to_owned() },
            (Some(Trouble::NoQuorum(why)), _) => Failure::NoQuorum { why },
            (Some(Trouble::Busy(endpoint)), _) => Failure::Busy { endpoint },
            (Some(Trouble::Lost(why)), _) => Failure::TimedOut { after, why },
            (None, Some(why)) => Failure::TimedOut { after, why: why.clone() },
            (None, None) => self.nobody(),
        };
        Gaveup { failure, open }
    }
}
