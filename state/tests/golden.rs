//! Golden bytes: what is on disks and on the wire does not change by accident. One line for each example in `tests/golden/*.hex`.
//!
//! A changed or vanished line means that older nodes and stores can no longer be read: number the change instead, and give it a decision record.
//! New variants and fields add or lengthen lines: `BERTH_BLESS=1 cargo test -p berth-state --test golden` writes the files; read the diff.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::unwrap_used, reason = "a test that reads and writes its own files")]

mod support;

use std::fmt::Debug;
use std::fmt::Write as _;
use std::path::Path;

use berth_state::codec::Wire;
use berth_state::command::{Command, Order};
use berth_state::event::{CloseReason, Event, Fact, SessionEnd};
use berth_state::noun::cluster::Cluster;
use berth_state::noun::container::{Container, Desired, Protocol, Relocation, RestartPolicy, RuntimeKind};
use berth_state::noun::fence::{Fence, FenceMethod};
use berth_state::noun::host::{Health, Host, Scheduling};
use berth_state::noun::lease::{Ended, Evidence, GrantCause, InstanceHealth, InstanceState, Lease, Phase, RevokeReason, WithdrawReason};
use berth_state::noun::session::{Cut, Guard, Pulse, Renewal, Session};
use berth_state::noun::volume::{Driver, Takeover, Volume};
use berth_state::outcome::{GoneReason, LeaseVerdict, Made, Outcome, SessionVerdict};
use berth_state::placement::Unfit;
use berth_state::rejection::Rejection;
use berth_state::state::{Answered, ObjectKey};
use prost::Message;
use support::{Arb, Source, Variants};

/// The examples of one file.
#[derive(Default)]
struct Golden(String);

impl Golden {
    fn line(&mut self, name: &str, bytes: &[u8]) {
        let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        writeln!(self.0, "{name} {}", if hex.is_empty() { "-" } else { &hex }).unwrap();
    }

    /// A whole type, which must read back from its bytes as well.
    fn example<T: Arb + Wire<Pb: Message + Default> + PartialEq + Debug>(&mut self, name: &str) {
        self.value(name, &T::arb(&mut Source::plain()));
    }

    fn value<T: Wire<Pb: Message + Default> + PartialEq + Debug>(&mut self, name: &str, value: &T) {
        let bytes = value.to_pb().encode_to_vec();
        assert_eq!(T::from_pb(T::Pb::decode(bytes.as_slice()).unwrap()).as_ref(), Ok(value), "{name} does not read back");
        self.line(name, &bytes);
    }

    /// One line for each variant.
    fn variants<T: Variants + Wire<Pb: Message + Default> + PartialEq + Debug>(&mut self, name: &str) {
        for make in T::makers() {
            let value = make(&mut Source::plain());
            self.value(&format!("{name}.{}", value.variant()), &value);
        }
    }

    fn numbers<T: Variants + Wire<Pb: Into<i32>>>(&mut self, name: &str) {
        for make in T::makers() {
            let value = make(&mut Source::plain());
            let number: i32 = value.to_pb().into();
            self.line(&format!("{name}.{}", value.variant()), &number.to_be_bytes());
        }
    }

    fn check(self, file: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(file);
        if std::env::var_os("BERTH_BLESS").is_some_and(|v| v == "1") {
            std::fs::write(&path, &self.0).unwrap();
        }
        let kept = std::fs::read_to_string(&path).unwrap();
        let gone: Vec<_> = kept.lines().filter(|line| !self.0.lines().any(|now| now == *line)).collect();
        let new: Vec<_> = self.0.lines().filter(|line| !kept.lines().any(|then| then == *line)).collect();
        assert!(gone.is_empty() && new.is_empty(), "{file}: the format changed (see the top of this test)\nkept: {gone:#?}\nnow: {new:#?}");
        assert_eq!(kept, self.0, "{file}: the order of its lines changed");
    }
}

#[test]
fn commands_keep_their_bytes() {
    let mut golden = Golden::default();
    golden.example::<Command>("Command");
    golden.variants::<Order>("Order");
    golden.check("commands.hex");
}

#[test]
fn events_keep_their_bytes() {
    let mut golden = Golden::default();
    golden.example::<Event>("Event");
    golden.variants::<Fact>("Fact");
    golden.check("events.hex");
}

#[test]
fn outcomes_and_refusals_keep_their_bytes() {
    let mut golden = Golden::default();
    golden.variants::<Outcome>("Outcome");
    golden.variants::<Made>("Made");
    golden.variants::<SessionVerdict>("SessionVerdict");
    golden.variants::<LeaseVerdict>("LeaseVerdict");
    golden.variants::<Rejection>("Rejection");
    golden.variants::<Unfit>("Unfit");
    golden.check("outcomes.hex");
}

#[test]
fn stored_objects_keep_their_bytes() {
    let mut golden = Golden::default();
    golden.example::<Cluster>("Cluster");
    golden.example::<Host>("Host");
    golden.example::<Volume>("Volume");
    golden.example::<Container>("Container");
    golden.example::<Lease>("Lease");
    golden.example::<Session>("Session");
    golden.example::<Pulse>("Pulse");
    golden.example::<Renewal>("Renewal");
    golden.example::<Fence>("Fence");
    golden.example::<Answered>("Answered");
    golden.variants::<RestartPolicy>("RestartPolicy");
    golden.variants::<Relocation>("Relocation");
    golden.variants::<GrantCause>("GrantCause");
    golden.variants::<Ended>("Ended");
    golden.variants::<Evidence>("Evidence");
    golden.check("objects.hex");
}

#[test]
fn keys_keep_their_bytes() {
    let mut golden = Golden::default();
    for make in ObjectKey::makers() {
        let key = make(&mut Source::plain());
        assert_eq!(ObjectKey::decode(&key.encode()), Ok(key.clone()));
        golden.line(key.variant(), &key.encode());
    }
    golden.check("keys.hex");
}

#[test]
fn enum_numbers_stay() {
    let mut golden = Golden::default();
    golden.numbers::<Scheduling>("Scheduling");
    golden.numbers::<Health>("Health");
    golden.numbers::<Driver>("Driver");
    golden.numbers::<Takeover>("Takeover");
    golden.numbers::<FenceMethod>("FenceMethod");
    golden.numbers::<RuntimeKind>("RuntimeKind");
    golden.numbers::<Protocol>("Protocol");
    golden.numbers::<Desired>("Desired");
    golden.numbers::<Phase>("Phase");
    golden.numbers::<RevokeReason>("RevokeReason");
    golden.numbers::<CloseReason>("CloseReason");
    golden.numbers::<WithdrawReason>("WithdrawReason");
    golden.numbers::<InstanceState>("InstanceState");
    golden.numbers::<InstanceHealth>("InstanceHealth");
    golden.numbers::<Guard>("Guard");
    golden.numbers::<Cut>("Cut");
    golden.numbers::<GoneReason>("GoneReason");
    golden.numbers::<SessionEnd>("SessionEnd");
    golden.check("enums.hex");
}
