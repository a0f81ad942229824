//! The ledger's bytes: magic and format number, CRC-32 of the rest, one protobuf message. Field numbers are for ever; a change of meaning needs a new format number.

use std::collections::BTreeMap;
use std::path::PathBuf;

use berth_state::ids::{BootId, ClusterId, ContainerId, Incarnation, LeaseId, LedgerId, RequestId, Revision, SessionId, Token, VolumeId};
use berth_state::noun::container::RuntimeKind;
use berth_state::noun::lease::Exit;
use berth_state::noun::volume::Driver;
use prost::Message;

use super::record::{LedgerState, MountedVolume, PendingRelease, Record};
use crate::clock::HolderTime;
use crate::runtime::KillHandle;

/// The last byte is the format number.
const MAGIC: [u8; 8] = *b"berthlg\x01";

#[derive(Clone, PartialEq, Message)]
struct LedgerPb {
    #[prost(bytes = "vec", tag = "1")]
    ledger: Vec<u8>,
    #[prost(string, tag = "2")]
    host: String,
    /// Empty: none yet.
    #[prost(bytes = "vec", tag = "3")]
    cluster: Vec<u8>,
    #[prost(uint64, tag = "4")]
    incarnation: u64,
    #[prost(uint64, tag = "5")]
    revision: u64,
    #[prost(uint64, optional, tag = "6")]
    session: Option<u64>,
    #[prost(message, repeated, tag = "7")]
    records: Vec<RecordPb>,
}

#[derive(Clone, PartialEq, Message)]
struct RecordPb {
    #[prost(uint64, tag = "1")]
    token: u64,
    #[prost(uint64, tag = "2")]
    lease: u64,
    #[prost(string, tag = "3")]
    container: String,
    /// 1 docker, 2 process.
    #[prost(uint32, tag = "4")]
    runtime: u32,
    #[prost(uint64, tag = "5")]
    incarnation: u64,
    #[prost(uint64, tag = "6")]
    session: u64,
    #[prost(bytes = "vec", tag = "7")]
    boot: Vec<u8>,
    #[prost(uint64, tag = "8")]
    deadline_ns: u64,
    #[prost(bool, tag = "9")]
    over: bool,
    #[prost(uint32, tag = "10")]
    attempt: u32,
    #[prost(message, optional, tag = "11")]
    handle: Option<HandlePb>,
    #[prost(message, repeated, tag = "12")]
    volumes: Vec<VolumePb>,
    #[prost(message, optional, tag = "13")]
    release: Option<ReleasePb>,
    #[prost(bool, tag = "14")]
    open: bool,
}

#[derive(Clone, PartialEq, Message)]
struct HandlePb {
    #[prost(string, optional, tag = "1")]
    cgroup: Option<String>,
    #[prost(uint32, tag = "2")]
    pid: u32,
    #[prost(uint64, tag = "3")]
    start_ticks: u64,
    #[prost(bool, tag = "4")]
    process_group: bool,
}

