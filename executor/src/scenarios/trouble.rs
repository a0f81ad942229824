//! Faults: hanging storage, older sets, a right lost while starting, a ledger that cannot be written.

use berth_state::Order;
use berth_state::command::{FenceLease, Keepalive, RecordKeepalives, UnfenceHost};
use berth_state::ids::{Nonce, Revision, Seq};
use berth_state::noun::lease::{Evidence, Phase};

use crate::assignments::{AssignmentUpdate, Position};
use crate::error::ExecutorError;
use crate::testing::control::Mode;
use crate::testing::rig::{HOLD, Rig, eventually, never};

#[tokio::test]
async fn a_hanging_mount_holds_up_nobody_else() {
    let rig = Rig::new();
    rig.container_with_volume("stuck", "v1");
    rig.container_with_volume("fine", "v2");
    rig.machine.hang_mount("v1", true);
    let executor = rig.started().await;
    let stuck = rig.control.grant("stuck");
    eventually("mounting", || rig.machine.count("attach v1") == 1).await;
    let fine = rig.run("fine").await;
    rig.control.revoke(fine);
    rig.ended(fine).await;
    // And what hangs is never said to be over.
    rig.control.revoke(stuck);
    never("released while its mount hangs", || rig.control.lease(stuck).is_none()).await;
    executor.stop().await.unwrap();
}

#[tokio::test]
async fn an_older_assignment_set_stops_nothing() {
    let rig = Rig::new();
    rig.container("db");
    let executor = rig.started().await;
    let old = rig.control.position();
    rig.run("db").await;
    // A node that lags behind, or one of an earlier life.
    for revision in [old.revision, Revision(old.revision.0 - 1)] {
        let position = Position { revision, ..old };
        rig.control.next_stream_brings(AssignmentUpdate { position, full: true, leases: vec![], gone: vec![], fenced: vec![] });
        never("stopped by an older set", || rig.machine.running().is_empty()).await;
    }
    rig.control.break_streams();
    executor.stop().await.unwrap();
}

#[tokio::test]
async fn a_set_that_lacks_a_lease_stops_it_when_it_is_newer() {
    let rig = Rig::new();
    rig.container("db");
    let executor = rig.started().await;
    rig.run("db").await;
    let now = rig.control.position();
    let position = Position { revision: now.revision.next(), ..now };
    rig.control.next_stream_brings(AssignmentUpdate { position, full: true, leases: vec![], gone: vec![], fenced: vec![] });
    rig.nothing_runs().await;
    executor.stop().await.unwrap();
}

#[tokio::test]
async fn a_start_that_outlasts_its_right_is_undone() {
    let rig = Rig::new();
    rig.container("db");
    rig.machine.hang_start("db", true);
    let executor = rig.started().await;
    let token = rig.control.grant("db");
    eventually("created", || rig.machine.exists(&format!("db-{token}-1"))).await;
    rig.control.set(Mode::Silent);
    rig.clock.advance_ms(HOLD);
    never("released while a start is under way", || !rig.control.releases().is_empty()).await;
    rig.machine.hang_start("db", false);
    eventually("started after all", || rig.machine.count(&format!("start db-{token}-1")) == 1).await;
    rig.nothing_runs().await;
    rig.control.set(Mode::Answer);
    rig.ended(token).await;
    assert_eq!(rig.machine.running(), Vec::<String>::new());
    executor.stop().await.unwrap();
}

#[tokio::test]
async fn a_right_that_is_lost_while_mounting_leads_no_further() {
    let rig = Rig::new();
    rig.container_with_volume("db", "v1");
    rig.machine.hang_mount("v1", true);
    let executor = rig.started().await;
    rig.control.grant("db");
    eventually("mounting", || rig.machine.count("attach v1") == 1).await;
    rig.control.set(Mode::Silent);
    rig.clock.advance_ms(HOLD);
    rig.machine.hang_mount("v1", false);
    eventually("mounted after all", || rig.machine.count("mount v1") == 1).await;
    never("marked without a right", || rig.data.path().join("v1/.berth").exists()).await;
    rig.in_time("unmounted", || rig.machine.count("unmount v1") == 1).await;
    executor.stop().await.unwrap();
}

#[tokio::test]
async fn a_right_that_is_lost_while_creating_starts_nothing() {
    let rig = Rig::new();
    rig.container("db");
    rig.machine.hang_create("db", true);
    let executor = rig.started().await;
    let token = rig.control.grant("db");
    eventually("creating", || rig.machine.count(&format!("create db-{token}-1")) == 1).await;
    rig.control.set(Mode::Silent);
    rig.clock.advance_ms(HOLD);
    rig.machine.hang_create("db", false);
    eventually("created after all", || rig.machine.exists(&format!("db-{token}-1"))).await;
    never("started without a right", || rig.machine.count(&format!("start db-{token}-1")) > 0).await;
    executor.stop().await.unwrap();
}

