//! The services of a real control node, called over gRPC as a client and an executor would: one node for what needs no group, three for
//! redirects and the loss of a leader.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::wildcard_enum_match_arm, clippy::disallowed_methods, reason = "tests")]

#[path = "support/cluster.rs"]
mod cluster;
#[path = "../../state/tests/world/mod.rs"]
mod world;

use std::time::Duration;

use berth_state::codec::Wire;
use berth_state::command::*;
use berth_state::ids::*;
use berth_state::noun::container::*;
use berth_state::noun::lease::*;
use berth_state::noun::session::*;
use berth_state::outcome::*;
use berth_state::pb::api;
use berth_state::{Event, Fact, Order, Outcome, Rejection};
use cluster::{Client, Group, outcome};
use world::{BOOT, container, declaration, host, ledger, path_volume, spec, volume};

/// Host h1 with a session, volume pg, container db.
async fn furnish(client: &mut Client) -> SessionId {
    let session = open(client, "h1").await;
    client.accepted(Order::AddVolume(AddVolume { volume: volume("pg"), spec: path_volume("/data/pg") })).await;
    let add = AddContainer { container: container("db"), spec: spec(&["pg"]), desired: Desired::Running };
    client.accepted(Order::AddContainer(add)).await;
    session
}

async fn open(client: &mut Client, name: &str) -> SessionId {
    let request = api::OpenSessionRequest {
        cluster_id: world::CLUSTER.0.to_vec(),
        request_id: cluster::fresh_id(),
        host: name.to_owned(),
        boot_id: BOOT.0.to_vec(),
        ledger_id: ledger(name).0.to_vec(),
        predecessor: 0,
        declared: Some(declaration(Guard::HostProcess).to_pb()),
        register: Some(berth_state::noun::host::HostSpec::default().to_pb()),
    };
    match outcome(client.executors.open_session(request).await.unwrap().into_inner().outcome) {
        Outcome::Accepted(Accepted { made: Made::Session(id), .. }) => id,
        other => panic!("{other:?}"),
    }
}

async fn keepalive(client: &mut Client, session: SessionId, seq: u64, tokens: &[Token]) -> KeepaliveAnswer {
    let keepalive = world::raw_keepalive(session, seq, seq, tokens).to_pb();
    let request = api::KeepaliveRequest { cluster_id: Vec::new(), keepalive: Some(keepalive) };
    let answer = client.executors.keepalive(request).await.unwrap().into_inner().answer.unwrap();
    KeepaliveAnswer::from_pb(answer).unwrap()
}

