//! Sessions: one executor process incarnation of one host (L17), and what it declares it can enforce (L3).

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::ids::{BootId, HostId, LedgerId, Nonce, Revision, Seq, SessionId};
use crate::noun::container::RuntimeKind;
use crate::noun::volume::Driver;

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Session {
    pub id: SessionId,
    pub host: HostId,
    pub boot: BootId,
    pub ledger: LedgerId,
    pub declared: Declaration,
}

/// What an executor says it can run and enforce.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Declaration {
    pub guard: Guard,
    pub runtimes: BTreeSet<RuntimeKind>,
    /// Volume drivers it has, each with how it cuts write-back.
    pub drivers: BTreeMap<Driver, Cut>,
    /// Version of the executor program, for people.
    pub program: String,
}

/// What enforces a deadline on the host, from weak to strong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Guard {
    None,
    /// The executor process itself: holds only while that process runs.
    Executor,
    /// PID 1 of the instance watches the deadline.
    Init,
    /// A process of the host apart from the executor kills and cuts.
    HostProcess,
    /// A hardware watchdog resets the host.
    Watchdog,
}

/// How dirty pages of a dead holder are kept from the storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cut {
    None,
    FileSystemShutdown,
    FuseAbort,
    ServerRevoke,
}

/// The replicated part of keepalives that is no event: what was last heard of a session (L6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Pulse {
    pub seq: Seq,
    pub nonce: Nonce,
    /// Entry of the newest accepted keepalive, or of the opening.
    pub renewed: Revision,
    /// T in force at that entry.
    pub ttl_ms: u64,
}

/// The same for one active lease: `lease.renewed` of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Renewal {
    pub renewed: Revision,
    pub ttl_ms: u64,
}