#[tokio::test]
async fn a_second_lease_on_the_same_volume_waits_for_the_first_to_be_wound_up() {
    let rig = Rig::new();
    rig.container_with_volume("db", "v1");
    let executor = rig.started().await;
    let first = rig.run("db").await;
    rig.machine.immortal("db", true);
    // An operator says that it is dead. It is not.
    let lease = rig.control.lease(first).unwrap().id;
    let evidence = Evidence::OperatorConfirmed { name: "eve".to_owned(), reason: "so I think".to_owned() };
    rig.control.must(Order::FenceLease(FenceLease { lease, token: first, evidence }));
    // Nor is the host clean, as the same operator says next.
    let (host, name) = (rig.control.state(|s| s.hosts().next().unwrap().id.clone()), "eve".to_owned());
    rig.control.must(Order::UnfenceHost(UnfenceHost { host, name, reason: "so I think".to_owned() }));
    let second = rig.control.grant("db");
    eventually("activated", || rig.control.lease(second).unwrap().phase == Phase::Active).await;
    never("two writers", || rig.machine.exists(&format!("db-{second}-1"))).await;
    rig.machine.immortal("db", false);
    rig.runs("db", second, 1).await;
    assert_eq!(rig.machine.running().len(), 1);
    executor.stop().await.unwrap();
}

#[tokio::test]
async fn a_fenced_holder_is_reported_as_gone_only_when_it_is_dead_and_unmounted() {
    let rig = Rig::new();
    rig.container_with_volume("db", "v1");
    let executor = rig.started().await;
    let token = rig.run("db").await;
    rig.machine.immortal("db", true);
    let lease = rig.control.lease(token).unwrap().id;
    let evidence = Evidence::OperatorConfirmed { name: "eve".to_owned(), reason: "so I think".to_owned() };
    rig.control.must(Order::FenceLease(FenceLease { lease, token, evidence }));
    let fenced = || rig.control.state(|s| s.hosts().next().unwrap().fenced.iter().map(|holder| holder.token).collect::<Vec<_>>());
    never("reported while it lives", || fenced().is_empty()).await;
    rig.machine.immortal("db", false);
    rig.in_time("reported", || fenced().is_empty()).await;
    assert_eq!(rig.machine.running(), Vec::<String>::new());
    assert_eq!(rig.machine.count("unmount v1"), 1);
    executor.stop().await.unwrap();
}

#[tokio::test]
async fn an_executor_that_has_nothing_of_a_fenced_token_says_so() {
    let rig = Rig::new();
    rig.container_with_volume("db", "v1");
    let executor = rig.started().await;
    let session = executor.handle.session().unwrap();
    executor.stop().await.unwrap();
    // Activated in its name, and never begun.
    let token = rig.control.grant("db");
    let keepalive =
        Keepalive { incarnation: session.incarnation, session: session.session, seq: Seq(1_000), nonce: Nonce(1), tokens: vec![token] };
    rig.control.apply(None, Order::RecordKeepalives(RecordKeepalives { keepalives: vec![keepalive] }));
    assert_eq!(rig.control.lease(token).unwrap().phase, Phase::Active);
    let lease = rig.control.lease(token).unwrap().id;
    let evidence = Evidence::OperatorConfirmed { name: "eve".to_owned(), reason: "so I think".to_owned() };
    rig.control.must(Order::FenceLease(FenceLease { lease, token, evidence }));
    let executor = rig.started().await;
    eventually("reported", || rig.control.state(|s| s.hosts().next().unwrap().fenced.is_empty())).await;
    executor.stop().await.unwrap();
}

#[tokio::test]
async fn a_ledger_that_cannot_be_written_kills_everything_and_ends_the_process() {
    let rig = Rig::new();
    rig.container("one");
    rig.container("two");
    let executor = rig.started().await;
    rig.run("one").await;
    std::fs::rename(rig.ledger_folder(), rig.data.path().join("away")).unwrap();
    rig.control.grant("two");
    let error = executor.end().await.unwrap_err();
    assert!(matches!(error, ExecutorError::Ledger(_)), "{error}");
    assert_eq!(rig.machine.running(), Vec::<String>::new());
}

#[tokio::test]
async fn a_crash_between_record_and_start_is_wound_up() {
    let rig = Rig::new();
    rig.container_with_volume("db", "v1");
    rig.machine.hang_mount("v1", true);
    let executor = rig.started().await;
    let token = rig.control.grant("db");
    eventually("recorded and attached", || rig.machine.count("attach v1") == 1).await;
    executor.crash().await;
    rig.clock.advance_ms(HOLD);
    let executor = rig.start().await;
    rig.ended(token).await;
    assert_eq!(rig.machine.count("unmount v1"), 1);
    executor.stop().await.unwrap();
}
