//! Outcomes and refusals as protobuf.

use crate::codec::error::CodecError;
use crate::codec::wire::{At, Field, message, oneof};
use crate::outcome::{Accepted, KeepaliveAnswer, Made, Outcome};
use crate::pb;
use crate::placement::Unfit;
use crate::rejection::Rejection;
use crate::state::Answered;

message! { Accepted { revision, made } }
message! { Answered { at, digest, outcome } }

oneof! { Outcome in outcome { Accepted(accepted), Rejected(rejection), Keepalives(answers) } }
oneof! { Made in made { Done {}, Unchanged {}, Version(version), Lease { lease, token }, Session(session) } }

// A oneof cannot hold a list: a message around it.
impl Field<pb::state::KeepaliveAnswers> for Vec<KeepaliveAnswer> {
    fn put(&self) -> pb::state::KeepaliveAnswers {
        pb::state::KeepaliveAnswers { answers: self.put() }
    }

    fn take(pb: pb::state::KeepaliveAnswers, at: At) -> Result<Self, CodecError> {
        Field::take(pb.answers, at)
    }
}

oneof! {
    Rejection in rejection {
        NotInitialized {},
        AlreadyInitialized { cluster },
        FormatRefused { format, why },
        RequestReused {},
        Undecodable { why },
        VersionMismatch { object, expected, actual },
        Invalid { field, reason },
        LimitExceeded { what, limit },
        HostNotFound { host },
        HostExists { host },
        HostHoldsLease { host, lease, token, container },
        HostHasSession { host, session },
        HostNotOpen { host, scheduling },
        VolumeNotFound { volume },
        VolumeExists { volume },
        VolumeHeld { volume, lease, token, container, host, phase },
        VolumeUsed { volume, container },
        TakeoverUnsupported { driver, takeover, why },
        ContainerNotFound { container },
        ContainerExists { container },
        ContainerHeld { container, lease, token, host, phase },
        NotWanted { container, why },
        DoesNotFit { container, host, why },
        LeaseNotFound { lease },
        TokenMismatch { lease, expected, actual },
        WrongPhase { lease, token, phase, action, needs },
        NotGuarded { host, volume, takeover, guard, cut },
        NoGuard { host },
        RenewedSince { object, named, actual },
        EvidenceRefused { lease, token, evidence, why },
        ReleaseRefused { session, lease, token, why },
        SessionNotFound { session },
        NoSession { host },
        SessionReplaced { session },
        SessionConflict { host, current, boot, because },
        SessionHoldsLease { session, lease, token, phase },
        AttemptOpen { host, attempt, node },
        AttemptUnknown { host, attempt },
        NotBarred { volume, host },
        LiftRefused { volume, host, why },
        NothingToClear { object, what },
        Privileged { volume },
        HostFenced { host, token },
        VolumeBarred { volume, host },
    }
}

oneof! {
    Unfit in unfit {
        NotOpen { scheduling },
        NoSession {},
        NotLive { health },
        NoRuntime { runtime },
        NoDriver { volume, driver },
        NoGuard {},
        NotGuarded { volume, takeover, guard, cut },
        Fenced { token },
        Barred { volume },
        SplitBrain { volume, token, other },
        NoFence { volume },
        NoStorageAddress { volume },
        Constraint { constraint } as ConstraintUnmet,
        AntiAffinity { other },
        PortTaken { port, by },
        Cpu { needed, free },
        Memory { needed, free },
        MoveElsewhere { to },
        MoveAway {},
    }
}
