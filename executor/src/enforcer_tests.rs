//! The enforcer by hand, and once with a real process and the real clock.

use std::collections::BTreeSet;
use std::time::Duration;

use berth_guard::page::Deadline;
use berth_state::ids::{Seq, SessionId};
use berth_state::outcome::{KeepaliveAnswer, LeaseVerdict, SessionVerdict};

use super::*;
use crate::clock::{HolderTime, ManualHolderClock, SystemHolderClock};
use crate::testing::runtime::FakeMachine;

const T: Token = Token(5);

fn key() -> InstanceKey {
    InstanceKey { container: "c1".to_owned(), token: T.0, attempt: 1 }
}

async fn setup() -> (Enforcer, FakeMachine, ManualHolderClock, KillHandle) {
    let (clock, machine) = (ManualHolderClock::at(HolderTime(0)), FakeMachine::new());
    machine.plant("c1", T.0, 1);
    let handle = crate::runtime::Runtime::kill_handle(&machine, &key()).await.unwrap().unwrap();
    (Enforcer::new(Arc::new(clock.clone()), Arc::new(machine.clone()), 500), machine, clock, handle)
}

#[tokio::test]
async fn it_kills_at_the_deadline_and_not_a_tick_before() {
    let (enforcer, machine, clock, handle) = setup().await;
    enforcer.book(|book| book.adopt(T, HolderTime(0).plus_ms(100)));
    assert!(enforcer.register(T, key(), handle));
    clock.advance_ms(99);
    enforcer.tick();
    assert_eq!(machine.running().len(), 1);
    clock.advance_ms(1);
    enforcer.tick();
    assert_eq!(machine.running().len(), 0);
    assert_eq!(enforcer.right(T), Right::Over(Lost::DeadlinePassed));
}

#[tokio::test]
async fn it_kills_again_until_it_is_gone() {
    let (enforcer, machine, clock, handle) = setup().await;
    machine.immortal("c1", true);
    enforcer.book(|book| book.adopt(T, HolderTime(0).plus_ms(100)));
    enforcer.register(T, key(), handle);
    clock.advance_ms(100);
    enforcer.tick();
    enforcer.tick();
    assert_eq!(machine.count("killed c1-5-1"), 2);
    machine.immortal("c1", false);
    enforcer.tick();
    enforcer.tick();
    assert_eq!(machine.count("killed c1-5-1"), 3, "gone, and left alone from then on");
}

#[tokio::test]
async fn an_instance_that_comes_too_late_is_refused_and_killed() {
    let (enforcer, machine, _, handle) = setup().await;
    enforcer.book(|book| book.lose(T, Lost::SessionGone));
    assert!(!enforcer.register(T, key(), handle));
    enforcer.tick();
    assert_eq!(machine.running().len(), 0);
}

#[tokio::test]
async fn its_thread_needs_no_async_runtime_to_act() {
    let (enforcer, machine, clock, handle) = setup().await;
    enforcer.book(|book| book.adopt(T, HolderTime(0).plus_ms(100)));
    enforcer.register(T, key(), handle);
    let thread = enforcer.spawn().unwrap();
    clock.advance_ms(100);
    // This test's runtime has one thread, and it is blocked here.
    let mut rounds = 0;
    while !machine.running().is_empty() {
        rounds += 1;
        assert!(rounds < 2_000);
        #[allow(clippy::disallowed_methods, reason = "blocks the async runtime on purpose")]
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(thread.is_alive());
}

/// The margin m is what killing and polling may take. Prints what it took here.
#[test]
fn the_default_margin_covers_poll_and_kill() {
    let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    let start_ticks = kill::start_ticks(child.id()).unwrap().unwrap();
    let handle = KillHandle { cgroup: None, pid: child.id(), start_ticks, process_group: false };
    let clock = Arc::new(SystemHolderClock::new().unwrap());
    let enforcer = Enforcer::new(clock.clone(), Arc::new(SystemKiller), crate::DEFAULT_MARGIN_MS);
    let _thread = enforcer.spawn().unwrap();
    let ttl_ms = 1_000;
    enforcer.book(|book| {
        book.begin_session(SessionId(1));
        book.sent(Seq(1), clock.now(), &BTreeSet::from([T]));
        let verdict = SessionVerdict::Heard { ttl_ms, leases: vec![(T, LeaseVerdict::Live { ttl_ms })] };
        book.answer(&KeepaliveAnswer { session: SessionId(1), seq: Seq(1), verdict })
    });
    let Right::Until(deadline) = enforcer.right(T) else { panic!("no right") };
    assert!(enforcer.register(T, key(), handle));
    child.wait().unwrap();
    let late = clock.now().ms_since(deadline);
    println!("killed {late} ms after the deadline");
    assert!(clock.now() >= deadline, "killed before its deadline");
    assert!(late < crate::DEFAULT_MARGIN_MS, "{late} ms");
}

/// A page of token `T` that the enforcer follows, and a guard's view of it.
fn followed(enforcer: &Enforcer, run: &std::path::Path) -> berth_guard::page::PageReader {
    let boot = crate::ledger::boot_id().unwrap();
    let pages = crate::pages::Pages::new(run, boot).unwrap();
    enforcer.follow(T, pages.make(T).unwrap());
    berth_guard::page::PageReader::open(&pages.page(T), T.0).unwrap()
}

#[tokio::test]
async fn a_page_says_what_the_book_says_at_every_change() {
    let (enforcer, _, clock, _) = setup().await;
    let run = tempfile::tempdir().unwrap();
    let page = followed(&enforcer, run.path());
    assert_eq!(page.deadline(), Deadline::Over, "no right yet");
    let renew = |seq: u64| {
        enforcer.book(|book| {
            book.begin_session(SessionId(1));
            book.sent(Seq(seq), clock.now(), &BTreeSet::from([T]));
            let verdict = SessionVerdict::Heard { ttl_ms: 10_000, leases: vec![(T, LeaseVerdict::Live { ttl_ms: 10_000 })] };
            book.answer(&KeepaliveAnswer { session: SessionId(1), seq: Seq(seq), verdict })
        })
    };
    renew(1);
    assert_eq!(page.deadline(), Deadline::At(9_000_000_000));
    clock.advance_ms(100);
    renew(2);
    assert_eq!(page.deadline(), Deadline::At(9_100_000_000));
    enforcer.book(|book| book.lose(T, Lost::SessionGone));
    assert_eq!(page.deadline(), Deadline::Over, "lost: at once");
    renew(3);
    assert_eq!(page.deadline(), Deadline::Over);
}

#[tokio::test]
async fn a_page_is_over_when_the_enforcer_sees_its_deadline_and_none_where_there_is_no_end() {
    let (enforcer, _, clock, _) = setup().await;
    let run = tempfile::tempdir().unwrap();
    enforcer.book(|book| book.adopt(T, HolderTime(0).plus_ms(100)));
    let page = followed(&enforcer, run.path());
    assert_eq!(page.deadline(), Deadline::At(100_000_000));
    clock.advance_ms(100);
    enforcer.tick();
    assert_eq!(page.deadline(), Deadline::Over);

    let (enforcer, _, clock, handle) = setup().await;
    let run = tempfile::tempdir().unwrap();
    enforcer.book(|book| book.adopt_open(T));
    let page = followed(&enforcer, run.path());
    assert!(enforcer.register(T, key(), handle));
    clock.advance_ms(1_000_000);
    enforcer.tick();
    assert_eq!(page.deadline(), Deadline::None);
    enforcer.book(|book| book.lose(T, Lost::LedgerFailed));
    assert_eq!(page.deadline(), Deadline::Over);
}
