//! Commands as protobuf.

use crate::codec::wire::{message, oneof};
use crate::command::{
    AddContainer, AddHost, AddVolume, BeginFenceAttempt, ChangeSettings, ClaimLease, ClearSuspicion, CloseLease, CloseSession, Command,
    EndFenceAttempt, ExpireLease, ExpireSession, FenceLease, FinishLift, GrantLease, InitCluster, MoveContainer, ObservedInstance,
    OpenSession, Order, RaiseFormat, RecordKeepalives, RecordObservation, ReleaseLease, RemoveContainer, RemoveHost, RemoveVolume,
    RestartContainer, RevokeLease, SetDesired, SetHealth, SetScheduling, StartFence, StartLift, SuspectSplitBrain, UnfenceHost,
    UpdateContainer, UpdateHost, UpdateVolume, WithdrawLease,
};

message! { Command { request, actor, order; time as time_ms } }

oneof! {
    Order in order {
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
}

message! { InitCluster { cluster, settings } }
message! { ChangeSettings { settings } }
message! { RaiseFormat { format } }

message! { AddHost { host, spec } }
message! { UpdateHost { host, version, spec } }
message! { RemoveHost { host } }
message! { SetScheduling { host, scheduling } }
message! { SetHealth { session, renewed, health } }

message! { AddVolume { volume, spec } }
message! { UpdateVolume { volume, version, spec } }
message! { RemoveVolume { volume } }

message! { AddContainer { container, spec, desired } }
message! { UpdateContainer { container, version, spec } }
message! { RemoveContainer { container } }
message! { SetDesired { container, desired } }
message! { RestartContainer { container } }
message! { MoveContainer { container, to } }

message! { GrantLease { container, version, host, session } }
message! { WithdrawLease { lease, token, why } }
message! { RevokeLease { lease, token, reason } }
message! { CloseLease { lease, token } }
message! { ExpireLease { lease, token, renewed } }
message! { StartFence { lease, token, method, heard } }
message! { FenceLease { lease, token, evidence } }
message! { ReleaseLease { lease, token, session, exit, finished } }
message! { ClaimLease { container, spec, session } }
message! { BeginFenceAttempt { host, method, agent, node, tokens, timeout_ms, instead } }
message! { EndFenceAttempt { host, attempt, ok, output } }
message! { UnfenceHost { host, name, reason } }
message! { StartLift { volume, host } }
message! { FinishLift { volume, host, newest } }
message! { SuspectSplitBrain { session, lease, token, volume, other } }
message! { ClearSuspicion { volume, name, reason } }

message! { OpenSession { host, boot, ledger, predecessor, declared } }
message! { CloseSession { session } }
message! { ExpireSession { session, renewed } }
message! { RecordKeepalives { keepalives } }
message! { RecordObservation { session, instances } }
message! { ObservedInstance { lease, token, status } }
