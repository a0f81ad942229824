//! The cluster, hosts, volumes and fences as protobuf.

use crate::codec::wire::{enumeration, message};
use crate::noun::cluster::{Cluster, Settings};
use crate::noun::fence::{Fence, FenceDone, FenceMethod};
use crate::noun::host::{Capacity, Health, Host, HostSpec, Scheduling};
use crate::noun::volume::{Driver, Takeover, Volume, VolumeSpec};

message! { Cluster { id, format, incarnation, floor, max_token, settings } }
message! { Settings { ttl_ms, activation_ms } }

message! { Host { id, spec, version, scheduling, health, session, created } }
message! { HostSpec { address, labels, capacity } }
message! { Capacity { cpu_millis, memory_bytes } }

message! { Volume { id, spec, version, created, last_token } }
message! { VolumeSpec { driver, options, takeover, coherent, lock_delay_ms } }

message! { Fence { token, lease, host, container, method, started, done; started_time as started_time_ms } }
message! { FenceDone { evidence, at; time as time_ms } }

enumeration! {
    Scheduling { Open, Cordoned, Draining }
    Health { Live, Suspect, Down }
    Driver { Path }
    Takeover { AfterExpiry, AfterFence, Manual }
    FenceMethod { StorageCut, PowerOff }
}
