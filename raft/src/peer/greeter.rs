//! Makes this node known to its peers early. Run by `node` in the background. Votes and entries introduce nodes too, but a follower that was never
//! asked for its vote would not know the stores of the others, and could not tell a wiped one from the one it was.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tonic::Status;
use tracing::warn;

use crate::peer::identity::Doorman;
use crate::peer::links::{Lane, Links};
use crate::peer::pb;
use crate::types::Member;

/// Between two rounds; a round calls only those not met yet.
const ROUND: Duration = Duration::from_secs(1);
/// For one call.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Calls the members this node has not met, until it has met them all; goes on watching for new ones until `stopping`.
pub async fn run(doorman: Doorman, links: Arc<Links>, members: impl Fn() -> BTreeMap<u64, Member> + Send, stopping: CancellationToken) {
    // What each peer last refused us with: said once, not every second.
    let mut refused: BTreeMap<u64, String> = BTreeMap::new();
    loop {
        let me = doorman.identity().node;
        let unmet: Vec<_> = members().into_iter().filter(|(id, _)| *id != me && !doorman.knows(*id)).collect();
        for (id, member) in unmet {
            let Err(why) = call(&doorman, &links, id, &member).await else { continue };
            if refused.insert(id, why.clone()).is_none_or(|before| before != why) {
                warn!(peer = id, address = %member, %why, "not met yet");
            }
        }
        tokio::select! {
            () = stopping.cancelled() => return,
            () = tokio::time::sleep(ROUND) => {}
        }
    }
}

async fn call(doorman: &Doorman, links: &Links, id: u64, member: &Member) -> Result<(), String> {
    let mut stub = links.to(id, &member.address, Lane::Log).map_err(|e| e.to_string())?;
    let hello = pb::HelloRequest { envelope: Some(doorman.envelope(id)) };
    let answer = match tokio::time::timeout(TIMEOUT, stub.hello(hello)).await {
        Ok(answer) => answer.map_err(|status: Status| format!("{:?}: {}", status.code(), status.message()))?,
        Err(_elapsed) => return Err(format!("no answer within {TIMEOUT:?}")),
    };
    doorman.recognise(id, &answer.into_inner().store).map_err(|e| e.to_string())
}