/// The next assignment message that carries a lease.
async fn assigned(stream: &mut tonic::Streaming<api::AssignmentsResponse>) -> Lease {
    let wait = async {
        loop {
            let message = stream.message().await.unwrap().expect("the stream goes on");
            if let Some(lease) = message.leases.into_iter().next() {
                return Lease::from_pb(lease).unwrap();
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.expect("an assignment within 20 s")
}

async fn assignments(client: &mut Client, session: SessionId) -> tonic::Streaming<api::AssignmentsResponse> {
    let request = api::AssignmentsRequest { cluster_id: Vec::new(), host: "h1".to_owned(), session: session.0 };
    client.executors.assignments(request).await.unwrap().into_inner()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_is_placed_assigned_activated_and_released_on_request() {
    let group = Group::start(1).await;
    let mut client = group.leader().await;
    let session = furnish(&mut client).await;
    let mut stream = assignments(&mut client, session).await;
    let lease = assigned(&mut stream).await;
    assert_eq!((lease.container.as_str(), lease.phase), ("db", Phase::Granted));

    let answer = keepalive(&mut client, session, 1, &[lease.token]).await;
    let live = LeaseVerdict::Live { ttl_ms: 10_000 };
    assert_eq!(answer.verdict, SessionVerdict::Heard { ttl_ms: 10_000, leases: vec![(lease.token, live)] });
    let late = keepalive(&mut client, session, 1, &[lease.token]).await;
    assert_eq!(late.verdict, SessionVerdict::Stale, "a doubled message is answered by its own entry, not from memory");

    client.accepted(Order::SetDesired(SetDesired { container: container("db"), desired: Desired::Stopped })).await;
    let revoked = loop {
        let lease = assigned(&mut stream).await;
        if lease.revoked.is_some() {
            break lease;
        }
    };
    let release = api::ReleaseRequest {
        cluster_id: Vec::new(),
        request_id: cluster::fresh_id(),
        session: session.0,
        lease: revoked.id.0,
        token: revoked.token.0,
        exit: None,
        finished: false,
    };
    let done = client.executors.release(release).await.unwrap().into_inner();
    assert!(matches!(outcome(done.outcome), Outcome::Accepted(_)));
    let read = client.read().await;
    assert!(read.leases.is_empty());
    let kinds: Vec<&str> = client.history(0).await.iter().map(|e| e.fact.kind()).collect();
    for kind in ["ClusterInitialized", "HostAdded", "SessionOpened", "LeaseGranted", "LeaseActivated", "LeaseRevoked", "LeaseReleased"] {
        assert!(kinds.contains(&kind), "{kind} is missing in {kinds:?}");
    }
    group.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_holder_is_expired_fenced_and_the_history_carries_the_evidence() {
    let group = Group::start_with_ttl(1, 1_000).await;
    let mut client = group.leader().await;
    let session = furnish(&mut client).await;
    let lease = assigned(&mut assignments(&mut client, session).await).await;
    keepalive(&mut client, session, 1, &[lease.token]).await;
    let fenced = client
        .event_where(|e| matches!(&e.fact, Fact::LeaseFenced { token, evidence: Evidence::RanOut { .. }, .. } if *token == lease.token))
        .await;
    let history = client.history(0).await;
    let position = |kind: &str| history.iter().position(|e| e.fact.kind() == kind).unwrap_or_else(|| panic!("{kind} is missing"));
    assert!(position("LeaseActivated") < position("LeaseExpired") && position("LeaseExpired") < position("LeaseFenced"));
    assert!(fenced.actor.starts_with("node "), "who did it is in the log: {}", fenced.actor);
    group.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_with_the_same_request_id_gets_the_first_answer_over_the_wire() {
    let group = Group::start(1).await;
    let mut client = group.leader().await;
    let order = Order::AddVolume(AddVolume { volume: volume("pg"), spec: path_volume("/data/pg") });
    let id = cluster::fresh_id();
    let first = client.write(id.clone(), order.clone()).await.unwrap();
    assert_eq!(client.write(id, order.clone()).await.unwrap(), first);
    let other = client.write(cluster::fresh_id(), order).await.unwrap();
    assert!(matches!(other, Outcome::Rejected(Rejection::VolumeExists { .. })));
    group.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_gives_the_full_set_then_every_event_and_resumes_without_a_gap_or_a_double() {
    let group = Group::start(1).await;
    let mut client = group.leader().await;
    let add = |n: u32| {
        let spec = path_volume(&format!("/data/v{n}"));
        Order::AddVolume(AddVolume { volume: volume(&format!("v{n}")), spec })
    };
    client.accepted(add(0)).await;
    let mut watch = client.watch(0).await;
    let full = watch.full().await;
    assert_eq!(full.volumes.len(), 1);
    for n in 1..=40 {
        client.accepted(add(n)).await;
    }
    let seen = watch.events(20).await;
    let mut resumed = client.watch(seen.last().unwrap().revision.0).await;
    let rest = resumed.events(40 - seen.len()).await;
    let names: Vec<String> = seen.iter().chain(&rest).map(added).collect();
    let expected: Vec<String> = (1..=40).map(|n| format!("v{n}")).collect();
    assert_eq!(names, expected);
    assert!(seen[0].revision.0 > full.revision, "nothing that the full set had is sent again");
    group.stop().await;
}

fn added(event: &Event) -> String {
    match &event.fact {
        Fact::VolumeAdded { volume, .. } => volume.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn why_tells_the_holder_the_promise_and_what_blocks() {
    let group = Group::start(1).await;
    let mut client = group.leader().await;
    let session = furnish(&mut client).await;
    let lease = assigned(&mut assignments(&mut client, session).await).await;
    keepalive(&mut client, session, 1, &[lease.token]).await;
    for name in ["pg", "db"] {
        let why = client.why(name).await.unwrap();
        assert_eq!(why.lease.unwrap().token, lease.token.0);
        assert!(why.promise.iter().any(|line| line.contains("guard host process")), "{:?}", why.promise);
        let earliest = why.earliest_takeover_ms.unwrap();
        assert!(earliest > 0 && earliest <= 11_000, "{earliest}");
    }
    let stuck = AddContainer { container: container("other"), spec: spec(&["pg"]), desired: Desired::Running };
    client.accepted(Order::AddContainer(stuck)).await;
    let why = client.why("other").await.unwrap();
    assert!(why.blocks.iter().any(|line| line.contains("held by container db")), "{:?}", why.blocks);
    let missing = client.why("nope").await.unwrap_err();
    assert_eq!(missing.code(), tonic::Code::NotFound);
    group.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn why_says_the_rung_of_what_is_held_and_of_what_is_free() {
    use berth_state::noun::host::*;
    use berth_state::noun::volume::*;

    let group = Group::start(1).await;
    let mut client = group.leader().await;
    let session = furnish(&mut client).await;
    let lease = assigned(&mut assignments(&mut client, session).await).await;
    keepalive(&mut client, session, 1, &[lease.token]).await;
    let why = client.why("pg").await.unwrap();
    assert_eq!((why.rung, why.standings.len()), (Some(3), 1));
    assert!(why.rests_on.iter().any(|line| line.contains("its owner states it coherent")), "{:?}", why.rests_on);
    for hole in ["a paused virtual machine", "restored under the same boot id", "if that statement is wrong"] {
        assert!(why.cannot_hold.iter().any(|line| line.contains(hole)), "{hole} is missing in {:?}", why.cannot_hold);
    }

    // Free, after-fence, and only power can fence it: nobody, then rung 6.
    let spec = VolumeSpec { takeover: Takeover::AfterFence, ..path_volume("/data/power") };
    client.accepted(Order::AddVolume(AddVolume { volume: volume("power"), spec })).await;
    let why = client.why("power").await.unwrap();
    assert_eq!(why.rung, None);
    let agent = FenceAgent { agent: "/bin/true".to_owned(), options: Default::default(), secrets: Default::default(), timeout_ms: 5_000 };
    let spec = HostSpec { fence_agents: vec![agent], ..HostSpec::default() };
    client.accepted(Order::UpdateHost(UpdateHost { host: host("h1"), version: Version(1), spec })).await;
    let why = client.why("power").await.unwrap();
    assert_eq!(why.rung, Some(6));
    assert!(why.rests_on.iter().any(|line| line.contains("true must report the host off")), "{:?}", why.rests_on);
    assert!(!why.cannot_hold.iter().any(|line| line.contains("virtual machine")), "power does not rest on clocks: {:?}", why.cannot_hold);
    // What was leased keeps what it was granted with.
    assert_eq!(client.why("db").await.unwrap().rung, Some(3));
    group.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_with_a_fence_agent_that_the_leader_does_not_have_is_refused() {
    use berth_state::noun::host::*;

    let group = Group::start(1).await;
    let mut client = group.leader().await;
    let agent =
        FenceAgent { agent: "fence_of_nobody".to_owned(), options: Default::default(), secrets: Default::default(), timeout_ms: 5_000 };
    let spec = HostSpec { fence_agents: vec![agent], ..HostSpec::default() };
    let refused = client.write(cluster::fresh_id(), Order::AddHost(AddHost { host: host("h9"), spec })).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    assert!(refused.message().contains("Debian package fence-agents"), "{refused:?}");
    assert!(client.read().await.hosts.is_empty());
    group.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_leave_no_node_by_the_api() {
    use berth_state::noun::host::*;
    use berth_state::noun::secrets::{HIDDEN, Secrets};

    const PASSWORD: &str = "hunter2-of-the-bmc";
    let mut group = Group::start(1).await;
    let (id, _) = group.leader_id().await;
    let mut client = group.leader().await;
    let secrets = Secrets(std::collections::BTreeMap::from([("passwd".to_owned(), PASSWORD.to_owned())]));
    let agent = FenceAgent { agent: "/bin/true".to_owned(), options: Default::default(), secrets, timeout_ms: 5_000 };
    let spec = HostSpec { fence_agents: vec![agent], ..HostSpec::default() };
    client.accepted(Order::AddHost(AddHost { host: host("h9"), spec })).await;
    let read = client.read().await;
    assert_eq!(read.hosts[0].spec.as_ref().unwrap().fence_agents[0].secrets["passwd"], HIDDEN);
    let full = client.watch(0).await.full().await;
    assert_eq!(full.hosts[0].spec.as_ref().unwrap().fence_agents[0].secrets["passwd"], HIDDEN);
    for record in client.records(0).await.unwrap() {
        assert!(!record.event.windows(PASSWORD.len()).any(|bytes| bytes == PASSWORD.as_bytes()));
    }
    // It is in the state all the same, also after a restart: an update that was not shown it keeps it.
    group.changed(id, |_| ()).await;
    let mut client = group.leader().await;
    let spec = HostSpec::from_pb(client.read().await.hosts[0].spec.clone().unwrap()).unwrap();
    client.accepted(Order::UpdateHost(UpdateHost { host: host("h9"), version: Version(1), spec })).await;
    group.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_event_is_an_error_that_names_its_revision_and_never_skipped() {
    use berth_raft::engine::{Batch, Disk, Family, Half, RocksDisk};

    let mut group = Group::start(1).await;
    let (id, _) = group.leader_id().await;
    let mut client = group.leader().await;
    furnish(&mut client).await;
    let head = client.read().await.history.unwrap();
    let records = client.records(0).await.unwrap();
    assert!(records.iter().any(|record| (record.revision, &record.hash) == (head.revision, &head.hash)), "the head is in the history");

    let victim = records[3].clone();
    group
        .changed(id, |folder| {
            let engine = RocksDisk::new(folder).open(Half::State, false).unwrap();
            let key = [&victim.revision.to_be_bytes()[..], &victim.seq.to_be_bytes()].concat();
            let mut value = engine.get(Family::Events, &key).unwrap().unwrap();
            *value.last_mut().unwrap() ^= 1;
            let mut batch = Batch::new();
            batch.put(Family::Events, key, value);
            engine.write(batch).unwrap();
            engine.sync().unwrap();
        })
        .await;
    let mut client = group.leader().await;
    let error = client.records(0).await.unwrap_err();
    assert_eq!(error.metadata().get("berth-error").unwrap(), "corrupt-history");
    assert!(error.message().contains(&format!("corrupt history at revision {}", victim.revision)), "{error}");
    // A watch over it ends with the same; one behind it goes on; and who holds what is still told.
    let watched = client.watch(victim.revision - 1).await.error().await;
    assert_eq!(watched.metadata().get("berth-error").unwrap(), "corrupt-history");
    assert!(!client.records(victim.revision).await.unwrap().is_empty());
    let why = client.why("pg").await.unwrap();
    assert!(why.blocks.iter().any(|line| line.contains("corrupt history")), "{:?}", why.blocks);
    group.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_a_users_to_give_and_what_is_malformed_is_refused_before_the_log() {
    let group = Group::start(1).await;
    let mut client = group.leader().await;
    let status = client.read().await.revision;
    let grant = Order::GrantLease(GrantLease { container: container("db"), version: Version(1), host: host("h1"), session: SessionId(1) });
    let refused = client.write(cluster::fresh_id(), grant).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    let no_id = client.write(vec![1, 2], Order::RemoveHost(RemoveHost { host: host("h1") })).await.unwrap_err();
    assert_eq!(no_id.code(), tonic::Code::InvalidArgument);
    let request = api::WriteRequest { cluster_id: vec![9; 16], request_id: cluster::fresh_id(), actor: String::new(), order: None };
    let foreign = client.registry.write(request).await.unwrap_err();
    assert_eq!(foreign.metadata().get("berth-error").unwrap(), "wrong-cluster");
    assert_eq!(client.read().await.revision, status, "nothing was written");
    group.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn followers_name_the_leader_and_a_new_leader_goes_on_with_the_same_leases() {
    let mut group = Group::start_with_ttl(3, 3_000).await;
    let mut client = group.leader().await;
    let session = furnish(&mut client).await;
    let lease = assigned(&mut assignments(&mut client, session).await).await;
    keepalive(&mut client, session, 1, &[lease.token]).await;

    let (leader, address) = group.leader_id().await;
    let mut follower = group.client_of(group.another_than(leader)).await;
    let redirected = follower.write(cluster::fresh_id(), Order::RemoveHost(RemoveHost { host: host("x") })).await.unwrap_err();
    assert_eq!(redirected.metadata().get("berth-error").unwrap(), "not-leader");
    assert_eq!(redirected.metadata().get("berth-leader").unwrap().to_str().unwrap(), format!("{leader}={address}"));
    assert_eq!(follower.read_stale().await.leases.len(), 1, "a stale read is served by any node");

    group.stop_node(leader).await;
    let mut client = group.leader().await;
    let answer = keepalive(&mut client, session, 2, &[lease.token]).await;
    let live = LeaseVerdict::Live { ttl_ms: 3_000 };
    assert_eq!(answer.verdict, SessionVerdict::Heard { ttl_ms: 3_000, leases: vec![(lease.token, live)] });
    let expired = client.history(0).await.iter().any(|e| matches!(e.fact, Fact::LeaseExpired { .. }));
    assert!(!expired, "a change of leader shortened a lease");
    group.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_quorum_nothing_is_called_failed_and_status_still_answers() {
    let mut group = Group::start(3).await;
    let (leader, _) = group.leader_id().await;
    let mut client = group.client_of(leader).await;
    let others: Vec<u64> = group.ids().into_iter().filter(|id| *id != leader).collect();
    for id in others {
        group.stop_node(id).await;
    }
    let error = client.write(cluster::fresh_id(), Order::RemoveHost(RemoveHost { host: host("x") })).await.unwrap_err();
    let kind = error.metadata().get("berth-error").unwrap().to_str().unwrap().to_owned();
    assert!(["unknown", "no-quorum"].contains(&kind.as_str()), "{kind}");
    let status = client.registry.status(api::StatusRequest {}).await.unwrap().into_inner();
    assert_eq!(status.node_id, leader);
    group.stop().await;
}
