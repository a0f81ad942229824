//! Decisions on fenced holders: what proves that one is gone (L15). Until then its host gets no lease and no bar against it is lifted. Called by
//! `decide` and by the other files of it.

use crate::command::UnfenceHost;
use crate::decide::{Decision, check};
use crate::event::Fact;
use crate::ids::{BootId, SessionId, Token};
use crate::noun::fence::GoneProof;
use crate::noun::host::Host;
use crate::outcome::Made;
use crate::rejection::Rejection;
use crate::state::ClusterState;

/// A release that came after the fence: the executor over the same ledger says that nothing of that token runs or is mounted any more.
pub(super) fn reported(state: &ClusterState, token: Token, session: SessionId) -> Decision {
    let known = state.session(session).and_then(|session| {
        let host = state.host(&session.host)?;
        host.fenced.iter().find(|holder| holder.token == token && holder.ledger == session.ledger).map(|_| host)
    });
    match known {
        Some(host) => Decision::one(Fact::HolderGone { host: host.id.clone(), token, proof: GoneProof::Reported }),
        None => Decision::unchanged(),
    }
}

/// Another boot than that of the fence: nothing of it can run any more.
pub(super) fn rebooted(host: &Host, boot: BootId) -> impl Iterator<Item = Fact> + '_ {
    let earlier = host.fenced.iter().filter(move |holder| holder.boot != boot);
    earlier.map(|holder| Fact::HolderGone { host: host.id.clone(), token: holder.token, proof: GoneProof::Rebooted })
}

/// An operator's word for every fenced holder of the host.
pub(super) fn unfence(state: &ClusterState, cmd: &UnfenceHost) -> Result<Decision, Rejection> {
    let host = state.need_host(&cmd.host)?;
    check::word_of(&cmd.name, &cmd.reason).map_err(|reason| Rejection::Invalid { field: "reason".to_owned(), reason })?;
    if host.fenced.is_empty() {
        return Err(Rejection::NothingToClear { object: format!("host {}", host.id), what: "fenced holder".to_owned() });
    }
    let proof = GoneProof::OperatorConfirmed { name: cmd.name.clone(), reason: cmd.reason.clone() };
    let gone = host.fenced.iter().map(|holder| Fact::HolderGone { host: host.id.clone(), token: holder.token, proof: proof.clone() });
    Ok(Decision::Change { facts: gone.collect(), made: Made::Done })
}
