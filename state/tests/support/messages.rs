//! Commands, events and answers, for the codec's tests.

use berth_state::command::{
    AddContainer, AddHost, AddVolume, BeginFenceAttempt, ChangeSettings, ClaimLease, ClearSuspicion, CloseLease, CloseSession, Command,
    EndFenceAttempt, ExpireLease, ExpireSession, FenceLease, FinishLift, GrantLease, InitCluster, Keepalive, MoveContainer,
    ObservedInstance, OpenSession, Order, RaiseFormat, RecordKeepalives, RecordObservation, ReleaseLease, RemoveContainer, RemoveHost,
    RemoveVolume, RestartContainer, RevokeLease, SetDesired, SetHealth, SetScheduling, StartFence, StartLift, SuspectSplitBrain,
    UnfenceHost, UpdateContainer, UpdateHost, UpdateVolume, WithdrawLease,
};
use berth_state::event::{CloseReason, Event, Fact, SessionEnd};
use berth_state::outcome::{Accepted, GoneReason, KeepaliveAnswer, LeaseVerdict, Made, Outcome, SessionVerdict};
use berth_state::placement::Unfit;
use berth_state::rejection::Rejection;
use berth_state::state::{Answered, ObjectKey};

use super::{arb_enum, arb_struct};

arb_struct! {
    Command { time, request, actor, order }
    InitCluster { cluster, settings }
    ChangeSettings { settings }
    RaiseFormat { format }
    AddHost { host, spec }
    UpdateHost { host, version, spec }
    RemoveHost { host }
    SetScheduling { host, scheduling }
    SetHealth { session, renewed, health }
    AddVolume { volume, spec }
    UpdateVolume { volume, version, spec }
    RemoveVolume { volume }
    AddContainer { container, spec, desired }
    UpdateContainer { container, version, spec }
    RemoveContainer { container }
    SetDesired { container, desired }
    RestartContainer { container }
    MoveContainer { container, to }
    GrantLease { container, version, host, session }
    WithdrawLease { lease, token, why }
    RevokeLease { lease, token, reason }
    CloseLease { lease, token }
    ExpireLease { lease, token, renewed }
    StartFence { lease, token, method, heard }
    FenceLease { lease, token, evidence }
    ReleaseLease { lease, token, session, exit, finished }
    ClaimLease { container, spec, session }
    BeginFenceAttempt { host, method, agent, node, tokens, timeout_ms, instead }
    EndFenceAttempt { host, attempt, ok, output }
    UnfenceHost { host, name, reason }
    StartLift { volume, host }
    FinishLift { volume, host, newest }
    SuspectSplitBrain { session, lease, token, volume, other }
    ClearSuspicion { volume, name, reason }
    OpenSession { host, boot, ledger, predecessor, declared }
    CloseSession { session }
    ExpireSession { session, renewed }
    RecordKeepalives { keepalives }
    Keepalive { incarnation, session, seq, nonce, tokens }
    RecordObservation { session, instances }
    ObservedInstance { lease, token, status }

    Event { revision, time, actor, fact }

    Accepted { revision, made }
    KeepaliveAnswer { session, seq, verdict }
    Answered { at, digest, outcome }
}

