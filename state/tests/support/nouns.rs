//! The nouns, for the codec's tests.

use berth_state::noun::cluster::{Cluster, Settings};
use berth_state::noun::container::{
    Constraint, Container, ContainerSpec, Desired, HealthCheck, Hook, LastLease, Port, Protocol, Relocation, RestartPolicy, RuntimeKind,
    VolumeMount,
};
use berth_state::noun::fence::{Fence, FenceDone, FenceMethod, FenceTry, GoneProof};
use berth_state::noun::host::{Capacity, FenceAgent, FenceAttempt, FencedHolder, Health, Host, HostSpec, Scheduling};
use berth_state::noun::lease::{
    Ended, Evidence, Exit, GrantCause, InstanceHealth, InstanceState, InstanceStatus, Lease, LeasedVolume, Phase, RevokeReason, Revoked,
    WithdrawReason,
};
use berth_state::noun::secrets::Secrets;
use berth_state::noun::session::{Cut, Declaration, Guard, Pulse, Renewal, Session};
use berth_state::noun::volume::{Bar, Driver, Suspicion, Takeover, Volume, VolumeSpec};

use super::{Arb, Source, arb_enum, arb_struct};

arb_struct! {
    Cluster { id, format, incarnation, floor, max_token, settings }
    Settings { ttl_ms, activation_ms, fence_after_ms }

    Host { id, spec, version, scheduling, health, session, created, fenced, attempt }
    HostSpec { address, labels, capacity, storage_address, fence_agents }
    FenceAgent { agent, options, secrets, timeout_ms }
    FencedHolder { token, lease, boot, ledger, at }
    FenceAttempt { id, method, agent, node, tokens, timeout_ms, time }
    Capacity { cpu_millis, memory_bytes }

    Volume { id, spec, version, created, last_token, bars, suspicion }
    Bar { host, tokens, newest, since, lifting }
    Suspicion { token, other, at, time }
    VolumeSpec { driver, options, takeover, coherent, lock_delay_ms }

    Container { id, spec, version, created, desired, finished, relocation, last_lease }
    ContainerSpec {
        runtime, image, command, environment, volumes, ports, limits, health_check, restart, constraints, anti_affinity, stop_signal,
        stop_grace_ms, init, pre_start, privileged, privileged_insisted,
    }
    Hook { command, timeout_ms }
    VolumeMount { volume, path, read_only }
    Port { host_address, host_port, container_port, protocol }
    HealthCheck { command, interval_ms, timeout_ms, retries, start_period_ms }
    Constraint { key, equal, value }
    LastLease { lease, token, host, ended, at, time }

    Lease {
        id, token, container, host, session, boot, ledger, phase, cause, guard, volumes, spec, version, granted, granted_time, activated, revoked,
        expired, instance,
    }
    LeasedVolume { volume, spec, cut }
    Revoked { reason, at, time, drain_ms }
    InstanceStatus { attempt, state, health, last_exit, message }
    Exit { code, reason }

    Session { id, host, boot, ledger, declared }
    Declaration { guard, runtimes, drivers, program }
    Pulse { seq, nonce, renewed, ttl_ms }
    Renewal { renewed, ttl_ms }

    Fence { token, lease, host, container, method, started, started_time, done, tries, failed }
    FenceTry { attempt, method, agent, node, ok, output, at, time }
    FenceDone { evidence, at, time }
}

arb_enum! {
    Scheduling { Open {}, Cordoned {}, Draining {} }
    Health { Live {}, Suspect {}, Down {} }
    Driver { Path {}, Image {}, Nfs {}, Glusterfs {}, Cephfs {}, Exec {} }
    Takeover { AfterExpiry {}, AfterFence {}, Manual {} }
    FenceMethod { StorageCut {}, PowerOff {} }
    RuntimeKind { Docker {}, Process {}, External {} }
    Protocol { Tcp {}, Udp {} }
    Desired { Running {}, Stopped {} }
    Phase { Granted {}, Active {}, Closing {}, Expired {} }
    RevokeReason { Stop {}, Restart {}, Move {}, Drain {}, Operator {} }
    WithdrawReason { NotActivated {}, NoLongerWanted {}, HostUnfit {} }
    InstanceState { Preparing {}, Running {}, BackOff {}, Stopping {}, Stopped {} }
    InstanceHealth { Unchecked {}, Starting {}, Healthy {}, Unhealthy {} }
    Guard { None {}, Executor {}, Init {}, HostProcess {}, Watchdog {} }
    Cut { None {}, FileSystemShutdown {}, FuseAbort {}, ServerRevoke {} }

    RestartPolicy { Always {}, OnFailure { max_attempts }, Never {} }
    Relocation { Restart {}, Move { to } }
    GrantCause { Placed {}, Relocated { from }, Failover { from }, Claimed {} }
    GoneProof { Reported {}, Rebooted {}, OperatorConfirmed { name, reason } }
    Ended { Withdrawn { why }, Released { exit }, Fenced { evidence } }
    Evidence { RanOut { expired_at }, StorageCut {}, PoweredOff {}, OperatorConfirmed { name, reason } }
}

impl Arb for Secrets {
    fn arb(s: &mut Source) -> Self {
        Self(Arb::arb(s))
    }
}
