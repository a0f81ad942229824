//! Round trips over random values; the seed is the only input, so a failing one is replayed by naming it.

use berth_state::codec::{CodecError, Wire, decode_command, decode_event, decode_outcome, encode_command, encode_event, encode_outcome};
use berth_state::command::{Command, Order};
use berth_state::event::{Event, Fact};
use berth_state::outcome::Outcome;
use berth_state::placement::Unfit;
use berth_state::rejection::Rejection;
use berth_state::state::ObjectKey;
use proptest::prelude::*;

use crate::support::{Arb, Source, Variants};

fn cases() -> ProptestConfig {
    // No files of failed seeds: a failing seed becomes a named case.
    ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() }
}

fn command(s: &mut Source, order: Order) -> Command {
    Command { time: Arb::arb(s), request: Arb::arb(s), actor: Arb::arb(s), order }
}

fn event(s: &mut Source, fact: Fact) -> Event {
    Event { revision: Arb::arb(s), time: Arb::arb(s), actor: Arb::arb(s), fact }
}

/// Encoded commands, events and outcomes, one of each.
fn encoded(s: &mut Source) -> [Vec<u8>; 3] {
    [encode_command(&Arb::arb(s)), encode_event(&Arb::arb(s)), encode_outcome(&Arb::arb(s))]
}

/// Whatever these decode to, it must be a value that reads back; a panic fails the test.
fn decode_all(bytes: &[u8]) {
    if let Ok(command) = decode_command(bytes) {
        assert_eq!(decode_command(&encode_command(&command)), Ok(command));
    }
    if let Ok(event) = decode_event(bytes) {
        assert_eq!(decode_event(&encode_event(&event)), Ok(event));
    }
    if let Ok(outcome) = decode_outcome(bytes) {
        assert_eq!(decode_outcome(&encode_outcome(&outcome)), Ok(outcome));
    }
    if let Ok(key) = ObjectKey::decode(bytes) {
        assert_eq!(key.encode(), bytes);
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn every_command_reads_back(seed: u64) {
        let s = &mut Source::random(seed);
        for order in Order::each(s) {
            let command = command(s, order);
            prop_assert_eq!(decode_command(&encode_command(&command)), Ok(command));
        }
    }

    #[test]
    fn every_event_reads_back(seed: u64) {
        let s = &mut Source::random(seed);
        for fact in Fact::each(s) {
            let event = event(s, fact);
            prop_assert_eq!(decode_event(&encode_event(&event)), Ok(event));
        }
    }

    #[test]
    fn every_outcome_and_refusal_reads_back(seed: u64) {
        let s = &mut Source::random(seed);
        let refusals = Rejection::each(s).into_iter().map(Outcome::Rejected).collect::<Vec<_>>();
        for outcome in Outcome::each(s).into_iter().chain(refusals) {
            prop_assert_eq!(decode_outcome(&encode_outcome(&outcome)), Ok(outcome));
        }
        for unfit in Unfit::each(s) {
            prop_assert_eq!(Unfit::from_pb(unfit.to_pb()), Ok::<_, CodecError>(unfit));
        }
    }

    #[test]
    fn other_values_have_other_bytes(seed: u64) {
        let a: Command = Arb::arb(&mut Source::random(seed));
        let b: Command = Arb::arb(&mut Source::random(seed ^ 1));
        prop_assert_eq!(a == b, encode_command(&a) == encode_command(&b));
    }

    #[test]
    fn keys_read_back_and_sort_like_their_objects(seed: u64) {
        let s = &mut Source::random(seed);
        let mut keys: Vec<_> = (0..8).flat_map(|_| ObjectKey::each(s)).collect();
        keys.sort();
        let bytes: Vec<_> = keys.iter().map(ObjectKey::encode).collect();
        prop_assert!(bytes.is_sorted());
        for (key, bytes) in keys.into_iter().zip(bytes) {
            prop_assert_eq!(ObjectKey::decode(&bytes), Ok(key));
        }
    }

    #[test]
    fn truncated_bytes_never_panic(seed: u64) {
        for bytes in encoded(&mut Source::random(seed)) {
            (0..bytes.len()).for_each(|end| decode_all(&bytes[..end]));
        }
    }

    #[test]
    fn garbled_bytes_never_panic(seed: u64, changes: Vec<(prop::sample::Index, u8)>) {
        for mut bytes in encoded(&mut Source::random(seed)) {
            for (at, byte) in &changes {
                if !bytes.is_empty() {
                    let at = at.index(bytes.len());
                    bytes[at] = *byte;
                    decode_all(&bytes);
                }
            }
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes: Vec<u8>) {
        decode_all(&bytes);
    }
}
