//! The executor under a host guard: what it declares, orders, and does when the guard is gone. The guard is a fake: a process that does nothing, and a status file
//! that says it looks.

use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Duration;

use berth_state::ids::{Revision, Token};
use berth_state::noun::session::Guard;

use crate::hostguard::folder::RunFolder;
use crate::hostguard::order::{Needs, Order};
use crate::hostguard::status::write_fake;
use crate::hostguard::{HostGuardClient, HostGuardConfig};
use crate::testing::rig::{HOLD, Rig, Running, eventually};

/// The shortest there is: keepalives come every third of a second.
const TTL: u64 = 1_000;

struct FakeGuard(Child);

impl FakeGuard {
    fn start(rig: &Rig) -> Self {
        let child = Command::new("sleep").arg("1000").spawn().unwrap();
        write_fake(&run(rig).status(), child.id());
        Self(child)
    }
}

impl Drop for FakeGuard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn run(rig: &Rig) -> RunFolder {
    RunFolder::make(&rig.data.path().join("run")).unwrap()
}

fn guarded() -> Rig {
    Rig { host_guard: true, ..Rig::with_ttl(TTL) }
}

fn declared(rig: &Rig, executor: &Running) -> Guard {
    let session = executor.handle.session().unwrap().session;
    rig.control.state(|state| state.session(session).unwrap().declared.guard)
}

fn renewed(rig: &Rig, token: Token) -> Revision {
    rig.control.state(|state| state.renewal(token).unwrap().renewed)
}

#[tokio::test]
async fn what_is_to_be_cut_is_ordered_before_attach_and_whom_to_kill_before_start() {
    let rig = guarded();
    let _guard = FakeGuard::start(&rig);
    rig.container_with_volume("db", "v1");
    let executor = rig.started().await;
    assert_eq!(declared(&rig, &executor), Guard::HostProcess);
    rig.machine.hang_start("db", true);
    let token = rig.control.grant("db");
    eventually("created", || rig.machine.exists(&format!("db-{token}-1"))).await;
    let order = Order::read(&run(&rig), token.0).unwrap().unwrap();
    assert_eq!((order.needs, order.margin_ms, order.cuts.len()), (Needs::HostGuard, 500, 1));
    assert_eq!(order.cuts[0].volume, "v1");
    rig.machine.hang_start("db", false);
    rig.runs("db", token, 1).await;
    eventually("the handle is ordered", || Order::read(&run(&rig), token.0).unwrap().unwrap().kills.len() == 1).await;
    executor.stop().await.unwrap();
    assert!(Order::read(&run(&rig), token.0).unwrap().is_some(), "what runs on needs its order");
}

#[tokio::test]
async fn a_lease_is_not_renewed_while_the_guard_it_was_granted_under_is_gone() {
    let rig = guarded();
    let guard = FakeGuard::start(&rig);
    rig.container("db");
    let executor = rig.started().await;
    let token = rig.run("db").await;
    let before = renewed(&rig, token);
    eventually("it is renewed", || renewed(&rig, token) > before).await;
    drop(guard);
    // Those on their way arrive.
    tokio::time::sleep(Duration::from_millis(TTL)).await;
    let last = renewed(&rig, token);
    tokio::time::sleep(Duration::from_millis(2 * TTL)).await;
    assert_eq!(renewed(&rig, token), last, "renewed without its guard");
    // Nor does it die early: its deadline is the deadline.
    assert_eq!(rig.machine.running().len(), 1);
    rig.clock.advance_ms(HOLD);
    eventually("dead", || rig.machine.running().is_empty()).await;
    executor.stop().await.unwrap();
}

#[tokio::test]
async fn a_session_is_opened_anew_with_what_is_there_when_the_guard_stays_away_or_comes() {
    let rig = guarded();
    let guard = FakeGuard::start(&rig);
    let executor = rig.started().await;
    let first = executor.handle.session().unwrap().session;
    drop(guard);
    eventually("a session without it", || {
        rig.clock.advance_ms(5);
        executor.handle.session().is_some_and(|current| current.session != first) && declared(&rig, &executor) == Guard::Init
    })
    .await;
    let _guard = FakeGuard::start(&rig);
    eventually("a session with it", || {
        rig.clock.advance_ms(5);
        executor.handle.session().is_some() && declared(&rig, &executor) == Guard::HostProcess
    })
    .await;
    executor.stop().await.unwrap();
}

#[test]
fn an_order_is_adopted_as_it_is_and_made_anew_only_where_it_is_missing() {
    let rig = guarded();
    let config = || HostGuardConfig { run: run(&rig).path().to_owned(), berth_binary: PathBuf::new(), watchdog: None, margin_ms: 500 };
    let client = || HostGuardClient::new(config(), std::sync::Arc::new(rig.clock.clone())).unwrap();
    let order = |container: &str, margin_ms| Order {
        format: 1,
        token: 7,
        lease: 3,
        container: container.to_owned(),
        margin_ms,
        needs: Needs::HostGuard,
        kills: vec![],
        cuts: vec![],
    };
    client().order(order("first", 0)).unwrap();
    client().adopt(order("fresh", 0)).unwrap();
    assert_eq!(Order::read(&run(&rig), 7).unwrap(), Some(order("first", 500)));
    std::fs::remove_file(run(&rig).order(7)).unwrap();
    client().adopt(order("fresh", 0)).unwrap();
    assert_eq!(Order::read(&run(&rig), 7).unwrap(), Some(order("fresh", 500)));
}
