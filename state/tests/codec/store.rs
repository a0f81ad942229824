//! A state and its stored objects.

use std::collections::BTreeMap;

use berth_state::ClusterState;
use berth_state::codec::{CodecError, Held, Wire};
use berth_state::command::{Order, StartFence};
use berth_state::ids::{ContainerId, LeaseId, RequestId, Token, VolumeId};
use berth_state::noun::fence::FenceMethod;
use berth_state::noun::lease::Lease;
use berth_state::noun::session::Guard;
use berth_state::state::ObjectKey;
use proptest::prelude::*;
use prost::Message;

use crate::support::{Arb, Source, Variants};
use crate::world::{BOOT, World, spec};

type Stored = BTreeMap<Vec<u8>, Vec<u8>>;

fn bytes<T: Wire<Pb: Message>>(value: &T) -> Vec<u8> {
    value.to_pb().encode_to_vec()
}

/// A lease that shares nothing with one of another number.
fn lease(s: &mut Source, number: u64) -> Lease {
    let mut lease = Lease::arb(s);
    lease.id = LeaseId(number);
    lease.token = Token(number);
    lease.container = ContainerId::new(&format!("c{number}")).unwrap();
    for (i, held) in lease.volumes.iter_mut().enumerate() {
        held.volume = VolumeId::new(&format!("v{number}-{i}")).unwrap();
    }
    lease
}

/// A stored object of the kind that `key` is of, under a key that fits it.
fn object(s: &mut Source, key: ObjectKey, number: u64) -> (Vec<u8>, Vec<u8>) {
    use berth_state::noun::{cluster, container, fence, host, session, volume};
    let (key, value) = match key {
        ObjectKey::Cluster => (ObjectKey::Cluster, bytes(&cluster::Cluster::arb(s))),
        ObjectKey::Clock => (ObjectKey::Clock, berth_state::pb::state::Clock { time_ms: number }.encode_to_vec()),
        ObjectKey::Host(id) => (ObjectKey::Host(id.clone()), bytes(&host::Host { id, ..Arb::arb(s) })),
        ObjectKey::Volume(id) => (ObjectKey::Volume(id.clone()), bytes(&volume::Volume { id, ..Arb::arb(s) })),
        ObjectKey::Container(id) => (ObjectKey::Container(id.clone()), bytes(&container::Container { id, ..Arb::arb(s) })),
        ObjectKey::Lease(_) => (ObjectKey::Lease(LeaseId(number)), bytes(&lease(s, number))),
        ObjectKey::Session(id) => (ObjectKey::Session(id), bytes(&session::Session { id, ..Arb::arb(s) })),
        ObjectKey::Pulse(_) => (key, bytes(&session::Pulse::arb(s))),
        ObjectKey::Renewal(_) => (key, bytes(&session::Renewal::arb(s))),
        ObjectKey::Fence(token) => (ObjectKey::Fence(token), bytes(&fence::Fence { token, ..Arb::arb(s) })),
        ObjectKey::Request(_) => (key, bytes(&berth_state::state::Answered::arb(s))),
    };
    (key.encode(), value)
}

