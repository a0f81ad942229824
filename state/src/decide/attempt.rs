//! Decisions on fence attempts (L15, L21): each is an entry before the action and one after it, and no host has two at once. Called only by `decide`.

use crate::command::{BeginFenceAttempt, EndFenceAttempt};
use crate::decide::Decision;
use crate::event::Fact;
use crate::ids::Revision;
use crate::noun::fence::MAX_OUTPUT_BYTES;
use crate::noun::host::FenceAttempt;
use crate::rejection::Rejection;
use crate::state::ClusterState;

pub(super) fn begin(state: &ClusterState, at: Revision, cmd: &BeginFenceAttempt) -> Result<Decision, Rejection> {
    let host = state.need_host(&cmd.host)?;
    if let Some(open) = &host.attempt
        && cmd.instead != Some(open.id)
    {
        return Err(Rejection::AttemptOpen { host: host.id.clone(), attempt: open.id, node: open.node });
    }
    let invalid = |field: &str, reason: &str| Err(Rejection::Invalid { field: field.to_owned(), reason: reason.to_owned() });
    if cmd.tokens.is_empty() || cmd.tokens.len() > 4_096 {
        return invalid("tokens", "1 to 4096 leases to end");
    }
    for token in &cmd.tokens {
        let ordered = state.lease_by_token(*token).is_some_and(|lease| lease.host == host.id)
            && state.fences.get(token).is_some_and(|fence| fence.method == Some(cmd.method) && fence.done.is_none());
        if !ordered {
            return invalid("tokens", "each an un-ended lease of the host whose fence by this method was started");
        }
    }
    if cmd.agent.is_empty() || cmd.agent.len() > 256 || !(100..=600_000).contains(&cmd.timeout_ms) {
        return invalid("agent, timeout_ms", "a name of at most 256 bytes; 100 to 600000 ms");
    }
    let attempt = FenceAttempt {
        id: at,
        method: cmd.method,
        agent: cmd.agent.clone(),
        node: cmd.node,
        tokens: cmd.tokens.clone(),
        timeout_ms: cmd.timeout_ms,
        time: state.clock(),
    };
    Ok(Decision::one(Fact::FenceAttempted { host: host.id.clone(), attempt, instead: cmd.instead }))
}

pub(super) fn end(state: &ClusterState, cmd: &EndFenceAttempt) -> Result<Decision, Rejection> {
    let host = state.need_host(&cmd.host)?;
    if host.attempt.as_ref().is_none_or(|open| open.id != cmd.attempt) {
        return Err(Rejection::AttemptUnknown { host: host.id.clone(), attempt: cmd.attempt });
    }
    if cmd.output.len() > MAX_OUTPUT_BYTES {
        return Err(Rejection::Invalid { field: "output".to_owned(), reason: format!("at most {MAX_OUTPUT_BYTES} bytes: shorten it") });
    }
    // The event log is kept for ever, and an agent may print what it was given. Longer than the bound by a few stars at most.
    let output = host.spec.fence_agents.iter().fold(cmd.output.clone(), |output, agent| agent.secrets.redacted(&output));
    let (attempt, ok) = (cmd.attempt, cmd.ok);
    Ok(Decision::one(Fact::FenceTried { host: host.id.clone(), attempt, ok, output }))
}