arb_enum! {
    Order {
        InitCluster(order), ChangeSettings(order), RaiseFormat(order),
        AddHost(order), UpdateHost(order), RemoveHost(order), SetScheduling(order), SetHealth(order),
        AddVolume(order), UpdateVolume(order), RemoveVolume(order),
        AddContainer(order), UpdateContainer(order), RemoveContainer(order), SetDesired(order), RestartContainer(order), MoveContainer(order),
        GrantLease(order), WithdrawLease(order), RevokeLease(order), CloseLease(order), ExpireLease(order), StartFence(order),
        FenceLease(order), ReleaseLease(order), ClaimLease(order),
        BeginFenceAttempt(order), EndFenceAttempt(order), UnfenceHost(order), StartLift(order), FinishLift(order), SuspectSplitBrain(order),
        ClearSuspicion(order),
        OpenSession(order), CloseSession(order), ExpireSession(order), RecordKeepalives(order), RecordObservation(order),
    }

    Fact {
        ClusterInitialized { cluster, format, settings },
        SettingsChanged { settings },
        FormatRaised { format },
        HostAdded { host, spec },
        HostUpdated { host, version, spec },
        HostRemoved { host },
        HostSchedulingChanged { host, scheduling },
        HostHealthChanged { host, health },
        VolumeAdded { volume, spec },
        VolumeUpdated { volume, version, spec },
        VolumeRemoved { volume },
        ContainerAdded { container, spec, desired },
        ContainerUpdated { container, version, spec },
        ContainerRemoved { container },
        ContainerDesiredChanged { container, desired },
        ContainerRelocationRequested { container, relocation },
        LeaseGranted { lease, token, container, version, host, session, cause },
        LeaseActivated { lease, token },
        LeaseWithdrawn { lease, token, why },
        LeaseRevoked { lease, token, reason, drain_ms },
        LeaseClosed { lease, token, why },
        LeaseExpired { lease, token, renewed },
        FenceStarted { lease, token, method },
        LeaseFenced { lease, token, evidence },
        LeaseReleased { lease, token, session, exit, finished },
        SessionOpened { session, predecessor },
        SessionClosed { session, host, why },
        SessionCloned { session, host },
        InstanceObserved { lease, token, status },
        FenceAttempted { host, attempt, instead },
        FenceTried { host, attempt, ok, output },
        HolderGone { host, token, proof },
        CutLiftStarted { volume, host, newest },
        CutLifted { volume, host, newest },
        SplitBrainSuspected { volume, token, other, host },
        SuspicionCleared { volume, name, reason },
    }

    Outcome { Accepted(accepted), Rejected(rejection), Keepalives(answers) }
    Made { Done {}, Unchanged {}, Version(version), Lease { lease, token }, Session(session) }
    SessionVerdict { Heard { ttl_ms, leases }, Stale {}, Gone {} }
    LeaseVerdict { Live { ttl_ms }, Gone(reason) }
    GoneReason { Ended {}, Closing {}, Expired {}, NotYours {} }
    CloseReason { DrainOver {}, SessionSilent {}, SessionCloned {} }
    SessionEnd { Closed {}, Silent {}, Replaced {} }

    Rejection {
        NotInitialized {},
        AlreadyInitialized { cluster },
        HostNotFound { host },
        HostExists { host },
        VolumeNotFound { volume },
        VolumeExists { volume },
        ContainerNotFound { container },
        ContainerExists { container },
        LeaseNotFound { lease },
        SessionNotFound { session },
        VersionMismatch { object, expected, actual },
        Invalid { field, reason },
        LimitExceeded { what, limit },
        VolumeHeld { volume, lease, token, container, host, phase },
        ContainerHeld { container, lease, token, host, phase },
        HostHoldsLease { host, lease, token, container },
        VolumeUsed { volume, container },
        HostHasSession { host, session },
        TokenMismatch { lease, expected, actual },
        WrongPhase { lease, token, phase, action, needs },
        HostNotOpen { host, scheduling },
        NoSession { host },
        SessionReplaced { session },
        SessionConflict { host, current, boot, because },
        SessionHoldsLease { session, lease, token, phase },
        NotGuarded { host, volume, takeover, guard, cut },
        NoGuard { host },
        DoesNotFit { container, host, why },
        NotWanted { container, why },
        RenewedSince { object, named, actual },
        EvidenceRefused { lease, token, evidence, why },
        ReleaseRefused { session, lease, token, why },
        TakeoverUnsupported { driver, takeover, why },
        AttemptOpen { host, attempt, node },
        AttemptUnknown { host, attempt },
        NotBarred { volume, host },
        LiftRefused { volume, host, why },
        NothingToClear { object, what },
        Privileged { volume },
        HostFenced { host, token },
        VolumeBarred { volume, host },
        RequestReused {},
        FormatRefused { format, why },
        Undecodable { why },
    }

    Unfit {
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
        Constraint { constraint },
        AntiAffinity { other },
        PortTaken { port, by },
        Cpu { needed, free },
        Memory { needed, free },
        MoveElsewhere { to },
        MoveAway {},
    }

    ObjectKey {
        Cluster {}, Clock {}, Host(id), Volume(id), Container(id), Lease(id), Session(id), Pulse(id), Renewal(token), Fence(token), Request(id),
    }
}
