//! Leases, evidence and instances as protobuf.

use crate::codec::wire::{enumeration, message, oneof};
use crate::event::CloseReason;
use crate::noun::lease::{
    Ended, Evidence, Exit, GrantCause, InstanceHealth, InstanceState, InstanceStatus, Lease, LeasedVolume, Phase, RevokeReason, Revoked,
    WithdrawReason,
};
use crate::noun::session::Renewal;

message! {
    Lease {
        id, token, container, host, session, boot, ledger, phase, cause, guard, volumes, spec, version, granted, activated, revoked, expired,
        instance;
        granted_time as granted_time_ms,
    }
}
message! { LeasedVolume { volume, spec, cut } }
message! { Revoked { reason, at, drain_ms; time as time_ms } }
message! { InstanceStatus { attempt, state, health, last_exit, message } }
message! { Exit { code, reason } }
message! { Renewal { renewed, ttl_ms } }

oneof! { GrantCause in grant_cause { Placed {}, Relocated { from }, Failover { from }, Claimed {} } }
oneof! { Ended in ended { Withdrawn { why }, Released { exit }, Fenced { evidence } } }
oneof! { Evidence in evidence { RanOut { expired_at }, StorageCut {}, PoweredOff {}, OperatorConfirmed { name, reason } } }

enumeration! {
    Phase { Granted, Active, Closing, Expired }
    RevokeReason { Stop, Restart, Move, Drain, Operator }
    CloseReason { DrainOver, SessionSilent, SessionCloned }
    WithdrawReason { NotActivated, NoLongerWanted, HostUnfit }
    InstanceState { Preparing, Running, BackOff, Stopping, Stopped }
    InstanceHealth { Unchecked, Starting, Healthy, Unhealthy }
}
