//! Containers as protobuf.

use crate::codec::wire::{enumeration, message, oneof};
use crate::noun::container::{
    Constraint, Container, ContainerSpec, Desired, HealthCheck, Hook, LastLease, Port, Protocol, Relocation, RestartPolicy, RuntimeKind,
    VolumeMount,
};

message! { Container { id, spec, version, created, desired, finished, relocation, last_lease } }
message! {
    ContainerSpec {
        runtime, image, command, environment, volumes, ports, limits, health_check, restart, constraints, anti_affinity, stop_signal,
        stop_grace_ms, init, pre_start, privileged, privileged_insisted,
    }
}
message! { Hook { command, timeout_ms } }
message! { VolumeMount { volume, path, read_only } }
message! { Port { host_address, host_port, container_port, protocol } }
message! { HealthCheck { command, interval_ms, timeout_ms, retries, start_period_ms } }
message! { Constraint { key, equal, value } }
message! { LastLease { lease, token, host, ended, at; time as time_ms } }

oneof! { RestartPolicy in restart_policy { Always {}, OnFailure { max_attempts }, Never {} } }
oneof! { Relocation in relocation { Restart {}, Move { to } } }

enumeration! {
    RuntimeKind { Docker, Process, External }
    Protocol { Tcp, Udp }
    Desired { Running, Stopped }
}
