//! Request ids: a retry gets the first answer, and nothing is done twice.

use berth_state::command::*;
use berth_state::ids::*;
use berth_state::noun::container::*;
use berth_state::state::MAX_REQUESTS;
use berth_state::{Order, Outcome, Rejection};

use crate::world::*;

fn id(n: u64) -> RequestId {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&n.to_be_bytes());
    RequestId(bytes)
}

fn restart() -> Order {
    Order::RestartContainer(RestartContainer { container: container("db") })
}

#[test]
fn a_retry_gets_the_first_answer_and_changes_nothing() {
    let mut w = World::small();
    let first = w.command(Some(id(1)), restart());
    let events = w.events.len();
    assert_eq!(w.command(Some(id(1)), restart()), first, "the revision of the first attempt too");
    assert_eq!(w.events.len(), events);
}

#[test]
fn a_refusal_is_remembered_as_well() {
    let mut w = World::small();
    let stop = Order::SetDesired(SetDesired { container: container("db"), desired: Desired::Stopped });
    w.done(stop);
    let first = w.command(Some(id(1)), restart());
    assert!(matches!(first, Outcome::Rejected(Rejection::NotWanted { .. })));
    w.done(Order::SetDesired(SetDesired { container: container("db"), desired: Desired::Running }));
    assert_eq!(w.command(Some(id(1)), restart()), first);
}

#[test]
fn one_id_for_two_commands_is_refused() {
    let mut w = World::small();
    w.command(Some(id(1)), restart());
    let other = Order::SetDesired(SetDesired { container: container("db"), desired: Desired::Stopped });
    assert_eq!(w.command(Some(id(1)), other), Outcome::Rejected(Rejection::RequestReused));
}

#[test]
fn the_memory_of_requests_is_bounded_and_forgets_the_oldest() {
    let mut w = World::small();
    for n in 0..=MAX_REQUESTS as u64 {
        w.command(Some(id(n)), Order::SetDesired(SetDesired { container: container("db"), desired: Desired::Running }));
    }
    let before = w.index;
    let outcome = w.command(Some(id(0)), Order::SetDesired(SetDesired { container: container("db"), desired: Desired::Running }));
    assert!(matches!(outcome, Outcome::Accepted(a) if a.revision == Revision(before + 1)), "forgotten, so done anew");
    let outcome = w.command(Some(id(2)), Order::SetDesired(SetDesired { container: container("db"), desired: Desired::Running }));
    assert!(matches!(outcome, Outcome::Accepted(a) if a.revision < Revision(before)), "still remembered");
}

#[test]
fn time_never_goes_back_in_the_event_log() {
    let mut w = World::small();
    w.index += 1;
    let mut command = berth_state::Command { time: Time(5_000_000), request: None, actor: String::new(), order: restart() };
    let late = w.state.apply(Revision(w.index), &command).events;
    w.index += 1;
    command.time = Time(1);
    let after = w.state.apply(Revision(w.index), &command).events;
    assert_eq!((late[0].time, after[0].time), (Time(5_000_000), Time(5_000_000)));
}
