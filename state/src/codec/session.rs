//! Sessions, keepalives and their answers as protobuf.

use std::collections::BTreeMap;

use crate::codec::error::CodecError;
use crate::codec::wire::{At, Field, enumeration, message, oneof, pair};
use crate::command::Keepalive;
use crate::event::SessionEnd;
use crate::ids::Token;
use crate::noun::session::{Cut, Declaration, Guard, Pulse, Session};
use crate::noun::volume::Driver;
use crate::outcome::{GoneReason, KeepaliveAnswer, LeaseVerdict, SessionVerdict};
use crate::pb;

message! { Session { id, host, boot, ledger, declared } }
message! { Declaration { guard, runtimes, drivers, program } }
message! { Pulse { seq, nonce, renewed, ttl_ms } }
message! { Keepalive { incarnation, session, seq, nonce, tokens } }
message! { KeepaliveAnswer { session, seq, verdict } }

oneof! { SessionVerdict in session_verdict { Heard { ttl_ms, leases }, Stale {}, Gone {} } }
oneof! { LeaseVerdict in lease_verdict { Live { ttl_ms }, Gone(reason) } }

pair! { (Token, LeaseVerdict) => TokenVerdict { token, verdict } }
pair! { (Driver, Cut) => DriverCut { driver, cut } }

// A proto map cannot have an enum as its key: a list of pairs.
impl Field<Vec<pb::state::DriverCut>> for BTreeMap<Driver, Cut> {
    fn put(&self) -> Vec<pb::state::DriverCut> {
        self.iter().map(|(driver, cut)| (*driver, *cut).put()).collect()
    }

    fn take(pb: Vec<pb::state::DriverCut>, at: At) -> Result<Self, CodecError> {
        let mut map = Self::new();
        for entry in pb {
            let (driver, cut) = Field::take(entry, at)?;
            if map.insert(driver, cut).is_some() {
                return Err(CodecError::Duplicate { message: at.message, field: at.field });
            }
        }
        Ok(map)
    }
}

enumeration! {
    Guard { None, Executor, Init, HostProcess, Watchdog }
    Cut { None, FileSystemShutdown, FuseAbort, ServerRevoke }
    GoneReason { Ended, Closing, Expired, NotYours }
    SessionEnd { Closed, Silent, Replaced }
}
