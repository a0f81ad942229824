//! One fence attempt or lift, whole: killable, bounded. Started as a task by the leader's driver after the entry was applied (L21).

use std::sync::Arc;
use std::time::Duration;

use berth_state::ids::{HostId, Revision, Token};
use berth_state::noun::fence::{FenceMethod, MAX_OUTPUT_BYTES};
use berth_state::noun::host::FenceAgent;

use crate::fencing::agent;
use crate::fencing::storage::{Cut, StorageFence};

/// What an attempt is to do, read from the state when its entry was applied.
#[derive(Clone, Debug)]
pub struct Work {
    pub attempt: Revision,
    pub host: HostId,
    pub method: FenceMethod,
    pub agent: Option<FenceAgent>,
    pub tokens: Vec<Token>,
    pub cuts: Vec<Cut>,
    pub timeout_ms: u64,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Finished {
    pub attempt: Revision,
    pub host: HostId,
    pub method: FenceMethod,
    pub ok: bool,
    pub output: String,
    pub tokens: Vec<Token>,
}

pub async fn carry_out(work: Work, storage: Arc<dyn StorageFence>) -> Finished {
    let action = async {
        match (work.method, &work.agent) {
            (FenceMethod::PowerOff, Some(agent)) => agent::power_off(agent).await,
            (FenceMethod::PowerOff, None) => Err("the host's fence agent was changed or removed meanwhile".to_owned()),
            (FenceMethod::StorageCut, _) => cut_all(&work.cuts, &*storage).await,
        }
    };
    let result = tokio::time::timeout(Duration::from_millis(work.timeout_ms), action).await;
    let result = result.unwrap_or_else(|_| Err(format!("not done within {} ms; killed", work.timeout_ms)));
    let (ok, output) = match result {
        Ok(said) => (true, said),
        Err(why) => (false, why),
    };
    Finished { attempt: work.attempt, host: work.host, method: work.method, ok, output: shortened(output), tokens: work.tokens }
}

async fn cut_all(cuts: &[Cut], storage: &dyn StorageFence) -> Result<String, String> {
    if cuts.is_empty() {
        return Err("nothing to cut is known any more".to_owned());
    }
    let mut said = Vec::new();
    for cut in cuts {
        said.push(storage.cut(cut).await.map_err(|why| format!("{}: {why}", cut.volume))?);
    }
    Ok(said.join("; "))
}

fn shortened(mut text: String) -> String {
    let mut end = text.len().min(MAX_OUTPUT_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}
