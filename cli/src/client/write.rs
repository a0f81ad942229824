//! Writes: one request id each, the same over every try, so that a write whose answer was lost is done once and its first answer is what counts.

use berth_state::codec::Wire;
use berth_state::ids::RequestId;
use berth_state::outcome::Accepted;
use berth_state::pb::api;
use berth_state::{Order, Outcome};

use super::retry::Retry;
use super::{Client, actor, retry};
use crate::failure::Failure;

impl Client {
    /// Carries out one order. `retry` says how this command line has to be changed to ask for exactly this order again.
    ///
    /// # Errors
    /// [`Failure::Rejected`] by the rules; [`Failure::Unknown`] when a try may have been carried out and no answer came; else what kept it from
    /// being tried.
    pub async fn write(&mut self, order: Order, retry: Retry) -> Result<Accepted, Failure> {
        let request = match self.request {
            Some(request) => request,
            None => fresh()?,
        };
        let message = api::WriteRequest {
            cluster_id: self.cluster_bytes(),
            request_id: request.0.to_vec(),
            actor: actor::name(),
            order: Some(order.to_pb()),
        };
        let answered = self.ask(async |mut client| client.write(message.clone()).await).await;
        let answered = answered.map_err(|gaveup| match gaveup.open {
            Some(why) => Failure::Unknown { request, why, retry: retry::command(request, &retry) },
            None => gaveup.failure,
        })?;
        let endpoint = answered.endpoint;
        let outcome = answered.value.outcome.ok_or_else(|| Failure::Incomplete { endpoint: endpoint.clone(), what: "an outcome" })?;
        match Outcome::from_pb(outcome).map_err(|source| Failure::Undecodable { endpoint: endpoint.clone(), source })? {
            Outcome::Accepted(accepted) => Ok(accepted),
            Outcome::Rejected(rejection) => Err(Failure::Rejected(rejection)),
            Outcome::Keepalives(_) => Err(Failure::Incomplete { endpoint, what: "an outcome of this order" }),
        }
    }
}

fn fresh() -> Result<RequestId, Failure> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|e| Failure::Random(e.to_string()))?;
    Ok(RequestId(id))
}
