//! The cluster, hosts, volumes and fences as protobuf.

use std::collections::BTreeMap;

use crate::codec::error::CodecError;
use crate::codec::wire::{At, Field, enumeration, message, oneof};
use crate::noun::cluster::{Cluster, Settings};
use crate::noun::fence::{Fence, FenceDone, FenceMethod, FenceTry, GoneProof};
use crate::noun::host::{Capacity, FenceAgent, FenceAttempt, FencedHolder, Health, Host, HostSpec, Scheduling};
use crate::noun::secrets::Secrets;
use crate::noun::volume::{Bar, Driver, Suspicion, Takeover, Volume, VolumeSpec};

message! { Cluster { id, format, incarnation, floor, max_token, settings } }
message! { Settings { ttl_ms, activation_ms, fence_after_ms } }

message! { Host { id, spec, version, scheduling, health, session, created, fenced, attempt } }
message! { HostSpec { address, labels, capacity, storage_address, fence_agents } }
message! { FenceAgent { agent, options, secrets, timeout_ms } }
message! { FencedHolder { token, lease, boot, ledger, at } }
message! { FenceAttempt { id, method, agent, node, tokens, timeout_ms; time as time_ms } }
message! { Capacity { cpu_millis, memory_bytes } }

message! { Volume { id, spec, version, created, last_token, bars, suspicion } }
message! { Bar { host, tokens, newest, since, lifting } }
message! { Suspicion { token, other, at; time as time_ms } }
message! { VolumeSpec { driver, options, takeover, coherent, lock_delay_ms } }

message! { Fence { token, lease, host, container, method, started, done, tries, failed; started_time as started_time_ms } }
message! { FenceTry { attempt, method, agent, node, ok, output, at; time as time_ms } }
message! { FenceDone { evidence, at; time as time_ms } }

oneof! { GoneProof in gone_proof { Reported {}, Rebooted {}, OperatorConfirmed { name, reason } } }

impl Field<BTreeMap<String, String>> for Secrets {
    fn put(&self) -> BTreeMap<String, String> {
        self.0.clone()
    }

    fn take(pb: BTreeMap<String, String>, _: At) -> Result<Self, CodecError> {
        Ok(Self(pb))
    }
}

enumeration! {
    Scheduling { Open, Cordoned, Draining }
    Health { Live, Suspect, Down }
    Driver { Path, Image, Nfs, Glusterfs, Cephfs, Exec }
    Takeover { AfterExpiry, AfterFence, Manual }
    FenceMethod { StorageCut, PowerOff }
}