#[derive(Clone, PartialEq, Message)]
struct VolumePb {
    #[prost(string, tag = "1")]
    volume: String,
    /// 1 path.
    #[prost(uint32, tag = "2")]
    driver: u32,
    #[prost(btree_map = "string, string", tag = "3")]
    options: BTreeMap<String, String>,
    #[prost(string, optional, tag = "4")]
    source: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
struct ReleasePb {
    #[prost(bytes = "vec", tag = "1")]
    request: Vec<u8>,
    #[prost(uint64, tag = "2")]
    session: u64,
    #[prost(message, optional, tag = "3")]
    exit: Option<ExitPb>,
    #[prost(bool, tag = "4")]
    finished: bool,
}

#[derive(Clone, PartialEq, Message)]
struct ExitPb {
    #[prost(sint32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    reason: String,
}

pub(super) fn encode(state: &LedgerState) -> Vec<u8> {
    let payload = ledger_pb(state).encode_to_vec();
    let mut bytes = MAGIC.to_vec();
    bytes.extend(crc32fast::hash(&payload).to_le_bytes());
    bytes.extend(payload);
    bytes
}

/// `Err`: why these bytes are not a ledger of this version.
pub(super) fn decode(bytes: &[u8]) -> Result<LedgerState, String> {
    let (magic, rest) = bytes.split_at_checked(MAGIC.len()).ok_or("too short to be a ledger")?;
    if magic != MAGIC {
        return Err("not a ledger, or one of a newer version of the executor".to_owned());
    }
    let (sum, payload) = rest.split_first_chunk::<4>().ok_or("cut off in its header")?;
    if crc32fast::hash(payload) != u32::from_le_bytes(*sum) {
        return Err("its checksum does not fit: damaged".to_owned());
    }
    let pb = LedgerPb::decode(payload).map_err(|error| format!("not readable: {error}"))?;
    let mut records = BTreeMap::new();
    for record in pb.records {
        let record = record_from(record)?;
        records.insert(record.token, record);
    }
    Ok(LedgerState {
        ledger: LedgerId(sixteen(&pb.ledger)?),
        host: pb.host,
        cluster: if pb.cluster.is_empty() { None } else { Some(ClusterId(sixteen(&pb.cluster)?)) },
        incarnation: Incarnation(pb.incarnation),
        revision: Revision(pb.revision),
        session: pb.session.map(SessionId),
        records,
    })
}

fn ledger_pb(state: &LedgerState) -> LedgerPb {
    LedgerPb {
        ledger: state.ledger.0.to_vec(),
        host: state.host.clone(),
        cluster: state.cluster.map(|id| id.0.to_vec()).unwrap_or_default(),
        incarnation: state.incarnation.0,
        revision: state.revision.0,
        session: state.session.map(|id| id.0),
        records: state.records.values().map(record_pb).collect(),
    }
}

fn record_pb(record: &Record) -> RecordPb {
    RecordPb {
        token: record.token.0,
        lease: record.lease.0,
        container: record.container.to_string(),
        runtime: match record.runtime {
            RuntimeKind::Docker => 1,
            RuntimeKind::Process => 2,
            RuntimeKind::External => 3,
        },
        incarnation: record.incarnation.0,
        session: record.session.0,
        boot: record.boot.0.to_vec(),
        deadline_ns: record.deadline.0,
        over: record.over,
        attempt: record.attempt,
        handle: record.handle.as_ref().map(handle_pb),
        volumes: record.volumes.iter().map(volume_pb).collect(),
        release: record.release.as_ref().map(release_pb),
        open: record.open,
    }
}

fn record_from(pb: RecordPb) -> Result<Record, String> {
    Ok(Record {
        token: Token(pb.token),
        lease: LeaseId(pb.lease),
        container: ContainerId::new(&pb.container).map_err(|error| error.to_string())?,
        runtime: match pb.runtime {
            1 => RuntimeKind::Docker,
            2 => RuntimeKind::Process,
            3 => RuntimeKind::External,
            other => return Err(format!("runtime {other} has no meaning for this version")),
        },
        incarnation: Incarnation(pb.incarnation),
        session: SessionId(pb.session),
        boot: BootId(sixteen(&pb.boot)?),
        deadline: HolderTime(pb.deadline_ns),
        over: pb.over,
        attempt: pb.attempt,
        handle: pb.handle.map(handle_from),
        volumes: pb.volumes.into_iter().map(volume_from).collect::<Result<_, _>>()?,
        release: pb.release.map(release_from).transpose()?,
        open: pb.open,
    })
}

fn handle_pb(handle: &KillHandle) -> HandlePb {
    HandlePb {
        cgroup: handle.cgroup.as_ref().map(|path| path.to_string_lossy().into_owned()),
        pid: handle.pid,
        start_ticks: handle.start_ticks,
        process_group: handle.process_group,
    }
}

fn handle_from(pb: HandlePb) -> KillHandle {
    KillHandle { cgroup: pb.cgroup.map(PathBuf::from), pid: pb.pid, start_ticks: pb.start_ticks, process_group: pb.process_group }
}

fn volume_pb(volume: &MountedVolume) -> VolumePb {
    VolumePb {
        volume: volume.volume.to_string(),
        driver: match volume.driver {
            Driver::Path => 1,
            Driver::Image => 2,
            Driver::Nfs => 3,
            Driver::Glusterfs => 4,
            Driver::Cephfs => 5,
            Driver::Exec => 6,
        },
        options: volume.options.clone(),
        source: volume.source.as_ref().map(|path| path.to_string_lossy().into_owned()),
    }
}

fn volume_from(pb: VolumePb) -> Result<MountedVolume, String> {
    Ok(MountedVolume {
        volume: VolumeId::new(&pb.volume).map_err(|error| error.to_string())?,
        driver: match pb.driver {
            1 => Driver::Path,
            2 => Driver::Image,
            3 => Driver::Nfs,
            4 => Driver::Glusterfs,
            5 => Driver::Cephfs,
            6 => Driver::Exec,
            other => return Err(format!("volume driver {other} has no meaning for this version")),
        },
        options: pb.options,
        source: pb.source.map(PathBuf::from),
    })
}

fn release_pb(release: &PendingRelease) -> ReleasePb {
    ReleasePb {
        request: release.request.0.to_vec(),
        session: release.session.0,
        exit: release.exit.as_ref().map(|exit| ExitPb { code: exit.code, reason: exit.reason.clone() }),
        finished: release.finished,
    }
}

fn release_from(pb: ReleasePb) -> Result<PendingRelease, String> {
    Ok(PendingRelease {
        request: RequestId(sixteen(&pb.request)?),
        session: SessionId(pb.session),
        exit: pb.exit.map(|exit| Exit { code: exit.code, reason: exit.reason }),
        finished: pb.finished,
    })
}

fn sixteen(bytes: &[u8]) -> Result<[u8; 16], String> {
    <[u8; 16]>::try_from(bytes).map_err(|_| format!("an id has 16 bytes, not {}", bytes.len()))
}
