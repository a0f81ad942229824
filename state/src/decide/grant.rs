//! The grant rule (L1-L3): who may get a lease. Called only by `decide`.

use crate::command::GrantLease;
use crate::decide::{Decision, container, volume};
use crate::event::Fact;
use crate::ids::{ContainerId, HostId, LeaseId, Revision, Token};
use crate::noun::container::{Container, Desired};
use crate::noun::host::Scheduling;
use crate::noun::lease::{Ended, GrantCause};
use crate::outcome::Made;
use crate::placement::{self, Unfit};
use crate::rejection::Rejection;
use crate::state::ClusterState;

/// Gives `cmd.host` the sole right to run `cmd.container` on its volumes.
///
/// The token is the log index of this very entry (plus the floor), so a holder that slept through its own takeover is recognisable by
/// number alone, whatever its clock says. A grant starts no clock and gives no right to attach, mount or start.
pub(super) fn grant(state: &ClusterState, at: Revision, cmd: &GrantLease) -> Result<Decision, Rejection> {
    let container = state.need_container(&cmd.container)?;
    if container.version != cmd.version {
        let object = format!("container {}", container.id);
        return Err(Rejection::VersionMismatch { object, expected: cmd.version, actual: container.version });
    }
    wanted(container)?;
    container::not_held(state, &container.id)?;
    for mount in &container.spec.volumes {
        volume::not_held(state, &mount.volume)?;
    }
    let host = state.need_host(&cmd.host)?;
    if host.scheduling != Scheduling::Open {
        return Err(Rejection::HostNotOpen { host: host.id.clone(), scheduling: host.scheduling });
    }
    let session = host.session.ok_or_else(|| Rejection::NoSession { host: host.id.clone() })?;
    if session != cmd.session {
        return Err(Rejection::SessionReplaced { session: cmd.session });
    }
    container::not_privileged(state, &container.spec)?;
    placement::fits(state, container, host).map_err(|why| unfit(&container.id, &host.id, why))?;
    let token = Token(state.need_cluster()?.floor + at.0);
    let lease = LeaseId(at.0);
    let fact = Fact::LeaseGranted {
        lease,
        token,
        container: container.id.clone(),
        version: container.version,
        host: host.id.clone(),
        session,
        cause: cause(container),
    };
    Ok(Decision::Change { facts: vec![fact], made: Made::Lease { lease, token } })
}

/// Whether the container is to run at all.
///
/// # Errors
/// [`Rejection::NotWanted`] says why not.
pub fn wanted(container: &Container) -> Result<(), Rejection> {
    let refuse = |why: String| Err(Rejection::NotWanted { container: container.id.clone(), why });
    match (&container.desired, &container.finished) {
        (Desired::Stopped, _) => refuse("it is stopped: `berth container start` it".to_owned()),
        (Desired::Running, Some(exit)) => {
            refuse(format!("it ended with code {} and its restart policy says no more: `berth container restart` it", exit.code))
        }
        (Desired::Running, None) => Ok(()),
    }
}

fn cause(container: &Container) -> GrantCause {
    match &container.last_lease {
        Some(last) => match &last.ended {
            Ended::Fenced { .. } => GrantCause::Failover { from: last.token },
            Ended::Released { .. } if container.relocation.is_some() => GrantCause::Relocated { from: last.token },
            Ended::Released { .. } | Ended::Withdrawn { .. } => GrantCause::Placed,
        },
        None => GrantCause::Placed,
    }
}

/// What guards a volume has a rejection of its own: it is the rule that matters most.
pub(super) fn unfit(container: &ContainerId, host: &HostId, why: Unfit) -> Rejection {
    match why {
        Unfit::NoGuard => Rejection::NoGuard { host: host.clone() },
        Unfit::NotGuarded { volume, takeover, guard, cut } => Rejection::NotGuarded { host: host.clone(), volume, takeover, guard, cut },
        Unfit::NotOpen { .. }
        | Unfit::NoSession
        | Unfit::NotLive { .. }
        | Unfit::NoRuntime { .. }
        | Unfit::NoDriver { .. }
        | Unfit::Fenced { .. }
        | Unfit::Barred { .. }
        | Unfit::SplitBrain { .. }
        | Unfit::NoFence { .. }
        | Unfit::NoStorageAddress { .. }
        | Unfit::Constraint { .. }
        | Unfit::AntiAffinity { .. }
        | Unfit::PortTaken { .. }
        | Unfit::Cpu { .. }
        | Unfit::Memory { .. }
        | Unfit::MoveElsewhere { .. }
        | Unfit::MoveAway => Rejection::DoesNotFit { container: container.clone(), host: host.clone(), why },
    }
}
