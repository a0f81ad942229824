//! Secrets of fence agents: the state has them on every node, the event log never does.

use std::collections::BTreeMap;

use berth_state::command::*;
use berth_state::ids::*;
use berth_state::noun::fence::FenceMethod;
use berth_state::noun::host::*;
use berth_state::noun::secrets::{HIDDEN, Secrets};
use berth_state::{ClusterState, Fact, Order, Rejection, codec};

use crate::world::*;

const PASSWORD: &str = "s3cret-of-the-bmc";

fn spec(password: &str) -> HostSpec {
    let agent = FenceAgent {
        agent: "fence_ipmilan".to_owned(),
        options: BTreeMap::from([("ip".to_owned(), "10.0.0.9".to_owned())]),
        secrets: Secrets(BTreeMap::from([("passwd".to_owned(), password.to_owned())])),
        timeout_ms: 20_000,
    };
    HostSpec { address: "h3.example".to_owned(), fence_agents: vec![agent], ..HostSpec::default() }
}

fn known(state: &ClusterState) -> String {
    state.host(&host("h3")).unwrap().spec.fence_agents[0].secrets.0["passwd"].clone()
}

#[test]
fn a_secret_reaches_the_state_and_no_event() {
    let mut w = World::empty();
    w.done(Order::AddHost(AddHost { host: host("h3"), spec: spec(PASSWORD) }));
    assert_eq!(known(&w.state), PASSWORD);
    w.done(Order::UpdateHost(UpdateHost { host: host("h3"), version: Version(1), spec: spec("s3cret-changed") }));
    assert_eq!(known(&w.state), "s3cret-changed");
    for event in &w.events {
        let bytes = codec::encode_event(event);
        assert!(!bytes.windows(6).any(|w| w == b"s3cret"), "{event:?}");
    }
    // The stored objects, which a restart and a snapshot are made from, do have it.
    let loaded = ClusterState::load(w.state.objects().collect::<Vec<_>>()).unwrap();
    assert_eq!(known(&loaded), "s3cret-changed");
}

#[test]
fn an_update_that_shows_a_secret_as_hidden_keeps_it() {
    let mut w = World::empty();
    w.done(Order::AddHost(AddHost { host: host("h3"), spec: spec(PASSWORD) }));
    let shown = w.state.host(&host("h3")).unwrap().spec.shown();
    assert_eq!(shown.fence_agents[0].secrets.0["passwd"], HIDDEN);
    let changed = HostSpec { storage_address: "10.1.0.3".to_owned(), ..shown };
    w.done(Order::UpdateHost(UpdateHost { host: host("h3"), version: Version(1), spec: changed }));
    assert_eq!(known(&w.state), PASSWORD);
    assert_eq!(w.state.host(&host("h3")).unwrap().spec.storage_address, "10.1.0.3");
}

#[test]
fn a_hidden_secret_that_was_never_known_is_refused() {
    let mut w = World::empty();
    let refused = w.refused(Order::AddHost(AddHost { host: host("h3"), spec: spec(HIDDEN) }));
    assert!(matches!(&refused, Rejection::Invalid { field, .. } if field == "fence_agents.secrets"), "{refused:?}");
    w.done(Order::AddHost(AddHost { host: host("h3"), spec: HostSpec::default() }));
    let order = Order::UpdateHost(UpdateHost { host: host("h3"), version: Version(1), spec: spec(HIDDEN) });
    assert!(matches!(w.refused(order), Rejection::Invalid { .. }));
}

#[test]
fn the_events_alone_give_the_same_hosts_but_for_the_secrets() {
    let mut w = World::empty();
    w.done(Order::AddHost(AddHost { host: host("h3"), spec: spec(PASSWORD) }));
    w.done(Order::UpdateHost(UpdateHost { host: host("h3"), version: Version(1), spec: spec("s3cret-changed") }));
    let mut replayed = ClusterState::default();
    w.events.iter().for_each(|event| replayed.evolve(event));
    assert_eq!(known(&replayed), HIDDEN);
    let real = w.state.host(&host("h3")).unwrap();
    let shown = Host { spec: real.spec.shown(), ..real.clone() };
    assert_eq!(replayed.host(&host("h3")), Some(&shown));
}

#[test]
fn what_an_agent_prints_of_its_secrets_reaches_no_event() {
    let mut w = World::small();
    w.done(Order::UpdateHost(UpdateHost { host: host("h1"), version: Version(1), spec: spec(PASSWORD) }));
    let (lease, token) = w.running("db", "h1");
    let method = FenceMethod::PowerOff;
    w.done(Order::StartFence(StartFence { lease, token, method, heard: None }));
    let agent = "fence_ipmilan".to_owned();
    let begin =
        BeginFenceAttempt { host: host("h1"), method, agent, node: NodeId(1), tokens: vec![token], timeout_ms: 9_000, instead: None };
    w.done(Order::BeginFenceAttempt(begin));
    let (attempt, output) = (Revision(w.index), format!("ipmitool -P {PASSWORD} failed"));
    w.done(Order::EndFenceAttempt(EndFenceAttempt { host: host("h1"), attempt, ok: false, output }));
    let Fact::FenceTried { output, .. } = &w.events.last().unwrap().fact else { panic!() };
    assert_eq!(*output, format!("ipmitool -P {HIDDEN} failed"));
}
