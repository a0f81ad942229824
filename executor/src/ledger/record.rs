//! What the ledger keeps. Plain data; `format` gives it bytes.

use std::collections::BTreeMap;
use std::path::PathBuf;

use berth_state::ids::{BootId, ClusterId, ContainerId, Incarnation, LeaseId, LedgerId, RequestId, Revision, SessionId, Token, VolumeId};
use berth_state::noun::container::RuntimeKind;
use berth_state::noun::lease::Exit;
use berth_state::noun::volume::Driver;

use crate::clock::HolderTime;
use crate::deadline::Right;
use crate::runtime::{InstanceKey, KillHandle};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LedgerState {
    /// Random, written when the folder was made.
    pub ledger: LedgerId,
    pub host: String,
    /// `None` before the first session.
    pub cluster: Option<ClusterId>,
    /// The newest life of the control plane that was seen; older ones are ignored (L20).
    pub incarnation: Incarnation,
    /// The newest assignment set that was taken (I17).
    pub revision: Revision,
    /// The last session opened: the predecessor that the next one names (L17).
    pub session: Option<SessionId>,
    pub records: BTreeMap<Token, Record>,
}

/// One lease of ours, from before its volumes are attached until its release is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub token: Token,
    pub lease: LeaseId,
    pub container: ContainerId,
    pub runtime: RuntimeKind,
    pub incarnation: Incarnation,
    pub session: SessionId,
    /// The boot that `deadline` and the handles are of.
    pub boot: BootId,
    /// 0 where `open`: to a version that does not know that, it has passed.
    pub deadline: HolderTime,
    /// The right has no end of its own ([`Right::Open`]).
    pub open: bool,
    /// The right was lost before its deadline: never to be taken up again.
    pub over: bool,
    /// The newest attempt that was begun; numbers are never used twice.
    pub attempt: u32,
    /// How the newest attempt is killed; `None` before it has started.
    pub handle: Option<KillHandle>,
    pub volumes: Vec<MountedVolume>,
    pub release: Option<PendingRelease>,
}

impl Record {
    #[must_use]
    pub fn key(&self, attempt: u32) -> InstanceKey {
        InstanceKey { container: self.container.to_string(), token: self.token.0, attempt }
    }
}

/// A volume that is, or may be, attached or mounted under the lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountedVolume {
    pub volume: VolumeId,
    pub driver: Driver,
    pub options: BTreeMap<String, String>,
    /// Where it is on this host; `None` until it is mounted.
    pub source: Option<PathBuf>,
}

/// A release that is to be sent until it is answered (L16).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingRelease {
    /// The same in every repeat on the same session.
    pub request: RequestId,
    pub session: SessionId,
    pub exit: Option<Exit>,
    pub finished: bool,
}

impl LedgerState {
    /// Takes the rights as the book has them now. A deadline never goes back here, and one that is over stays over.
    pub fn note_rights(&mut self, rights: &BTreeMap<Token, Right>) {
        for record in self.records.values_mut() {
            match rights.get(&record.token) {
                Some(Right::Until(deadline)) => record.deadline = record.deadline.max(*deadline),
                Some(Right::Open) => record.open = true,
                Some(Right::Over(_)) => record.over = true,
                Some(Right::Never) | None => {}
            }
        }
    }
}
