//! What the codec refuses, and that the refusal names the place.

use berth_state::codec::{CodecError, MAX_BATCH, MAX_COMMAND_BYTES, Wire, decode_command, decode_event, encode_command, encode_event};
use berth_state::command::{Command, Keepalive, Order, RecordKeepalives};
use berth_state::ids::{Incarnation, Nonce, Seq, SessionId, Time, Token};
use berth_state::noun::container::ContainerSpec;
use berth_state::noun::session::Declaration;
use berth_state::pb::state as pb;
use prost::Message;

use crate::support::{Arb, Source};

fn decode_order(kind: pb::order::Kind) -> Result<Command, CodecError> {
    let order = Some(pb::Order { kind: Some(kind) });
    decode_command(&pb::Command { time_ms: 1, request: None, actor: String::new(), order }.encode_to_vec())
}

fn set_scheduling(host: &str, scheduling: i32) -> Result<Command, CodecError> {
    decode_order(pb::order::Kind::SetScheduling(pb::SetScheduling { host: host.to_owned(), scheduling }))
}

#[test]
fn an_unknown_enum_number_is_refused_as_newer() {
    assert!(set_scheduling("h1", 3).is_ok());
    let refused = set_scheduling("h1", 4).unwrap_err();
    assert_eq!(refused, CodecError::UnknownNumber { message: "SetScheduling", field: "scheduling", number: 4 });
    assert!(refused.to_string().contains("newer version"));
}

#[test]
fn enum_number_zero_is_a_missing_field() {
    assert_eq!(set_scheduling("h1", 0), Err(CodecError::Missing { message: "SetScheduling", field: "scheduling" }));
}

#[test]
fn an_unknown_enum_number_within_a_list_is_refused() {
    let mut declared = Declaration::arb(&mut Source::plain()).to_pb();
    declared.runtimes = vec![1, 77];
    assert_eq!(Declaration::from_pb(declared), Err(CodecError::UnknownNumber { message: "Declaration", field: "runtimes", number: 77 }));
}

#[test]
fn an_unknown_order_is_refused_as_newer() {
    // Field 1000, length-delimited, empty: an order of a later version.
    let order = [0xc2, 0x3e, 0x00];
    let mut command = vec![0x22, u8::try_from(order.len()).unwrap()];
    command.extend(order);
    assert_eq!(decode_command(&command), Err(CodecError::UnknownCase { message: "Order" }));
}

#[test]
fn an_unknown_field_is_ignored() {
    let event = Arb::arb(&mut Source::plain());
    let mut bytes = encode_event(&event);
    bytes.extend([0xc2, 0x3e, 0x01, 0xff]);
    assert_eq!(decode_event(&bytes), Ok(event));
}

#[test]
fn a_command_without_an_order_is_refused() {
    assert_eq!(decode_command(&[]), Err(CodecError::Missing { message: "Command", field: "order" }));
}

#[test]
fn a_missing_message_is_refused() {
    let refused = decode_order(pb::order::Kind::AddHost(pb::AddHost { host: "h1".to_owned(), spec: None }));
    assert_eq!(refused, Err(CodecError::Missing { message: "AddHost", field: "spec" }));
}

#[test]
fn a_bad_name_is_refused() {
    for bad in ["", "H1", "h 1", "../x"] {
        let refused = set_scheduling(bad, 1).unwrap_err();
        assert!(matches!(refused, CodecError::BadName { message: "SetScheduling", field: "host", .. }), "{bad:?}: {refused}");
    }
}

#[test]
fn an_id_of_another_length_is_refused() {
    for bytes in [0, 15, 17] {
        let settings = Some(pb::Settings { ttl_ms: 10_000, activation_ms: 5_000, fence_after_ms: 2_000 });
        let refused = decode_order(pb::order::Kind::InitCluster(pb::InitCluster { cluster: vec![1; bytes], settings }));
        assert_eq!(refused, Err(CodecError::BadIdLength { message: "InitCluster", field: "cluster", bytes }));
    }
}

#[test]
fn a_port_above_65535_is_refused() {
    let mut spec = ContainerSpec::arb(&mut Source::plain()).to_pb();
    spec.ports[0].host_port = 65_536;
    let refused = CodecError::OutOfRange { message: "Port", field: "host_port", number: 65_536, limit: 65_535 };
    assert_eq!(ContainerSpec::from_pb(spec), Err(refused));
}

#[test]
fn a_driver_or_runtime_declared_twice_is_refused() {
    let declared = Declaration::arb(&mut Source::plain()).to_pb();
    let mut twice = declared.clone();
    twice.drivers.push(twice.drivers[0]);
    assert_eq!(Declaration::from_pb(twice), Err(CodecError::Duplicate { message: "Declaration", field: "drivers" }));
    let mut twice = declared;
    twice.runtimes.push(twice.runtimes[0]);
    assert_eq!(Declaration::from_pb(twice), Err(CodecError::Duplicate { message: "Declaration", field: "runtimes" }));
}

fn keepalives(count: usize, tokens: usize) -> Command {
    let tokens = (0..tokens as u64).map(Token).collect();
    let keepalive = Keepalive { incarnation: Incarnation(1), session: SessionId(1), seq: Seq(1), nonce: Nonce(1), tokens };
    let order = Order::RecordKeepalives(RecordKeepalives { keepalives: vec![keepalive; count] });
    Command { time: Time(1), request: None, actor: String::new(), order }
}

#[test]
fn a_batch_above_its_bound_is_refused() {
    for (count, tokens, message, field) in [(MAX_BATCH + 1, 0, "RecordKeepalives", "keepalives"), (1, MAX_BATCH + 1, "Keepalive", "tokens")]
    {
        let refused = decode_command(&encode_command(&keepalives(count, tokens)));
        assert_eq!(refused, Err(CodecError::TooMany { message, field, count: MAX_BATCH + 1, limit: MAX_BATCH }));
    }
    let full = keepalives(MAX_BATCH, 1);
    assert_eq!(decode_command(&encode_command(&full)), Ok(full));
}

#[test]
fn a_command_above_its_bound_is_refused_unread() {
    let mut command = keepalives(0, 0);
    command.actor = "x".repeat(MAX_COMMAND_BYTES);
    let bytes = encode_command(&command);
    assert_eq!(decode_command(&bytes), Err(CodecError::TooLong { message: "Command", bytes: bytes.len(), limit: MAX_COMMAND_BYTES }));
}

#[test]
fn bytes_that_are_no_message_are_refused() {
    assert!(matches!(decode_command(&[0xff; 7]), Err(CodecError::Malformed { message: "Command", .. })));
    assert!(matches!(decode_event(&[0x0a]), Err(CodecError::Malformed { message: "Event", .. })));
}
