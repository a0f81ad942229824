//! Makers of test data, and fakes of the control plane, the runtime and the killer. Test code only.
#![allow(clippy::unwrap_used, reason = "test")]

pub mod control;
pub mod rig;
pub mod runtime;

use std::collections::BTreeMap;
use std::path::Path;

use berth_state::ids::{BootId, ContainerId, HostId, Incarnation, LeaseId, LedgerId, Revision, SessionId, Time, Token, Version, VolumeId};
use berth_state::noun::container::{ContainerSpec, RestartPolicy, RuntimeKind, VolumeMount};
use berth_state::noun::host::Capacity;
use berth_state::noun::lease::{GrantCause, Lease, LeasedVolume, Phase};
use berth_state::noun::session::{Cut, Guard};
use berth_state::noun::volume::{Driver, Takeover, VolumeSpec};

use crate::clock::HolderTime;
use crate::ledger::Record;
use crate::volumes::{Still, VolumeRequest};

/// A granted lease without volumes, of container `c<token>`; the lease's id is its token.
pub fn lease(token: u64) -> Lease {
    let spec = ContainerSpec {
        runtime: RuntimeKind::Process,
        image: String::new(),
        command: vec!["run".to_owned()],
        environment: BTreeMap::new(),
        volumes: vec![],
        ports: vec![],
        limits: Capacity::default(),
        health_check: None,
        restart: RestartPolicy::Always,
        constraints: vec![],
        anti_affinity: vec![],
        stop_signal: None,
        stop_grace_ms: 1_000,
        init: None,
        pre_start: None,
        privileged: false,
        privileged_insisted: false,
    };
    Lease {
        id: LeaseId(token),
        token: Token(token),
        container: ContainerId::new(&format!("c{token}")).unwrap(),
        host: HostId::new("h1").unwrap(),
        session: SessionId(1),
        boot: BootId([1; 16]),
        ledger: LedgerId([1; 16]),
        phase: Phase::Granted,
        cause: GrantCause::Placed,
        guard: Guard::HostProcess,
        volumes: vec![],
        spec,
        version: Version(1),
        granted: Revision(token),
        granted_time: Time(0),
        activated: None,
        revoked: None,
        expired: None,
        instance: None,
    }
}

/// The same with a path volume, mounted at `/data`.
pub fn with_volume(mut lease: Lease, volume: &str, path: &Path) -> Lease {
    let volume = VolumeId::new(volume).unwrap();
    let options = BTreeMap::from([("path".to_owned(), path.to_str().unwrap().to_owned())]);
    let spec = VolumeSpec { driver: Driver::Path, options, takeover: Takeover::AfterExpiry, coherent: true, lock_delay_ms: 0 };
    lease.spec.volumes.push(VolumeMount { volume: volume.clone(), path: "/data".to_owned(), read_only: false });
    lease.volumes.push(LeasedVolume { volume, spec, cut: Cut::None });
    lease
}

pub fn volume_request(volume: &str, path: &Path, token: u64) -> VolumeRequest {
    VolumeRequest {
        volume: VolumeId::new(volume).unwrap(),
        options: BTreeMap::from([("path".to_owned(), path.to_str().unwrap().to_owned())]),
        host: HostId::new("h1").unwrap(),
        container: ContainerId::new("c1").unwrap(),
        lease: LeaseId(token),
        token: Token(token),
        read_only: false,
        still: Still::always(),
    }
}

/// Of any driver, by its options.
pub fn request_with(volume: &str, options: &[(&str, &str)], token: u64) -> VolumeRequest {
    let options = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    VolumeRequest { options, ..volume_request(volume, Path::new("/unused"), token) }
}

pub fn record(token: u64, boot: BootId, deadline: HolderTime) -> Record {
    Record {
        token: Token(token),
        lease: LeaseId(token),
        container: ContainerId::new(&format!("c{token}")).unwrap(),
        runtime: RuntimeKind::Process,
        incarnation: Incarnation(1),
        session: SessionId(1),
        boot,
        deadline,
        open: false,
        over: false,
        attempt: 1,
        handle: None,
        volumes: vec![],
        release: None,
    }
}