fn stored(seed: u64) -> Stored {
    let s = &mut Source::random(seed);
    (1..=4).flat_map(|number| ObjectKey::each(s).into_iter().map(|key| object(s, key, number)).collect::<Vec<_>>()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_loaded_state_has_the_objects_it_was_loaded_from(seed: u64) {
        let stored = stored(seed);
        let state = ClusterState::load(stored.clone()).unwrap();
        prop_assert!(state.objects().map(|(key, _)| key).is_sorted());
        prop_assert_eq!(state.objects().collect::<Stored>(), stored.clone());
        let reversed = ClusterState::load(stored.clone().into_iter().rev()).unwrap();
        prop_assert_eq!(&reversed, &state);
        for (key, value) in &stored {
            prop_assert_eq!(state.object(&ObjectKey::decode(key).unwrap()), Some(value.clone()));
        }
    }

    #[test]
    fn the_hash_tells_one_missing_or_changed_object(seed: u64, which: prop::sample::Index) {
        let whole = stored(seed);
        let hash = ClusterState::load(whole.clone()).unwrap().hash();
        prop_assert_eq!(ClusterState::load(whole.clone()).unwrap().hash(), hash);
        let mut part = whole.clone();
        let key = which.get(&whole.keys().cloned().collect::<Vec<_>>()).clone();
        part.remove(&key);
        prop_assert_ne!(ClusterState::load(part).unwrap().hash(), hash);
        let mut other = whole;
        other.insert(ObjectKey::Clock.encode(), berth_state::pb::state::Clock { time_ms: 99 }.encode_to_vec());
        prop_assert_ne!(ClusterState::load(other).unwrap().hash(), hash);
    }

    #[test]
    fn a_garbled_store_never_panics(seed: u64, which: prop::sample::Index, at: prop::sample::Index, byte: u8) {
        let mut stored: Vec<_> = stored(seed).into_iter().collect();
        let count = stored.len();
        let (key, value) = &mut stored[which.index(count)];
        let bytes = if value.is_empty() || byte % 4 == 0 { key } else { value };
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(state) = ClusterState::load(stored) {
            prop_assert_eq!(ClusterState::load(state.objects()), Ok(state));
        }
    }
}

/// Leases in every phase, a fence, sessions, answered requests.
fn lived() -> World {
    let mut world = World::small();
    let first = world.running("db", "h1");
    world.add_container("web", spec(&[]));
    world.add_container("job", spec(&[]));
    world.grant("web", "h2");
    world.expire(first);
    world.done(Order::StartFence(StartFence { lease: first.0, token: first.1, method: FenceMethod::PowerOff, heard: None }));
    let reopen = world.open_order("h2", BOOT, Some(world.session("h2")), Guard::Init);
    world.done(reopen);
    for n in 0..3 {
        world.command(Some(RequestId([n; 16])), world.grant_order("job", "h2"));
    }
    world
}

#[test]
fn a_state_that_lived_comes_back_whole_with_its_index() {
    let world = lived();
    assert_eq!((world.state.leases().count(), world.state.fences().count()), (3, 1), "the example shows too little");
    // Equality takes in the index, which is rebuilt here and was kept up to date there.
    assert_eq!(ClusterState::load(world.state.objects()).as_ref(), Ok(&world.state));
}

#[test]
fn a_loaded_state_goes_on_like_the_one_that_was_stored() {
    let mut world = lived();
    let mut loaded = world.clone();
    loaded.state = ClusterState::load(world.state.objects()).unwrap();
    for w in [&mut world, &mut loaded] {
        w.command(Some(RequestId([1; 16])), w.grant_order("job", "h2"));
        let session = w.session("h2");
        let tokens: Vec<_> = w.state.leases().map(|l| l.token).collect();
        w.keepalive(session, &tokens);
    }
    assert_eq!(world.state, loaded.state);
    assert_eq!(world.state.hash(), loaded.state.hash());
}

#[test]
fn what_is_not_there_has_no_bytes() {
    let empty = ClusterState::default();
    assert_eq!(empty.objects().count(), 0);
    for key in ObjectKey::each(&mut Source::plain()) {
        assert_eq!(empty.object(&key), None, "{key:?}");
    }
}

#[test]
fn two_stored_leases_on_one_volume_are_refused() {
    let s = &mut Source::plain();
    let (first, mut second) = (lease(s, 1), lease(s, 2));
    let load = |second: &Lease| ClusterState::load([&first, second].map(|l| (ObjectKey::Lease(l.id).encode(), bytes(l))));
    assert!(load(&second).is_ok());
    let shared = first.volumes[1].volume.clone();
    second.volumes[0].volume = shared.clone();
    assert_eq!(load(&second), Err(CodecError::TwoHolders { held: Held::Volume(shared), first: first.id, second: second.id }));
}

#[test]
fn two_stored_leases_of_one_container_or_token_are_refused() {
    let s = &mut Source::plain();
    let first = lease(s, 1);
    let load = |second: &Lease| ClusterState::load([&first, second].map(|l| (ObjectKey::Lease(l.id).encode(), bytes(l))));
    let same_container = Lease { container: first.container.clone(), ..lease(s, 2) };
    let held = Held::Container(first.container.clone());
    assert_eq!(load(&same_container), Err(CodecError::TwoHolders { held, first: first.id, second: LeaseId(2) }));
    let same_token = Lease { token: first.token, ..lease(s, 2) };
    let held = Held::Token(first.token);
    assert_eq!(load(&same_token), Err(CodecError::TwoHolders { held, first: first.id, second: LeaseId(2) }));
}

#[test]
fn an_object_under_another_ones_key_is_refused() {
    let value = bytes(&lease(&mut Source::plain(), 1));
    let refused = ClusterState::load([(ObjectKey::Lease(LeaseId(2)).encode(), value)]).unwrap_err();
    assert_eq!(refused, CodecError::KeyMismatch { key_hex: "200000000000000002".to_owned() });
}

#[test]
fn an_unknown_or_malformed_key_is_refused() {
    for key in [vec![], vec![0x7f, 1], vec![0x01, 0], vec![0x20, 1, 2], vec![0x10], vec![0x10, b'A'], vec![0x10, 0xff], [0x30; 18].to_vec()]
    {
        let refused = ClusterState::load([(key.clone(), vec![])]);
        assert!(matches!(refused, Err(CodecError::BadKey { .. })), "{key:?}: {refused:?}");
    }
}
